//! Taking typed fields out of a value object, with an error that names the field.

use std::fmt::Display;

use crate::model::{IdError, Seq, Value};

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

/// The fields of an object. `null` counts as absent.
#[derive(Debug)]
pub(crate) struct Fields {
    value: Value,
}

impl Fields {
    pub(crate) fn new(value: Value, field: &str) -> Result<Self, FieldError> {
        if matches!(value, Value::Object(_)) {
            Ok(Self { value })
        } else {
            Err(FieldError::new(field, "must be an object"))
        }
    }

    pub(crate) fn peek(&self, field: &str) -> Option<&Value> {
        self.value.get(field)
    }

    pub(crate) fn value(&mut self, field: &str) -> Option<Value> {
        self.value.take(field).filter(|value| *value != Value::Null)
    }

    pub(crate) fn need(&mut self, field: &str) -> Result<Value, FieldError> {
        self.value(field)
            .ok_or_else(|| FieldError::new(field, "is missing"))
    }

    pub(crate) fn opt_text(&mut self, field: &str) -> Result<Option<String>, FieldError> {
        match self.value(field) {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text.into_owned())),
            Some(_) => Err(FieldError::new(field, "must be a text")),
        }
    }

    pub(crate) fn text(&mut self, field: &str) -> Result<String, FieldError> {
        self.opt_text(field)?
            .ok_or_else(|| FieldError::new(field, "is missing"))
    }

    /// An id, by its own constructor: `fields.id("conv", ConversationId::new)`.
    pub(crate) fn id<T>(
        &mut self,
        field: &str,
        make: impl FnOnce(String) -> Result<T, IdError>,
    ) -> Result<T, FieldError> {
        make(self.text(field)?).map_err(|error| FieldError::new(field, error))
    }

    pub(crate) fn opt_id<T>(
        &mut self,
        field: &str,
        make: impl FnOnce(String) -> Result<T, IdError>,
    ) -> Result<Option<T>, FieldError> {
        let text = self.opt_text(field)?;
        text.map(make)
            .transpose()
            .map_err(|error| FieldError::new(field, error))
    }

    /// An integer from 0.
    pub(crate) fn opt_count(&mut self, field: &str) -> Result<Option<u64>, FieldError> {
        match self.value(field) {
            None => Ok(None),
            Some(Value::Int(int)) if int >= 0 => Ok(Some(int.unsigned_abs())),
            Some(_) => Err(FieldError::new(field, "must be an integer from 0")),
        }
    }

    pub(crate) fn count(&mut self, field: &str) -> Result<u64, FieldError> {
        self.opt_count(field)?
            .ok_or_else(|| FieldError::new(field, "is missing"))
    }

    /// A time, which may lie before 1970.
    pub(crate) fn int(&mut self, field: &str) -> Result<i64, FieldError> {
        self.need(field)?
            .as_int()
            .ok_or_else(|| FieldError::new(field, "must be an integer"))
    }

    /// A place in a log: an integer from 1.
    pub(crate) fn opt_seq(&mut self, field: &str) -> Result<Option<Seq>, FieldError> {
        match self.opt_count(field)? {
            None => Ok(None),
            Some(0) => Err(FieldError::new(field, "must be an integer from 1")),
            Some(seq) => Ok(Some(Seq(seq))),
        }
    }

    pub(crate) fn seq(&mut self, field: &str) -> Result<Seq, FieldError> {
        self.opt_seq(field)?
            .ok_or_else(|| FieldError::new(field, "is missing"))
    }

    pub(crate) fn flag(&mut self, field: &str) -> Result<bool, FieldError> {
        match self.value(field) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(flag),
            Some(_) => Err(FieldError::new(field, "must be true or false")),
        }
    }

    pub(crate) fn array(&mut self, field: &str) -> Result<Vec<Value>, FieldError> {
        match self.need(field)? {
            Value::Array(items) => Ok(items),
            _ => Err(FieldError::new(field, "must be an array")),
        }
    }

    /// What has not been taken yet.
    pub(crate) fn rest(&mut self) -> Option<Value> {
        Some(std::mem::replace(&mut self.value, Value::Null))
    }
}
