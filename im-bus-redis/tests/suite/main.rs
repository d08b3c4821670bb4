//! The bus on a real Redis, the one that `IMKIT_TEST_REDIS_URL` names; without it, what needs one
//! is passed over. `scripts/services up redis` starts one.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod odd;

use std::sync::Arc;
use std::time::Duration;

use im_bus_redis::{Options, RedisBus};
use im_testkit::suite::bus::{Connected, Dial};

/// How long a node may be deaf after the broker is back.
const RESUMES: Duration = Duration::from_secs(5);

im_testkit::broker_suite!(connect, redis, "IMKIT_TEST_REDIS_URL", "redis");

mod way {
    im_testkit::bus_way_suite!(async { super::reach().map(|it| ((), it)) });
}

async fn connect(dial: Dial) -> Connected {
    let options = Options {
        prefix: dial.prefix,
        ca_pem: dial.ca_pem,
    };
    Ok(Arc::new(RedisBus::connect(&dial.url, options).await?))
}
