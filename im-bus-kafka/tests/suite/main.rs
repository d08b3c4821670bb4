//! The bus on a real Kafka, the one that `IMKIT_TEST_KAFKA_URL` names; without it, what needs one
//! is passed over. `scripts/services up kafka` starts one. A broken way is not among the tests: the
//! client goes to the address that the broker advertises, round any proxy.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use chrono::DateTime;
use im_bus_kafka::{ConnectError, KafkaBus, Options};
use im_core::model::NodeId;
use im_core::port::{Incoming, To};
use im_testkit::suite::bus::{
    Connected, Dial, Reach, poison_is_passed_over, the_authority_of_a_server_with_tls_is_asked_for,
};
use rskafka::client::ClientBuilder;
use rskafka::client::partition::{Compression, UnknownTopicHandling};
use rskafka::record::Record;

/// How long a node may be deaf after the broker is back.
const RESUMES: Duration = Duration::from_secs(5);

im_testkit::broker_suite!(connect, kafka, "IMKIT_TEST_KAFKA_URL", "kafka");

async fn connect(dial: Dial) -> Connected {
    let options = Options {
        prefix: dial.prefix,
        ca_pem: dial.ca_pem,
    };
    Ok(Arc::new(KafkaBus::connect(&dial.url, options).await?))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_login_it_works_and_with_a_wrong_one_it_is_said() {
    let Some(reach) = Reach::by_variable("IMKIT_TEST_KAFKA_LOGIN_URL", connect) else {
        return;
    };
    let bus = reach.direct().await;
    let mut heard = bus.subscribe(&NodeId::new("n").unwrap()).await.unwrap();
    bus.publish(To::All, "x".into()).await.unwrap();
    assert_eq!(heard.next().await, Some(Incoming::Message("x".into())));
    let wrong = reach.login("imkit:hunter2", reach.place());
    let refused = KafkaBus::connect(&wrong, Options::default()).await;
    let error = refused.expect_err("refused");
    assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
    assert!(
        matches!(error, ConnectError::Credentials { .. }),
        "{error:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_tls_the_servers_authority_is_asked_for() {
    let url = std::env::var("IMKIT_TEST_KAFKA_TLS_URL").ok();
    if let (Some(reach), Some(url)) = (reach(), url) {
        the_authority_of_a_server_with_tls_is_asked_for(&reach, &url).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn poison_is_passed() {
    let Some(reach) = reach() else { return };
    let builder = ClientBuilder::new(vec![reach.place().to_owned()]);
    let client = builder.build().await.unwrap();
    poison_is_passed_over(&reach, async |frame| {
        let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis();
        let now = DateTime::from_timestamp_millis(now.try_into().unwrap()).unwrap();
        // That of all, and that of node n.
        for partition in [0, 6] {
            let topic = format!("{}.bus", reach.prefix());
            let opened = client.partition_client(topic, partition, UnknownTopicHandling::Retry);
            let record = Record {
                key: (partition > 0).then(|| b"n".to_vec()),
                value: (!frame.is_empty()).then(|| frame.to_vec()),
                headers: Default::default(),
                timestamp: now,
            };
            let opened = opened.await.unwrap();
            let produced = opened.produce(vec![record], Compression::NoCompression);
            produced.await.unwrap();
        }
    })
    .await;
}
