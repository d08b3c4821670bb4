//! From the upgrade to `welcome`, and the wrong ways there.

use std::time::{Duration, Instant};

use im_core::port::Standing;

use crate::kit::{Kit, hello, user};
use crate::peer::{Heard, PING, Peer, TEXT, int, text};

#[tokio::test]
async fn the_first_sub_protocol_that_is_known_is_taken_and_only_unknown_ones_are_refused() {
    let kit = Kit::start().await;
    for (offered, chosen) in [
        ("", Ok(None)),
        (
            "sec-websocket-protocol: im.v1.json\r\n",
            Ok(Some("im.v1.json")),
        ),
        (
            "sec-websocket-protocol: x, im.v1.msgpack, im.v1.json\r\n",
            Ok(Some("im.v1.msgpack")),
        ),
        ("sec-websocket-protocol: im.v2.json\r\n", Err(400)),
        ("sec-websocket-protocol: IM.V1.JSON\r\n", Err(400)),
    ] {
        let peer = Peer::connect(kit.address, offered).await;
        let protocol = peer.map(|peer| peer.protocol);
        assert_eq!(
            protocol
                .as_ref()
                .map(Option::as_deref)
                .map_err(|status| *status),
            chosen
        );
    }
}

#[tokio::test]
async fn a_token_on_the_upgrade_is_checked_there_and_needs_none_in_hello() {
    let kit = Kit::start().await;
    for bad in ["", "nobody", "ana ", "Ana"] {
        let header = format!("authorization: Bearer {bad}x\r\n");
        assert_eq!(
            Peer::connect(kit.address, &header).await.unwrap_err(),
            401,
            "{bad:?}"
        );
    }
    let header = "authorization: Bearer ana\r\n";
    let mut peer = Peer::connect(kit.address, header).await.unwrap();
    peer.say(r#"{"t":"hello","device":"d"}"#).await;
    assert_eq!(text(&peer.next().await, "user"), "ana");
    // Two tokens are one too many.
    let mut peer = Peer::connect(kit.address, header).await.unwrap();
    peer.say(&hello("ana", "d")).await;
    assert_eq!(peer.closed().await, 4401);
}

#[tokio::test]
async fn a_page_of_another_origin_is_refused_where_origins_are_named() {
    let allow =
        |transport: im_transport_ws::Transport| transport.allowed_origins(["https://app.example"]);
    let kit = Kit::serving(|_| {}, 10, allow).await;
    for (origin, status) in [
        ("origin: https://app.example\r\n", None),
        ("", None),
        ("origin: null\r\n", Some(403)),
        ("origin: https://app.example.evil\r\n", Some(403)),
        ("origin: http://app.example\r\n", Some(403)),
    ] {
        assert_eq!(
            Peer::connect(kit.address, origin).await.err(),
            status,
            "{origin}"
        );
    }
}

#[tokio::test]
async fn welcome_is_first_and_tells_the_limits() {
    let kit = Kit::start().await;
    let mut peer = kit.silent().await;
    peer.say(&hello("ana", "d1")).await;
    let welcome = peer.next().await;
    assert_eq!(text(&welcome, "t"), "welcome");
    assert_eq!(
        (text(&welcome, "user"), text(&welcome, "device")),
        ("ana".into(), "d1".into())
    );
    let limits = welcome.get("limits").unwrap();
    assert_eq!(int(limits, "frame_bytes"), 65_536);
    assert_eq!(int(limits, "window"), 256);
    peer.say(&hello("ana", "d1")).await;
    assert_eq!(peer.refused().await, "conflict");
}

#[tokio::test]
async fn who_does_not_say_hello_well_is_closed_with_the_code_that_tells_why() {
    let kit = Kit::start().await;
    for (first, code) in [
        (r#"{"t":"hello","token":"wrong","device":"d"}"#, 4401),
        (r#"{"t":"hello","device":"d"}"#, 4401),
        (r#"{"t":"ping"}"#, 4401),
        (r#"{"t":"no-such"}"#, 4401),
        (r#"{"t":"pull","id":1}"#, 4401),
        (r#"{"t":"hello","token":"ana"}"#, 4400),
        (r#"{"t":"hello","token":"ana","device":""}"#, 4400),
        (r#"{"t":"hello","token":7,"device":"d"}"#, 4400),
        ("hello", 4400),
        ("[]", 4400),
        ("", 4400),
    ] {
        let mut peer = kit.silent().await;
        peer.raw(TEXT, first.as_bytes()).await;
        assert_eq!(peer.closed().await, code, "{first}");
    }
}

#[tokio::test]
async fn what_follows_hello_at_once_waits_for_welcome() {
    let kit = Kit::start().await;
    let mut peer = kit.silent().await;
    peer.say(&hello("ana", "d")).await;
    peer.say(r#"{"t":"ping","id":1}"#).await;
    assert_eq!(text(&peer.next().await, "t"), "welcome");
    assert_eq!(text(&peer.next().await, "t"), "pong");
}

#[tokio::test]
async fn hello_has_a_deadline_that_pings_do_not_move() {
    let kit = Kit::with(|settings| settings.hello = Duration::from_millis(500)).await;
    let mut peer = kit.silent().await;
    let start = Instant::now();
    peer.raw(PING, b"x").await;
    assert_eq!(peer.closed().await, 4401);
    let took = start.elapsed();
    assert!(
        (Duration::from_millis(450)..Duration::from_secs(5)).contains(&took),
        "{took:?}"
    );
}

#[tokio::test]
async fn the_banned_are_told_and_closed() {
    let kit = Kit::start().await;
    kit.directory.set(&user("dora"), Standing::Banned);
    let mut peer = kit.silent().await;
    peer.say(&hello("dora", "d")).await;
    let bye = peer.next().await;
    assert_eq!((text(&bye, "t"), int(&bye, "code")), ("bye".into(), 4403));
    assert_eq!(peer.hear().await, Heard::Close(4403));
}

#[tokio::test]
async fn the_same_device_elsewhere_ends_the_earlier_one_only() {
    let kit = Kit::start().await;
    let mut first = kit.peer("ana", "d1").await;
    let mut other = kit.peer("ana", "d2").await;
    let mut second = kit.peer("ana", "d1").await;
    assert_eq!(first.closed().await, 4409);
    for peer in [&mut other, &mut second] {
        peer.say(r#"{"t":"ping"}"#).await;
        peer.get("pong").await;
    }
}

#[tokio::test]
async fn connections_that_became_web_sockets_count_among_the_most() {
    let kit = Kit::serving(|_| {}, 2, |transport| transport).await;
    let one = kit.peer("ana", "d1").await;
    let _two = kit.peer("ana", "d2").await;
    let third = Peer::connect(kit.address, "");
    let waits = tokio::time::timeout(Duration::from_millis(500), third).await;
    assert!(waits.is_err(), "a third was let in");
    drop(one);
    kit.peer("ana", "d3").await;
}
