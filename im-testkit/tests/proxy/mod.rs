//! The TCP fault proxy does what it is told.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use im_testkit::proxy::{Faults, Proxy, Silence};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// How long what must come may take.
const WAIT: Duration = Duration::from_secs(20);
/// How long what must not come is waited for.
const QUIET: Duration = Duration::from_millis(150);

/// A server that gives back what it gets, until the test ends.
async fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut from, mut to) = client.split();
                let _ = tokio::io::copy(&mut from, &mut to).await;
                let _ = to.shutdown().await;
            });
        }
    });
    addr
}

async fn start() -> (Proxy, TcpStream) {
    let proxy = Proxy::start(echo().await).await.unwrap();
    let client = connect(&proxy).await;
    (proxy, client)
}

async fn connect(proxy: &Proxy) -> TcpStream {
    TcpStream::connect(proxy.addr()).await.unwrap()
}

async fn read(client: &mut TcpStream, count: usize) -> Vec<u8> {
    let mut got = vec![0; count];
    timeout(WAIT, client.read_exact(&mut got))
        .await
        .unwrap()
        .unwrap();
    got
}

/// Sends and gets it back.
async fn ask(client: &mut TcpStream, text: &str) {
    client.write_all(text.as_bytes()).await.unwrap();
    assert_eq!(read(client, text.len()).await, text.as_bytes());
}

async fn assert_quiet(client: &mut TcpStream) {
    let mut byte = [0];
    let got = timeout(QUIET, client.read(&mut byte)).await;
    assert!(got.is_err(), "nothing was to come: {got:?}");
}

/// Writes and reads at once, since a large echo fills every buffer on its way.
async fn ask_large(client: &mut TcpStream, bytes: usize) {
    let sent: Vec<u8> = (0..bytes).map(|n| (n % 251) as u8).collect();
    let (mut from, mut to) = client.split();
    let mut got = vec![0; bytes];
    let both = async { tokio::try_join!(to.write_all(&sent), from.read_exact(&mut got)) };
    timeout(WAIT, both).await.unwrap().unwrap();
    assert!(got == sent);
}

#[tokio::test]
async fn with_nothing_wrong_everything_passes() {
    let (proxy, mut client) = start().await;
    ask(&mut client, "hi").await;
    ask_large(&mut client, 3 << 20).await;
    assert_eq!(proxy.connections(), 1);
    client.shutdown().await.unwrap();
    let mut rest = Vec::new();
    timeout(WAIT, client.read_to_end(&mut rest))
        .await
        .unwrap()
        .unwrap();
    assert!(rest.is_empty());
    assert_ends(&proxy).await;
}

async fn assert_ends(proxy: &Proxy) {
    let end = Instant::now() + WAIT;
    while proxy.connections() > 0 {
        assert!(Instant::now() < end, "{} left", proxy.connections());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_delay_is_taken_both_ways_and_keeps_the_order() {
    let (proxy, mut client) = start().await;
    let delay = Duration::from_millis(60);
    proxy.set(Faults {
        delay,
        ..Faults::default()
    });
    let start = Instant::now();
    for text in ["a", "b", "c"] {
        client.write_all(text.as_bytes()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(read(&mut client, 3).await, b"abc");
    assert!(start.elapsed() >= 2 * delay);
    // They wait beside one another: one after the other, 256 reads would take over 15 s.
    let start = Instant::now();
    ask_large(&mut client, 4 << 20).await;
    assert!(start.elapsed() < 200 * delay, "{:?}", start.elapsed());
}

#[tokio::test]
async fn silence_loses_what_is_said_and_the_end_too() {
    for silence in [Silence::ToServer, Silence::ToClient, Silence::Both] {
        let (proxy, mut client) = start().await;
        ask(&mut client, "hi").await;
        proxy.set(Faults {
            silence,
            ..Faults::default()
        });
        client.write_all(b"lost").await.unwrap();
        assert_quiet(&mut client).await;
        // A stream with a hole does not exist: it stays silent.
        proxy.set(Faults::default());
        client.write_all(b"too").await.unwrap();
        client.shutdown().await.unwrap();
        assert_quiet(&mut client).await;
        ask(&mut connect(&proxy).await, "a new one is well").await;
        proxy.close_all();
        assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
    }
}

#[tokio::test]
async fn a_pause_holds_back_and_loses_nothing() {
    let (proxy, mut client) = start().await;
    ask(&mut client, "hi").await;
    proxy.set(Faults {
        pause: true,
        ..Faults::default()
    });
    client.write_all(b"held").await.unwrap();
    assert_quiet(&mut client).await;
    proxy.set(Faults::default());
    assert_eq!(read(&mut client, 4).await, b"held");
}

#[tokio::test]
async fn a_paused_sender_is_held_up() {
    let (proxy, mut client) = start().await;
    proxy.set(Faults {
        pause: true,
        ..Faults::default()
    });
    let much = vec![0; 64 << 20];
    let sent = timeout(QUIET * 4, client.write_all(&much)).await;
    assert!(sent.is_err(), "64 MiB fit between them");
}

#[tokio::test]
async fn single_bytes_make_up_the_whole() {
    let (proxy, mut client) = start().await;
    proxy.set(Faults {
        split: true,
        ..Faults::default()
    });
    ask(&mut client, "each a write of its own").await;
    ask_large(&mut client, 20_000).await;
}

#[tokio::test]
async fn a_reset_reaches_both_sides_of_every_connection() {
    let (proxy, first) = start().await;
    let mut clients = vec![first, connect(&proxy).await, connect(&proxy).await];
    for client in &mut clients {
        ask(client, "hi").await;
    }
    proxy.reset_all();
    for client in &mut clients {
        let ended = timeout(WAIT, client.read(&mut [0])).await.unwrap();
        assert_eq!(ended.unwrap_err().kind(), ErrorKind::ConnectionReset);
    }
    assert_ends(&proxy).await;
    ask(&mut connect(&proxy).await, "the next one is well").await;
}

#[tokio::test]
async fn a_close_reaches_every_connection() {
    let (proxy, mut client) = start().await;
    ask(&mut client, "hi").await;
    proxy.close_all();
    assert_eq!(
        timeout(WAIT, client.read(&mut [0])).await.unwrap().unwrap(),
        0
    );
    assert_ends(&proxy).await;
    ask(&mut connect(&proxy).await, "the next one is well").await;
}

#[tokio::test]
async fn new_connections_are_refused_and_old_ones_stay() {
    let (proxy, mut old) = start().await;
    ask(&mut old, "hi").await;
    proxy.set(Faults {
        refuse: true,
        ..Faults::default()
    });
    let mut new = connect(&proxy).await;
    let ended = timeout(WAIT, new.read(&mut [0])).await.unwrap();
    assert!(matches!(ended, Ok(0) | Err(_)), "{ended:?}");
    ask(&mut old, "still well").await;
    proxy.set(Faults::default());
    ask(&mut connect(&proxy).await, "well again").await;
}

#[tokio::test]
async fn without_a_server_a_connection_ends() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = listener.local_addr().unwrap();
    drop(listener);
    let proxy = Proxy::start(nobody).await.unwrap();
    let mut client = connect(&proxy).await;
    let ended = timeout(WAIT, client.read(&mut [0])).await.unwrap();
    assert!(matches!(ended, Ok(0) | Err(_)), "{ended:?}");
}

#[tokio::test]
async fn a_dropped_proxy_ends_everything() {
    let (proxy, mut client) = start().await;
    ask(&mut client, "hi").await;
    let addr = proxy.addr();
    drop(proxy);
    let ended = timeout(WAIT, client.read(&mut [0])).await.unwrap();
    assert!(matches!(ended, Ok(0) | Err(_)), "{ended:?}");
    let end = Instant::now() + WAIT;
    while TcpStream::connect(addr).await.is_ok() {
        assert!(Instant::now() < end, "still listening");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
