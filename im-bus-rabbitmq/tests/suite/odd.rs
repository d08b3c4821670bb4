//! What RabbitMQ itself may do to a bus.

use im_bus_rabbitmq::{ConnectError, Options, RabbitBus};
use im_testkit::suite::bus::{poison_is_passed_over, the_servers_authority_is_asked_for};
use lapin::options::BasicPublishOptions;
use lapin::{BasicProperties, Connection, ConnectionProperties};
use tokio::net::TcpListener;

use crate::reach;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn poison_is_passed() {
    let Some(reach) = reach() else { return };
    let properties = ConnectionProperties::default();
    let raw = Connection::connect(reach.url(), properties).await.unwrap();
    let raw = raw.create_channel().await.unwrap();
    poison_is_passed_over(&reach, async |frame| {
        let exchange = format!("{}.bus", reach.prefix());
        for key in ["all", "node.n"] {
            let options = BasicPublishOptions::default();
            let none = BasicProperties::default();
            let (exchange, key) = (exchange.as_str().into(), key.into());
            let published = raw.basic_publish(exchange, key, options, &frame, none);
            published.await.unwrap().await.unwrap();
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_tls_the_servers_authority_is_asked_for() {
    let Some(reach) = reach() else { return };
    the_servers_authority_is_asked_for(&reach, "amqps", false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_credentials_and_no_such_virtual_host_are_said() {
    let Some(reach) = reach() else { return };
    let url = reach.login("nobody:hunter2", reach.place());
    let refused = RabbitBus::connect(&url, Options::default()).await;
    let error = refused.expect_err("refused");
    assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
    let ConnectError::Credentials { at } = error else {
        panic!("{error:?}");
    };
    assert_eq!(at.addr, reach.place());
    let (server, _) = reach.url().rsplit_once('/').unwrap();
    let refused = RabbitBus::connect(&format!("{server}/none"), Options::default()).await;
    let error = refused.expect_err("refused").to_string();
    assert!(error.contains("virtual host"), "{error}");
}

/// The client's thread of a connection ends with whoever wanted the connection.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_silent_leaves_no_thread_behind() {
    let loops = || {
        let tasks = std::fs::read_dir("/proc/self/task").unwrap();
        let names = tasks
            .filter_map(|task| std::fs::read_to_string(task.unwrap().path().join("comm")).ok());
        names.filter(|name| name.trim() == "lapin-io-loop").count()
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("amqp://{}", listener.local_addr().unwrap());
    let before = loops();
    let tries = (0..20).map(|_| {
        let url = url.clone();
        tokio::spawn(async move { RabbitBus::connect(&url, Options::default()).await.is_err() })
    });
    for tried in tries.collect::<Vec<_>>() {
        assert!(tried.await.unwrap());
    }
    // Other tests have some, too: not twenty more.
    let mut rounds = 0;
    while loops() > before + 10 {
        rounds += 1;
        assert!(rounds < 100, "{} threads, {before} before", loops());
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}
