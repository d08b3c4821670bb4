//! Endpoints that are out to harm.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use im_out::{Address, Allow, Answer, Reach, ReachError, Resolve};

use super::http::{Does, Server};

/// Whatever is tried is over by then.
const SOON: Duration = Duration::from_millis(500);

const OWN: Allow = Allow {
    private: true,
    plain: true,
};

const PLAIN: Allow = Allow {
    private: false,
    plain: true,
};

/// Gives what it was told, and counts how often it is asked.
#[derive(Debug)]
struct Names(Vec<SocketAddr>, AtomicUsize);

#[async_trait]
impl Resolve for Names {
    async fn resolve(&self, _: &str, _: u16) -> std::io::Result<Vec<SocketAddr>> {
        self.1.fetch_add(1, Ordering::Relaxed);
        Ok(self.0.clone())
    }
}

async fn post(reach: &Reach, url: &str) -> Result<Answer, ReachError> {
    let to = Address::parse(url, OWN).unwrap();
    let started = Instant::now();
    let answer = reach
        .post(&to, &[("x-a", "b".to_owned())], Bytes::from("{}"))
        .await;
    assert!(started.elapsed() < SOON * 6, "{:?}", started.elapsed());
    answer
}

fn own() -> Reach {
    Reach::new(OWN).unwrap().deadline(SOON)
}

#[tokio::test]
async fn an_answer_is_its_head() {
    let server = Server::new(Does::Says(204)).await;
    let answer = post(&own(), &server.url("/hook?a=b")).await.unwrap();
    assert!(answer.is_good());
    let got = &server.got()[0];
    assert!(
        got.head.starts_with("POST /hook?a=b HTTP/1.1"),
        "{}",
        got.head
    );
    assert_eq!(
        got.header("host"),
        Some(server.address.to_string().as_str())
    );
    assert_eq!(got.header("x-a"), Some("b"));
    assert_eq!(got.body, b"{}");
    server.does(Does::Writes(
        "HTTP/1.1 503 X\r\nretry-after: 99999999\r\n\r\n".to_owned(),
    ));
    let answer = post(&own(), &server.url("/")).await.unwrap();
    assert_eq!(answer.retry_after, Some(Duration::from_secs(86_400)));
}

#[tokio::test]
async fn a_name_that_leads_to_a_private_address_is_not_followed() {
    let server = Server::new(Does::Says(200)).await;
    let port = server.address.port();
    for ips in [
        vec!["127.0.0.1"],
        vec!["::1"],
        vec!["::ffff:127.0.0.1"],
        vec!["169.254.169.254"],
        vec!["8.8.8.8", "127.0.0.1"],
        vec!["10.0.0.1", "8.8.8.8"],
    ] {
        let at = ips
            .iter()
            .map(|ip| SocketAddr::new(ip.parse().unwrap(), port));
        let names = Arc::new(Names(at.collect(), AtomicUsize::new(0)));
        let reach = Reach::new(PLAIN).unwrap().resolver(names).deadline(SOON);
        let refused = post(&reach, &format!("http://evil.example:{port}/")).await;
        assert_eq!(refused, Err(ReachError::NotPublic), "{ips:?}");
    }
    // An address that was allowed when it was set, and is no more.
    let reach = Reach::new(PLAIN).unwrap().deadline(SOON);
    assert_eq!(
        post(&reach, &server.url("/")).await,
        Err(ReachError::NotPublic)
    );
    assert!(server.got().is_empty());
}

#[tokio::test]
async fn a_name_is_looked_up_once_so_that_it_can_not_change_after_the_check() {
    let server = Server::new(Does::Says(200)).await;
    let names = Arc::new(Names(vec![server.address], AtomicUsize::new(0)));
    let reach = own().resolver(Arc::clone(&names) as Arc<dyn Resolve>);
    let url = format!("http://a.example:{}/", server.address.port());
    assert!(post(&reach, &url).await.unwrap().is_good());
    assert_eq!(names.1.load(Ordering::Relaxed), 1);
    let none = Arc::new(Names(Vec::new(), AtomicUsize::new(0)));
    assert_eq!(
        post(&own().resolver(none), &url).await,
        Err(ReachError::Name)
    );
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let aim = Server::new(Does::Says(200)).await;
    let head = format!(
        "HTTP/1.1 307 X\r\nlocation: {}\r\ncontent-length: 0\r\n\r\n",
        aim.url("/")
    );
    let server = Server::new(Does::Writes(head)).await;
    let answer = post(&own(), &server.url("/")).await.unwrap();
    assert_eq!((answer.status, answer.is_good()), (307, false));
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(aim.got().is_empty());
}

#[tokio::test]
async fn who_never_ends_is_left() {
    for (does, expected) in [
        (Does::Nothing, Err(ReachError::TimedOut)),
        (Does::Drips, Err(ReachError::TimedOut)),
        (Does::FloodsHead, Err(ReachError::Http)),
        (
            Does::Writes("SSH-2.0-x\r\n".to_owned()),
            Err(ReachError::Http),
        ),
        (Does::Writes(String::new()), Err(ReachError::Http)),
        (Does::Floods, Ok(200)),
    ] {
        let case = format!("{does:?}");
        let server = Server::new(does).await;
        let answer = post(&own(), &server.url("/")).await;
        assert_eq!(answer.map(|answer| answer.status), expected, "{case}");
    }
}

#[tokio::test]
async fn nobody_there_and_no_tls_are_errors() {
    let server = Server::new(Does::Says(200)).await;
    let url = server.url("/").replace("http:", "https:");
    let refused = post(&own(), &url).await;
    assert!(
        matches!(refused, Err(ReachError::Tls | ReachError::TimedOut)),
        "{refused:?}"
    );
    let address = server.address;
    drop(server);
    tokio::time::sleep(Duration::from_millis(50)).await;
    let refused = post(&own(), &format!("http://{address}/")).await;
    assert_eq!(refused, Err(ReachError::Connect));
}
