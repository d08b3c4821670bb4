//! Pushes to those who are away.

mod encrypt;
mod late;
mod round;
mod sink;
mod vapid;
mod web;

pub use sink::{PushSettings, Pusher};
pub use vapid::{VapidError, VapidKey};
pub use web::WebPush;
