//! Taking typed fields out of a value object, with an error that names the field.

use std::fmt::Display;
use std::ops::RangeInclusive;

use crate::model::{Body, BodyError, IdError, Seq, Value};

/// A field that is missing or misshapen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {what}")]
pub struct FieldError {
    /// Its name, with dots for what lies deeper.
    pub field: String,
    /// What is wrong with it.
    pub what: String,
}

impl FieldError {
    /// An error of a field.
    pub fn new(field: impl Into<String>, what: impl Display) -> Self {
        Self {
            field: field.into(),
            what: what.to_string(),
        }
    }
}

/// The fields of an object that is written.
pub(super) type Out = Vec<(&'static str, Value)>;

/// The fields of an object. `null` counts as absent.
#[derive(Debug)]
pub(crate) struct Fields {
    value: Value,
    /// The name of the object itself; empty for a frame.
    path: String,
}

impl Fields {
    /// The fields of a frame; `None` when it is no object.
    pub(crate) fn of_frame(value: Value) -> Option<Self> {
        match value {
            Value::Object(_) => Some(Self {
                value,
                path: String::new(),
            }),
            _ => None,
        }
    }

    /// The fields of an object that stands in a field, or in the array there.
    pub(crate) fn inner(&self, field: &str, value: Value) -> Result<Self, FieldError> {
        match value {
            Value::Object(_) => Ok(Self {
                value,
                path: self.name(field),
            }),
            _ => Err(self.error(field, "must be an object")),
        }
    }

    fn name(&self, field: &str) -> String {
        if self.path.is_empty() {
            field.to_owned()
        } else {
            format!("{}.{field}", self.path)
        }
    }

    /// An error of a field, named from the frame on.
    pub(crate) fn error(&self, field: &str, what: impl Display) -> FieldError {
        FieldError::new(self.name(field), what)
    }

    pub(crate) fn object(&mut self, field: &str) -> Result<Self, FieldError> {
        let value = self.need(field)?;
        self.inner(field, value)
    }

    pub(crate) fn peek(&self, field: &str) -> Option<&Value> {
        self.value.get(field)
    }

    pub(crate) fn value(&mut self, field: &str) -> Option<Value> {
        self.value.take(field).filter(|value| *value != Value::Null)
    }

    pub(crate) fn need(&mut self, field: &str) -> Result<Value, FieldError> {
        self.value(field)
            .ok_or_else(|| self.error(field, "is missing"))
    }

    pub(crate) fn opt_text(&mut self, field: &str) -> Result<Option<String>, FieldError> {
        match self.value(field) {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text.into_owned())),
            Some(_) => Err(self.error(field, "must be a text")),
        }
    }

    pub(crate) fn text(&mut self, field: &str) -> Result<String, FieldError> {
        self.opt_text(field)?
            .ok_or_else(|| self.error(field, "is missing"))
    }

    /// A text of at most so many characters.
    pub(crate) fn opt_short_text(
        &mut self,
        field: &str,
        chars: RangeInclusive<usize>,
    ) -> Result<Option<String>, FieldError> {
        let text = self.opt_text(field)?;
        match &text {
            Some(text) if !chars.contains(&text.chars().count()) => {
                let (min, max) = chars.into_inner();
                let what = format_args!("must be a text of {min} to {max} characters");
                Err(self.error(field, what))
            }
            _ => Ok(text),
        }
    }

    /// An id, by its own constructor: `fields.id("conv", ConversationId::new)`.
    pub(crate) fn id<T>(
        &mut self,
        field: &str,
        make: impl FnOnce(String) -> Result<T, IdError>,
    ) -> Result<T, FieldError> {
        make(self.text(field)?).map_err(|error| self.error(field, error))
    }

    pub(crate) fn opt_id<T>(
        &mut self,
        field: &str,
        make: impl FnOnce(String) -> Result<T, IdError>,
    ) -> Result<Option<T>, FieldError> {
        let text = self.opt_text(field)?;
        text.map(make)
            .transpose()
            .map_err(|error| self.error(field, error))
    }

    /// An integer from 0.
    pub(crate) fn opt_count(&mut self, field: &str) -> Result<Option<u64>, FieldError> {
        match self.value(field) {
            None => Ok(None),
            Some(Value::Int(int)) if int >= 0 => Ok(Some(int.unsigned_abs())),
            Some(_) => Err(self.error(field, "must be an integer from 0")),
        }
    }

    pub(crate) fn count(&mut self, field: &str) -> Result<u64, FieldError> {
        self.opt_count(field)?
            .ok_or_else(|| self.error(field, "is missing"))
    }

    /// A time, which may lie before 1970.
    pub(crate) fn opt_int(&mut self, field: &str) -> Result<Option<i64>, FieldError> {
        match self.value(field) {
            None => Ok(None),
            Some(Value::Int(int)) => Ok(Some(int)),
            Some(_) => Err(self.error(field, "must be an integer")),
        }
    }

    pub(crate) fn int(&mut self, field: &str) -> Result<i64, FieldError> {
        self.opt_int(field)?
            .ok_or_else(|| self.error(field, "is missing"))
    }

    /// An integer from 1: a place in a log.
    pub(crate) fn opt_from_1(&mut self, field: &str) -> Result<Option<u64>, FieldError> {
        match self.value(field) {
            None => Ok(None),
            Some(Value::Int(int)) if int >= 1 => Ok(Some(int.unsigned_abs())),
            Some(_) => Err(self.error(field, "must be an integer from 1")),
        }
    }

    pub(crate) fn opt_seq(&mut self, field: &str) -> Result<Option<Seq>, FieldError> {
        Ok(self.opt_from_1(field)?.map(Seq))
    }

    pub(crate) fn seq(&mut self, field: &str) -> Result<Seq, FieldError> {
        self.opt_seq(field)?
            .ok_or_else(|| self.error(field, "is missing"))
    }

    pub(crate) fn flag(&mut self, field: &str) -> Result<bool, FieldError> {
        match self.value(field) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(flag),
            Some(_) => Err(self.error(field, "must be true or false")),
        }
    }

    pub(crate) fn array(&mut self, field: &str) -> Result<Vec<Value>, FieldError> {
        match self.need(field)? {
            Value::Array(items) => Ok(items),
            _ => Err(self.error(field, "must be an array")),
        }
    }

    pub(crate) fn body(&mut self, field: &str) -> Result<Body, FieldError> {
        let value = self.need(field)?;
        Body::new(&value).map_err(|error| match error {
            BodyError::Kind => self.error(&format!("{field}.kind"), "is none that is known"),
            BodyError::NotObject | BodyError::Depth => self.error(field, error),
        })
    }

    /// What has not been taken yet.
    pub(crate) fn rest(self) -> Value {
        self.value
    }
}
