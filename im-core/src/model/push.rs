//! Where a user wants to be pushed to.

use super::value::Value;

/// A subscription of one device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushTarget {
    /// By which way: `web`, or the embedder's own (`apns`, `fcm`).
    pub kind: String,
    /// What that way needs. For `web`: `endpoint`, `p256dh` and `auth`.
    pub data: Value,
    /// Whether pushes may hold who said what.
    pub text: bool,
}

impl PushTarget {
    /// The longest kind, in bytes.
    pub const KIND_BYTES_MAX: usize = 16;
    /// The longest data as JSON text, in bytes.
    pub const DATA_BYTES_MAX: usize = 2_048;

    /// Canonical JSON text, as the store keeps it.
    #[must_use]
    pub fn to_json(&self) -> String {
        Value::object([
            ("data", self.data.clone()),
            ("kind", self.kind.as_str().into()),
            ("text", self.text.into()),
        ])
        .to_json()
    }

    /// Reads what the store kept.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let mut value = Value::from_json(text).ok()?;
        let kind = value.get("kind")?.as_text()?.to_owned();
        let text = value.get("text") != Some(&Value::Bool(false));
        let data = value.take("data")?;
        Some(Self { kind, data, text })
    }

    /// What is wrong with it, if anything: its shape, not whether it leads anywhere.
    ///
    /// # Errors
    /// The field, and what is wrong with it.
    pub fn check(&self) -> Result<(), (&'static str, &'static str)> {
        if self.kind.is_empty() || self.kind.len() > Self::KIND_BYTES_MAX {
            return Err(("kind", "must be 1 to 16 bytes"));
        }
        if !matches!(self.data, Value::Object(_)) {
            return Err(("data", "must be an object"));
        }
        if self.data.to_json().len() > Self::DATA_BYTES_MAX {
            return Err(("data", "has more than 2048 bytes"));
        }
        if self.kind != "web" {
            return Ok(());
        }
        let text = |field| {
            self.data
                .get(field)
                .and_then(Value::as_text)
                .unwrap_or_default()
        };
        if !text("endpoint").starts_with("https://") && !text("endpoint").starts_with("http://") {
            return Err(("endpoint", "must be the address of a push service"));
        }
        // In base64url, with or without padding: 65 and 16 bytes.
        if !matches!(text("p256dh").len(), 87 | 88) {
            return Err(("p256dh", "must be 65 bytes in base64url"));
        }
        if !matches!(text("auth").len(), 22 | 24) {
            return Err(("auth", "must be 16 bytes in base64url"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subscription_is_read_back_and_its_shape_checked() {
        let (key, auth) = ("B".repeat(87), "A".repeat(22));
        let data = |endpoint: &str, key: &str, auth: &str| {
            Value::object([
                ("endpoint", Value::from(endpoint)),
                ("p256dh", key.into()),
                ("auth", auth.into()),
            ])
        };
        let target = |kind: &str, data| PushTarget {
            kind: kind.to_owned(),
            data,
            text: false,
        };
        let good = target("web", data("https://push.example/1", &key, &auth));
        assert_eq!(good.check(), Ok(()));
        assert_eq!(PushTarget::read(&good.to_json()), Some(good));
        let long = "x".repeat(PushTarget::DATA_BYTES_MAX);
        for (bad, field) in [
            (target("", data("https://a", &key, &auth)), "kind"),
            (target("web", Value::Null), "data"),
            (
                target("apns", Value::object([("t", Value::from(long.as_str()))])),
                "data",
            ),
            (target("web", data("javascript:1", &key, &auth)), "endpoint"),
            (target("web", data("https://a", "B", &auth)), "p256dh"),
            (target("web", data("https://a", &key, "A")), "auth"),
        ] {
            assert_eq!(bad.check().map_err(|(field, _)| field), Err(field));
        }
        assert_eq!(
            target("apns", Value::object([("t", Value::from("x"))])).check(),
            Ok(())
        );
    }
}
