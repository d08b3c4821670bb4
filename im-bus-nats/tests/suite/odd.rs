//! What NATS itself may do to a bus.

use im_bus_nats::{ConnectError, NatsBus, Options};
use im_testkit::suite::bus::{poison_is_passed_over, the_servers_authority_is_asked_for};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::reach;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn poison_is_passed() {
    let Some(reach) = reach() else { return };
    let raw = async_nats::connect(reach.url()).await.unwrap();
    poison_is_passed_over(&reach, async |frame| {
        for name in ["all", "node.n"] {
            let subject = format!("{}.{name}", reach.prefix());
            raw.publish(subject, frame.clone()).await.unwrap();
        }
        raw.flush().await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_tls_the_servers_authority_is_asked_for() {
    let Some(reach) = reach() else { return };
    the_servers_authority_is_asked_for(&reach, "tls", true).await;
}

/// The server for tests has no login: what another one says to a wrong one is put in its mouth.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_credentials_are_said() {
    let Some(reach) = reach() else { return };
    let server = reach.place().to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let place = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        let mut real = BufReader::new(TcpStream::connect(server).await.unwrap());
        let mut info = String::new();
        real.read_line(&mut info).await.unwrap();
        let (mut socket, _) = listener.accept().await.unwrap();
        socket.write_all(info.as_bytes()).await.unwrap();
        let mut said = [0; 4096];
        let count = socket.read(&mut said).await.unwrap();
        assert!(String::from_utf8_lossy(&said[..count]).contains("hunter2"));
        socket
            .write_all(b"-ERR 'Authorization Violation'\r\n")
            .await
            .unwrap();
    });
    let url = reach.login("somebody:hunter2", &place);
    let refused = NatsBus::connect(&url, Options::default()).await;
    let error = refused.expect_err("refused");
    assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
    let ConnectError::Credentials { at } = error else {
        panic!("{error:?}");
    };
    assert_eq!(at.addr, place);
}
