//! What RocketMQ itself may do to a bus.

use bytes::{BufMut, Bytes, BytesMut};
use im_bus_rocketmq::{Options, RocketBus};
use im_testkit::suite::bus::{Reach, poison_is_passed_over};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::reach;

/// Sends past the bus, to a queue of the broker that `scripts/services` started beside its name
/// server.
async fn send(reach: &Reach, queue: u32, to: &str, body: &[u8]) {
    let (host, port) = reach.place().rsplit_once(':').unwrap();
    let port = port.parse::<u16>().unwrap() - 9876 + 10911;
    let head = format!(
        r#"{{"code":10,"language":"OTHER","version":1,"opaque":1,"flag":0,"extFields":{{
        "topic":"{}_bus","defaultTopic":"TBW102","defaultTopicQueueNums":"1","queueId":"{queue}",
        "producerGroup":"test","sysFlag":"0","bornTimestamp":"0","flag":"0","reconsumeTimes":"0",
        "unitMode":"false","batch":"false","properties":"{to}"}}}}"#,
        reach.prefix()
    );
    let mut frame = BytesMut::new();
    frame.put_u32((4 + head.len() + body.len()).try_into().unwrap());
    frame.put_u32(head.len().try_into().unwrap());
    frame.put_slice(head.as_bytes());
    frame.put_slice(body);
    let mut broker = TcpStream::connect((host, port)).await.unwrap();
    broker.write_all(&frame).await.unwrap();
    // That it answers means that it has it.
    broker.read_u32().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn poison_is_passed() {
    let Some(reach) = reach() else { return };
    poison_is_passed_over(&reach, async |frame: Bytes| {
        // That of all, and that of node n.
        send(&reach, 0, "", &frame).await;
        send(&reach, 6, r"TO\u0001n\u0002", &frame).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_prefix_that_makes_too_long_a_name_is_refused() {
    let options = Options {
        prefix: ".".repeat(64),
        ca_pem: None,
    };
    let refused = RocketBus::connect("rocketmq://127.0.0.1:1", options).await;
    assert!(refused.unwrap_err().to_string().contains("too long"));
}
