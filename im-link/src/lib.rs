//! What every adapter needs that talks to a server, and no adapter itself: a connection that is
//! [kept](Kept), the [words](ConnectError) for why there is none, its [address](Address), and a
//! whole [bus](bus::BrokerBus) for whoever can open a session with a broker.
//!
//! Features: `tls` for what a client needs to be given for TLS, `redis` for connections to Redis.

mod address;
pub mod bus;
mod connect;
mod kept;
#[cfg(feature = "redis")]
pub mod redis;
mod task;
#[cfg(feature = "tls")]
mod tls;

pub use self::address::{Address, Form};
pub use self::connect::{ANSWER_WAIT, At, ConnectError, check_ca, check_prefix, escaped};
pub use self::kept::{Held, Keep, Kept, Link, PING_EVERY};
pub use self::task::Task;
#[cfg(feature = "tls")]
pub use self::tls::client_config;
