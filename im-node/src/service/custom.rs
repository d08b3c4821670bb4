//! The embedder's own kinds of messages: `custom` bodies, each `type` with what its data must be.

use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use im_core::frame::{ErrorCode, Failure};
use im_core::model::{Body, Kind, Value};

use super::params::bad;

/// What a type's data must be: an error says what is wrong with it, for the client to read.
type Check = Box<dyn Fn(&Value) -> Result<(), String> + Send + Sync>;

/// The types of `custom` bodies that there are, and what their data must be. Without any, every
/// type is taken, whatever its data.
#[derive(Default)]
pub struct CustomTypes {
    checks: BTreeMap<String, Check>,
}

impl fmt::Debug for CustomTypes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.checks.keys()).finish()
    }
}

impl CustomTypes {
    /// One more type: `check` says what is wrong with data, if something is, in words for the
    /// client (`"total: must be a number"`). It runs for each message of the type that is sent, so
    /// it must be quick, and wait for nothing; one that panics refuses. Absent data is `Null`.
    #[must_use]
    pub fn with(
        mut self,
        name: impl Into<String>,
        check: impl Fn(&Value) -> Result<(), String> + Send + Sync + 'static,
    ) -> Self {
        self.checks.insert(name.into(), Box::new(check));
        self
    }

    /// Refuses a `custom` body of no known type, or whose data is not what its type has.
    pub(crate) fn check(&self, body: &Body) -> Result<(), Failure> {
        if body.kind() != Kind::Custom || self.checks.is_empty() {
            return Ok(());
        }
        let value = body.value();
        let name = value.get("type").and_then(Value::as_text).unwrap_or("");
        let Some(check) = self.checks.get(name) else {
            return Err(bad("body.type", "is none that is registered here"));
        };
        let data = value.get("data").unwrap_or(&Value::Null);
        match catch_unwind(AssertUnwindSafe(|| check(data))) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(what)) => Err(bad("body.data", &what)),
            Err(_) => {
                tracing::error!(name, "the check of a custom type panicked");
                Err(Failure::new(ErrorCode::Internal, "an internal error"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn custom(rest: &str) -> Body {
        let text = format!(r#"{{"kind":"custom"{rest}}}"#);
        Body::new(&Value::from_json(&text).unwrap()).unwrap()
    }

    fn types() -> CustomTypes {
        let order = |data: &Value| match data.get("total") {
            Some(Value::Int(0..)) => Ok(()),
            _ => Err("total: must be an integer from 0".to_owned()),
        };
        let broken = |_: &Value| panic!("on purpose");
        CustomTypes::default()
            .with("order", order)
            .with("broken", broken)
    }

    #[test]
    fn what_is_registered_is_checked_and_nothing_else_is_taken() {
        let types = types();
        let words = |rest: &str| {
            types
                .check(&custom(rest))
                .map_err(|failure| failure.message)
        };
        assert_eq!(words(r#","type":"order","data":{"total":3}"#), Ok(()));
        let what = "body.data: total: must be an integer from 0".to_owned();
        assert_eq!(
            words(r#","type":"order","data":{"total":-1}"#),
            Err(what.clone())
        );
        assert_eq!(words(r#","type":"order""#), Err(what));
        let what = "body.type: is none that is registered here".to_owned();
        assert_eq!(words(r#","type":"poll""#), Err(what));
        assert_eq!(types.check(&Body::text("hi")), Ok(()));
    }

    #[test]
    fn a_check_that_panics_refuses_and_the_next_one_runs() {
        let types = types();
        let refused = types.check(&custom(r#","type":"broken""#)).unwrap_err();
        assert_eq!(refused.code, ErrorCode::Internal);
        assert_eq!(
            types.check(&custom(r#","type":"order","data":{"total":0}"#)),
            Ok(())
        );
    }

    #[test]
    fn without_any_every_type_is_taken() {
        let refused = CustomTypes::default().check(&custom(r#","type":"x","data":[]"#));
        assert_eq!(refused, Ok(()));
    }
}
