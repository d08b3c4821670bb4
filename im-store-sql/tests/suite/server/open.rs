//! Opening: what is wrong is said, and what is secret is not.

use std::error::Error as _;
use std::time::{Duration, Instant};

use im_core::port::{PortErrorKind, next_start};
use im_store_sql::{
    MySqlDialect, OpenError, PostgresDialect, ServerOptions, ServerStore, redacted,
};
use im_testkit::proxy::{Faults, Proxy};

use super::{Database, Server};

const PASSWORD: &str = "not-the-password";

/// Every text of an error.
fn words(error: &OpenError) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        words.push_str(&format!(": {inner}"));
        cause = inner.source();
    }
    words
}

async fn refusal<D: Server>(address: &str) -> (OpenError, String) {
    let options = ServerOptions {
        timeout_ms: 3_000,
        ..ServerOptions::default()
    };
    let error = ServerStore::<D>::connect_with(address, options)
        .await
        .unwrap_err();
    let words = words(&error);
    assert!(!words.contains(PASSWORD), "{words}");
    (error, words)
}

/// `scheme://user:password@host:port/database` with other parts.
fn altered(address: &str, login: &str, place: Option<&str>) -> String {
    let (scheme, rest) = address.split_once("://").unwrap();
    let (_, host) = rest.split_once('@').unwrap();
    let host = place.unwrap_or(host);
    format!("{scheme}://{login}@{host}")
}

async fn what_is_wrong_is_said<D: Server>() {
    let Ok(server) = std::env::var(D::VARIABLE) else {
        return;
    };
    let (error, words) = refusal::<D>(&format!("oracle://im:{PASSWORD}@host/db")).await;
    assert!(matches!(error, OpenError::Address(_)), "{words}");
    let (error, words) = refusal::<D>(&altered(&server, &format!("nobody:{PASSWORD}"), None)).await;
    assert!(
        matches!(error, OpenError::Sql(_)) && words.contains("nobody"),
        "{words}"
    );
    // Nobody listens on port 1.
    let away = altered(&server, &format!("im:{PASSWORD}"), Some("127.0.0.1:1/im"));
    let (_, words) = refusal::<D>(&away).await;
    assert!(words.contains("refused"), "{words}");
    assert!(!redacted(&away).contains(PASSWORD));
}

async fn a_newer_schema_is_refused<D: Server>() {
    let Some(database) = Database::<D>::new().await else {
        return;
    };
    database.store().await.close().await;
    let text = "INSERT INTO im_migration (version, description, success, checksum, \
                execution_time) VALUES (999, 'from the future', true, '', 0)";
    D::run(&database.address, text.to_owned()).await;
    let (error, words) = refusal::<D>(&database.address).await;
    let newer = matches!(error, OpenError::Newer { found: 999, .. });
    assert!(newer, "{words}");
}

/// A server that takes everything and says nothing.
async fn who_is_silent_is_given_up<D: Server>() {
    let Some(database) = Database::<D>::new().await else {
        return;
    };
    let (_, rest) = database.address.split_once('@').unwrap();
    let host = rest.split(['/', '?']).next().unwrap();
    let proxy = Proxy::start(host.parse().unwrap()).await.unwrap();
    let address = database.address.replace(host, &proxy.addr().to_string());
    let options = ServerOptions {
        timeout_ms: 1_000,
        ..ServerOptions::default()
    };
    let store = ServerStore::<D>::connect_with(&address, options.clone())
        .await
        .unwrap();
    assert_eq!(next_start(&store).await.unwrap(), 1);
    proxy.set(Faults {
        pause: true,
        ..Faults::default()
    });
    let began = Instant::now();
    let error = next_start(&store).await.unwrap_err();
    assert_eq!(error.kind(), PortErrorKind::Unavailable);
    let error = ServerStore::<D>::connect_with(&address, options).await;
    assert!(matches!(error, Err(OpenError::Silent(_))), "{error:?}");
    assert!(began.elapsed() < Duration::from_secs(10));
    proxy.set(Faults::default());
    // The call that was given up may have taken place.
    assert!(next_start(&store).await.unwrap() >= 2);
    // All connections are lost at once.
    proxy.reset_all();
    let mut tries = 0;
    while next_start(&store).await.is_err() {
        tries += 1;
        assert!(tries < 20, "it does not come back");
    }
}

macro_rules! on_each_server {
    ($($case:ident)+) => {
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                super::$case::<super::PostgresDialect>().await;
            })+
        }
        mod mysql {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                super::$case::<super::MySqlDialect>().await;
            })+
        }
    };
}

on_each_server! {
    what_is_wrong_is_said
    a_newer_schema_is_refused
    who_is_silent_is_given_up
}
