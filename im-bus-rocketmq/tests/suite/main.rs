//! The bus on a real RocketMQ, the one whose name server `IMKIT_TEST_ROCKETMQ_URL` names;
//! without it, what needs one is passed over. `scripts/services up rocketmq` starts one. A broken
//! way is not among the tests: the client goes to the address that the broker registered, round any
//! proxy.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod odd;

use std::sync::Arc;
use std::time::Duration;

use im_bus_rocketmq::{Options, RocketBus};
use im_testkit::suite::bus::{Connected, Dial};

/// How long a node may be deaf after the broker is back.
const RESUMES: Duration = Duration::from_secs(5);

im_testkit::broker_suite!(connect, rocketmq, "IMKIT_TEST_ROCKETMQ_URL", "rocketmq");

async fn connect(dial: Dial) -> Connected {
    let options = Options {
        prefix: dial.prefix,
        ca_pem: dial.ca_pem,
    };
    Ok(Arc::new(RocketBus::connect(&dial.url, options).await?))
}
