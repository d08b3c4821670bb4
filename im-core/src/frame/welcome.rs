//! The first frame of a node.

use super::Limits;
use super::fields::{FieldError, Fields, Out};
use crate::model::{DeviceId, Timestamp, UserId, Value};

/// The first frame of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Welcome {
    /// Who the token says the client is.
    pub user: UserId,
    /// The device that it named.
    pub device: DeviceId,
    /// The connection's own name, for logs.
    pub conn: String,
    /// The node's name.
    pub node: String,
    /// The node's time.
    pub now: Timestamp,
    /// When the token ends.
    pub expires_at: Timestamp,
    /// How often the node gives a sign of life, in milliseconds.
    pub heartbeat_ms: u64,
    /// What the client must keep to.
    pub limits: Limits,
}

pub(super) fn welcome_fields(welcome: &Welcome, out: &mut Out) {
    out.push(("user", welcome.user.as_str().into()));
    out.push(("device", welcome.device.as_str().into()));
    out.push(("conn", welcome.conn.as_str().into()));
    out.push(("node", welcome.node.as_str().into()));
    out.push(("now", welcome.now.0.into()));
    out.push(("expires_at", welcome.expires_at.0.into()));
    out.push(("heartbeat_ms", welcome.heartbeat_ms.into()));
    let limits = &welcome.limits;
    out.push((
        "limits",
        Value::object([
            ("frame_bytes", Value::from(limits.frame_bytes as u64)),
            ("page_bytes", (limits.page_bytes as u64).into()),
            ("text_chars", (limits.text_chars as u64).into()),
            ("window", (limits.window as u64).into()),
            ("ack_ms", limits.ack_ms.into()),
            ("sends_per_s", u64::from(limits.sends_per_s).into()),
            ("dedupe_ms", limits.dedupe_ms.into()),
        ]),
    ));
}

pub(super) fn welcome(f: &mut Fields) -> Result<Welcome, FieldError> {
    let mut l = f.object("limits")?;
    let mut size = |field: &str| -> Result<usize, FieldError> {
        usize::try_from(l.count(field)?).map_err(|_| l.error(field, "is too large"))
    };
    let limits = Limits {
        frame_bytes: size("frame_bytes")?,
        page_bytes: size("page_bytes")?,
        text_chars: size("text_chars")?,
        window: size("window")?,
        ack_ms: l.count("ack_ms")?,
        sends_per_s: u32::try_from(l.count("sends_per_s")?).unwrap_or(u32::MAX),
        dedupe_ms: l.count("dedupe_ms")?,
    };
    Ok(Welcome {
        user: f.id("user", UserId::new)?,
        device: f.id("device", DeviceId::new)?,
        conn: f.text("conn")?,
        node: f.text("node")?,
        now: Timestamp(f.int("now")?),
        expires_at: Timestamp(f.int("expires_at")?),
        heartbeat_ms: f.count("heartbeat_ms")?,
        limits,
    })
}
