//! A store without room: what is written is refused, what is read is not.

use std::time::Duration;

use imkit::sql::SqliteOptions;

use crate::app::{App, int, text};

/// The most pages of the file: 2 MiB.
const PAGES: u32 = 512;
/// How many of them the app's own table takes until it makes room.
const BALLAST_BYTES: u32 = 1_000_000;
/// More messages than the file takes.
const SENDS_MAX: usize = 2_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_full_file_refuses_writes_and_reads_go_on_and_writes_when_there_is_room() {
    let options = SqliteOptions {
        pages_max: Some(PAGES),
        merge_every: 64,
        ..SqliteOptions::default()
    };
    let app = App::start(options, Duration::from_millis(200)).await;
    let mut host = app.host().await;
    for sql in [
        "CREATE TABLE ballast (bytes BLOB)".to_owned(),
        format!("INSERT INTO ballast VALUES (zeroblob({BALLAST_BYTES}))"),
    ] {
        let own = sqlx::AssertSqlSafe(sql);
        sqlx::query(own).execute(&mut host).await.unwrap();
    }
    let mut ana = app.client("ana").await;
    let words = "x".repeat(3_900);
    let (mut conv, mut sent, mut refused) = (String::new(), Vec::new(), None);
    for n in 0..SENDS_MAX {
        let cm_id = format!("c{n:04}");
        let answer = ana.send(&cm_id, &words).await;
        if text(&answer, "t") == "err" {
            assert_eq!(text(&answer, "code"), "unavailable", "{answer:?}");
            assert!(int(&answer, "retry_after_ms") > 0, "{answer:?}");
            refused = Some(cm_id);
            break;
        }
        conv = text(&answer, "conv");
        sent.push((n as i64 + 1, cm_id));
    }
    let refused = refused.expect("the file is full");
    assert!(!app.node.is_ready());
    // Reads go on, for those who are here and for those who come now.
    assert_eq!(ana.pull(&conv).await, sent);
    let mut ben = app.client("ben").await;
    assert_eq!(ben.pull(&conv).await, sent);
    ben.say(r#"{"t":"sync","id":2}"#).await;
    ben.get("synced").await;
    for _ in 0..3 {
        let answer = ana.send(&refused, &words).await;
        assert_eq!(text(&answer, "code"), "unavailable");
    }
    sqlx::query("DROP TABLE ballast")
        .execute(&mut host)
        .await
        .unwrap();
    let answer = ana.send(&refused, &words).await;
    sent.push((sent.len() as i64 + 1, refused));
    assert_eq!(int(&answer, "seq"), sent.len() as i64, "{answer:?}");
    assert_eq!(int(&ben.get("entry").await, "seq"), sent.len() as i64);
    assert_eq!(ben.pull(&conv).await, sent);
    assert!(app.node.is_ready());
}
