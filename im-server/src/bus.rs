//! The buses that the server knows, by the schemes of their URLs.

use std::sync::Arc;

use im_core::port::Bus;
use im_link::ConnectError;
use im_link::bus::{Broker, BrokerBus, Options};

/// The schemes of this build, without TLS and with it.
const SCHEMES: &[[&str; 2]] = &[
    ["redis", "rediss"],
    #[cfg(feature = "nats")]
    ["nats", "tls"],
    #[cfg(feature = "rabbitmq")]
    ["amqp", "amqps"],
    #[cfg(feature = "kafka")]
    ["kafka", "kafkas"],
    #[cfg(feature = "rocketmq")]
    ["rocketmq", "rocketmq"],
];

fn scheme(url: &str) -> &str {
    url.split_once("://").map_or("", |(scheme, _)| scheme)
}

/// Whether a URL is that of some bus.
pub(crate) fn is_known(url: &str) -> bool {
    SCHEMES.iter().any(|both| both.contains(&scheme(url)))
}

/// What URLs begin with, as an error says it.
pub(crate) fn known() -> String {
    let schemes = SCHEMES.iter().map(|[plain, _]| format!("{plain}://"));
    schemes.collect::<Vec<_>>().join(", ")
}

/// Whether a URL says that there is TLS.
pub(crate) fn is_secure(url: &str) -> bool {
    let scheme = scheme(url);
    let mut both = SCHEMES.iter();
    both.any(|[plain, secure]| scheme == *secure && scheme != *plain)
}

/// Connects to the bus that a URL names.
///
/// # Errors
/// When it is none, or nobody answers there who takes the credentials.
pub(crate) async fn open(url: &str, options: Options) -> Result<Arc<dyn Bus>, ConnectError> {
    match scheme(url) {
        #[cfg(feature = "nats")]
        "nats" | "tls" => connect::<im_bus_nats::Nats>(url, options).await,
        #[cfg(feature = "rabbitmq")]
        "amqp" | "amqps" => connect::<im_bus_rabbitmq::Rabbit>(url, options).await,
        #[cfg(feature = "kafka")]
        "kafka" | "kafkas" => connect::<im_bus_kafka::Kafka>(url, options).await,
        #[cfg(feature = "rocketmq")]
        "rocketmq" => connect::<im_bus_rocketmq::Rocket>(url, options).await,
        _ => connect::<im_bus_redis::Redis>(url, options).await,
    }
}

async fn connect<B: Broker>(url: &str, options: Options) -> Result<Arc<dyn Bus>, ConnectError> {
    Ok(Arc::new(BrokerBus::<B>::connect(url, options).await?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemes_are_told_apart() {
        assert!(is_known("redis://h") && is_known("rediss://h"));
        assert!(!is_known("redis") && !is_known("http://h") && !is_known("://"));
        assert!(is_secure("rediss://h") && !is_secure("redis://h"));
        assert!(!is_secure("rocketmq://h"));
        assert!(known().starts_with("redis://"));
    }
}
