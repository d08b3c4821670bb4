//! A bus that can't start says why, soon, and shows no secret.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::time::Instant;

use super::Reach;

/// How long a start may take that fails: a busy machine's room included.
const FAILS: Duration = Duration::from_secs(8);
/// Must not be shown.
const SECRET: &str = "hunter2";

async fn refused(reach: &Reach, url: &str) -> String {
    let start = Instant::now();
    let error = reach.by(url).await.expect_err("refused");
    assert!(start.elapsed() < FAILS, "{:?}", start.elapsed());
    let mut words = format!("{error} {error:?}");
    let mut cause = error.source();
    while let Some(error) = cause {
        words += &format!(" {error} {error:?}");
        cause = error.source();
    }
    assert!(!words.contains(SECRET), "{words}");
    words
}

/// The URL with a password and another place.
fn at(reach: &Reach, place: &str) -> String {
    reach.login(&format!("somebody:{SECRET}"), place)
}

/// Where nobody listens, that is said, with the address.
pub async fn nobody_there_is_said(reach: Reach) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let place = listener.local_addr().expect("an address").to_string();
    drop(listener);
    let words = refused(&reach, &at(&reach, &place)).await;
    assert!(words.contains(&place), "{words}");
    assert!(words.contains("can't be reached"), "{words}");
}

/// Somebody who does not answer is given up.
pub async fn somebody_who_is_silent_is_given_up(reach: Reach) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let place = listener.local_addr().expect("an address").to_string();
    let words = refused(&reach, &at(&reach, &place)).await;
    assert!(words.contains("no answer within"), "{words}");
}

/// Somebody who speaks something else is no reason to hang or to panic.
pub async fn another_protocol_is_refused(reach: Reach) {
    for answer in ["HTTP/1.1 400 Bad Request\r\n\r\n", "\0\0\0\u{4}oops", ""] {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let place = listener.local_addr().expect("an address").to_string();
        let server = tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let _ = socket.write_all(answer.as_bytes()).await;
            }
        });
        let words = refused(&reach, &at(&reach, &place)).await;
        server.abort();
        assert!(words.contains(&place), "{words}");
    }
}

/// A URL that is none is refused, and not repeated.
pub async fn a_url_that_is_none_is_refused(reach: Reach) {
    let good = at(&reach, reach.place());
    let scheme = good.split("://").next().unwrap_or_default();
    for url in [
        String::new(),
        SECRET.to_owned(),
        format!("http://u:{SECRET}@127.0.0.1"),
        format!("{scheme}://"),
        format!("{scheme}://u:{SECRET}@"),
        format!("{scheme}://u:{SECRET}@127.0.0.1:port"),
        format!("{scheme}://u:{SECRET}@127.0.0.1#{SECRET}"),
        format!("{scheme}://u:{SECRET}@127.0.0.1?{SECRET}={SECRET}"),
    ] {
        let words = refused(&reach, &url).await;
        assert!(words.contains("URL"), "{url}: {words}");
    }
}

/// Makes the tests of a [`Bus`](im_core::port::Bus) that can't start: a `#[test]` for each case.
///
/// The expression is a future of `(guard, Reach)`, evaluated for each case. No case needs a broker.
#[macro_export]
macro_rules! bus_start_suite {
    ($new:expr) => {
        $crate::suite_cases! {
            $new, bus_start,
            nobody_there_is_said
            somebody_who_is_silent_is_given_up
            another_protocol_is_refused
            a_url_that_is_none_is_refused
        }
    };
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_macro_names_every_case() {
        let source = include_str!("start.rs");
        let unnamed = crate::suite::unnamed_cases(source, &[source]);
        assert!(unnamed.is_empty(), "{unnamed:?}");
    }
}
