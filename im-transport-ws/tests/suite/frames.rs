//! Frames that are broken at every level.

use crate::kit::Kit;
use crate::peer::{BINARY, Heard, PING, Peer, TEXT, message, text};

#[tokio::test]
async fn a_frame_of_the_other_opcode_is_garbage() {
    let kit = Kit::start().await;
    let mut peer = kit.peer("ana", "d").await;
    peer.raw(BINARY, br#"{"t":"ping"}"#).await;
    assert_eq!(peer.closed().await, 4400);
    let offer = "sec-websocket-protocol: im.v1.msgpack\r\n";
    let mut peer = Peer::connect(kit.address, offer).await.unwrap();
    peer.raw(TEXT, br#"{"t":"ping"}"#).await;
    assert_eq!(peer.closed().await, 4400);
}

#[tokio::test]
async fn a_frame_over_the_limit_is_too_large_whole_or_in_parts() {
    let kit = Kit::start().await;
    let mut peer = kit.peer("ana", "d").await;
    peer.raw(TEXT, &vec![b' '; 65_537]).await;
    assert_eq!(peer.closed().await, 1009);
    let mut peer = kit.peer("ana", "d").await;
    peer.raw(0x01, &vec![b' '; 40_000]).await;
    peer.raw(0x80, &vec![b' '; 40_000]).await;
    assert_eq!(peer.closed().await, 1009);
    // A header that only promises much is enough.
    let mut peer = kit.peer("ana", "d").await;
    peer.bytes(&[
        TEXT, 0xff, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0,
    ])
    .await;
    assert_eq!(peer.closed().await, 1009);
}

#[tokio::test]
async fn what_is_no_web_socket_frame_is_a_protocol_error_or_no_text() {
    let kit = Kit::start().await;
    for (bytes, code) in [
        (&[TEXT, 0x82, 0, 0, 0, 0, 0xc3, 0x28][..], 1007),
        // Not masked.
        (&[TEXT, 0x02, b'{', b'}'], 1002),
        // A reserved bit, a reserved opcode, a continuation of nothing, a ping in parts.
        (&[0xc1, 0x80, 0, 0, 0, 0], 1002),
        (&[0x83, 0x80, 0, 0, 0, 0], 1002),
        (&[0x80, 0x80, 0, 0, 0, 0], 1002),
        (&[0x09, 0x80, 0, 0, 0, 0], 1002),
    ] {
        let mut peer = kit.peer("ana", "d").await;
        peer.bytes(bytes).await;
        assert_eq!(peer.closed().await, code, "{bytes:?}");
    }
}

#[tokio::test]
async fn a_message_in_parts_is_one_frame_also_with_a_ping_in_between() {
    let kit = Kit::start().await;
    let mut peer = kit.peer("ana", "d").await;
    let frame = message("c1", r#"{"user":"ben"}"#, "h€llo");
    let (one, rest) = frame.as_bytes().split_at(frame.find('€').unwrap() + 1);
    let (two, three) = rest.split_at(1);
    peer.raw(0x01, one).await;
    peer.raw(PING, b"p").await;
    peer.raw(0x00, two).await;
    peer.raw(0x80, three).await;
    assert_eq!(peer.hear().await, Heard::Pong);
    let entry = peer.get("entry").await;
    assert_eq!(text(entry.get("body").unwrap(), "text"), "h€llo");
}

#[tokio::test]
async fn a_frame_that_comes_byte_by_byte_is_the_frame() {
    let kit = Kit::start().await;
    let mut peer = kit.peer("ana", "d").await;
    let frame = message("c1", r#"{"user":"ben"}"#, "bit by bit");
    let mut bytes = vec![TEXT, 0x80 | frame.len() as u8, 1, 2, 3, 4];
    let masked = frame.bytes().zip([1, 2, 3, 4].into_iter().cycle());
    bytes.extend(masked.map(|(byte, mask)| byte ^ mask));
    assert!(frame.len() < 126);
    for byte in bytes {
        peer.bytes(&[byte]).await;
        tokio::task::yield_now().await;
    }
    let entry = peer.get("entry").await;
    assert_eq!(text(entry.get("body").unwrap(), "text"), "bit by bit");
}

#[tokio::test]
async fn a_misshapen_frame_names_its_field_and_the_fifth_closes() {
    let kit = Kit::start().await;
    let mut peer = kit.peer("ana", "d").await;
    for (frame, field) in [
        (r#"{"t":"ack","conv":"c"}"#, "seq"),
        (r#"{"t":"pull","id":1,"conv":"c"}"#, "after"),
        (
            r#"{"t":"send","cm_id":"","to":{"user":"b"},"body":{"kind":"text","text":"x"}}"#,
            "cm_id",
        ),
        (
            r#"{"t":"req","id":1,"method":"conv.get","params":[]}"#,
            "params",
        ),
    ] {
        peer.say(frame).await;
        let err = peer.get("err").await;
        assert_eq!(text(&err, "code"), "bad_frame");
        assert!(text(&err, "message").contains(field), "{err:?}");
    }
    peer.say(r#"{"t":"read"}"#).await;
    assert_eq!(peer.refused().await, "bad_frame");
    assert_eq!(peer.closed().await, 4400);
}

#[tokio::test]
async fn what_is_no_frame_at_all_closes_at_once() {
    let kit = Kit::start().await;
    for garbage in ["{", "null", r#"{"t":"ping","id":NaN}"#, "{}{}"] {
        let mut peer = kit.peer("ana", "d").await;
        peer.raw(TEXT, garbage.as_bytes()).await;
        assert_eq!(peer.closed().await, 4400, "{garbage}");
    }
}

#[tokio::test]
async fn keys_that_stand_twice_and_what_is_too_deep_are_refused() {
    let kit = Kit::start().await;
    let deep = format!(r#"{{"t":"ping","x":{}"#, "[".repeat(50_000));
    for bad in [r#"{"t":"ping","t":"ping"}"#, &deep] {
        let mut peer = kit.peer("ana", "d").await;
        peer.raw(TEXT, bad.as_bytes()).await;
        match peer.hear().await {
            Heard::Close(code) => assert_eq!(code, 4400, "{bad:.40}"),
            Heard::Frame(err) => assert_eq!(text(&err, "code"), "bad_frame", "{bad:.40}"),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn an_unknown_frame_is_unsupported_and_the_connection_lives_on() {
    let kit = Kit::start().await;
    let mut peer = kit.peer("ana", "d").await;
    for _ in 0..10 {
        peer.say(r#"{"t":"teleport","id":7}"#).await;
        assert_eq!(peer.refused().await, "unsupported");
    }
    peer.say(r#"{"t":"ping","id":"x","more":[1]}"#).await;
    assert_eq!(text(&peer.get("pong").await, "id"), "x");
}

#[tokio::test]
async fn a_client_that_says_goodbye_is_answered() {
    let kit = Kit::start().await;
    let mut peer = kit.peer("ana", "d").await;
    peer.raw(0x88, &1000_u16.to_be_bytes()).await;
    assert_eq!(peer.closed().await, 1000);
}

#[tokio::test]
async fn messagepack_carries_the_same_frames() {
    let kit = Kit::start().await;
    let offer = "sec-websocket-protocol: im.v1.msgpack\r\n";
    let mut peer = Peer::connect(kit.address, offer).await.unwrap();
    peer.say(&crate::kit::hello("ana", "d")).await;
    peer.get("welcome").await;
    let mut other = kit.peer("ben", "d").await;
    peer.send("c1", r#"{"user":"ben"}"#, "packed").await;
    let entry = other.get("entry").await;
    assert_eq!(text(entry.get("body").unwrap(), "text"), "packed");
    other.send("c2", r#"{"user":"ana"}"#, "plain").await;
    while text(peer.get("entry").await.get("body").unwrap(), "text") != "plain" {}
    peer.raw(BINARY, &[0xc1]).await;
    assert_eq!(peer.closed().await, 4400);
}

#[tokio::test]
async fn of_frames_that_come_all_at_once_none_is_passed_over() {
    const FRAMES: usize = 500;
    let kit = Kit::start().await;
    let mut peer = kit.peer("ana", "d").await;
    let ping = br#"{"t":"ping"}"#;
    let masked = [&[TEXT, 0x80 | ping.len() as u8, 0, 0, 0, 0], &ping[..]].concat();
    peer.bytes(&masked.repeat(FRAMES)).await;
    for _ in 0..FRAMES {
        peer.get("pong").await;
    }
}
