//! The bus on a real RabbitMQ, the one that `IMKIT_TEST_AMQP_URL` names; without it, what needs one
//! is passed over. `scripts/services up rabbitmq` starts one.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod odd;

use std::sync::Arc;
use std::time::Duration;

use im_bus_rabbitmq::{Options, RabbitBus};
use im_testkit::suite::bus::{Connected, Dial};

/// How long a node may be deaf after the broker is back.
const RESUMES: Duration = Duration::from_secs(5);

im_testkit::broker_suite!(connect, rabbitmq, "IMKIT_TEST_AMQP_URL", "amqp");

mod way {
    im_testkit::bus_way_suite!(async { super::reach().map(|it| ((), it)) });
}

async fn connect(dial: Dial) -> Connected {
    let options = Options {
        prefix: dial.prefix,
        ca_pem: dial.ca_pem,
    };
    Ok(Arc::new(RabbitBus::connect(&dial.url, options).await?))
}
