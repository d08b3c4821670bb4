//! Taking parameters out of a request, with an error that names them.

use im_core::frame::{ErrorCode, Failure};
use im_core::model::{ConversationId, IdError, Seq, UserId, Value};

/// The parameters of a call.
#[derive(Debug)]
pub(crate) struct Params(Value);

impl Params {
    pub(crate) const fn new(value: Value) -> Self {
        Self(value)
    }

    fn take(&mut self, field: &str) -> Option<Value> {
        self.0.take(field).filter(|value| *value != Value::Null)
    }

    pub(crate) fn opt_text(&mut self, field: &str) -> Result<Option<String>, Failure> {
        match self.take(field) {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text.into_owned())),
            Some(_) => Err(bad(field, "must be a text")),
        }
    }

    pub(crate) fn text(&mut self, field: &str) -> Result<String, Failure> {
        self.opt_text(field)?
            .ok_or_else(|| bad(field, "is missing"))
    }

    pub(crate) fn conv(&mut self) -> Result<ConversationId, Failure> {
        id("conv", ConversationId::new(self.text("conv")?))
    }

    pub(crate) fn user(&mut self, field: &str) -> Result<UserId, Failure> {
        id(field, UserId::new(self.text(field)?))
    }

    pub(crate) fn opt_user(&mut self, field: &str) -> Result<Option<UserId>, Failure> {
        let text = self.opt_text(field)?;
        text.map(|text| id(field, UserId::new(text))).transpose()
    }

    /// User ids, none twice, at most `max`.
    pub(crate) fn users(&mut self, field: &str, max: usize) -> Result<Vec<UserId>, Failure> {
        let Some(Value::Array(items)) = self.take(field) else {
            return Err(bad(field, "must be an array of user ids"));
        };
        if items.len() > max {
            let words = format!("{field}: has more than {max} users");
            return Err(Failure::new(ErrorCode::TooLarge, words));
        }
        let mut users = Vec::with_capacity(items.len());
        for item in items {
            let Value::Text(text) = item else {
                return Err(bad(field, "must be an array of user ids"));
            };
            users.push(id(field, UserId::new(text.into_owned()))?);
        }
        users.sort_unstable();
        users.dedup();
        Ok(users)
    }

    /// Texts, at most `max`.
    pub(crate) fn texts(&mut self, field: &str, max: usize) -> Result<Vec<String>, Failure> {
        let wrong = || bad(field, "must be an array of texts");
        let Some(Value::Array(items)) = self.take(field) else {
            return Err(wrong());
        };
        if items.len() > max {
            let words = format!("{field}: has more than {max} texts");
            return Err(Failure::new(ErrorCode::TooLarge, words));
        }
        let text = |item| match item {
            Value::Text(text) => Ok(text.into_owned()),
            _ => Err(wrong()),
        };
        items.into_iter().map(text).collect()
    }

    pub(crate) fn opt_count(&mut self, field: &str) -> Result<Option<u64>, Failure> {
        match self.take(field) {
            None => Ok(None),
            Some(Value::Int(int)) if int >= 0 => Ok(Some(int.unsigned_abs())),
            // A query string has only texts.
            Some(Value::Text(text)) if !text.is_empty() && text.len() <= 15 => text
                .parse()
                .map(Some)
                .map_err(|_| bad(field, "must be an integer from 0")),
            Some(_) => Err(bad(field, "must be an integer from 0")),
        }
    }

    /// Any value.
    pub(crate) fn opt_value(&mut self, field: &str) -> Option<Value> {
        self.take(field)
    }

    /// Places of a log, in order, none twice, at least one and at most `max`.
    pub(crate) fn places(&mut self, field: &str, max: usize) -> Result<Vec<Seq>, Failure> {
        let wrong = || bad(field, "must be an array of integers from 1");
        let Some(Value::Array(items)) = self.take(field) else {
            return Err(wrong());
        };
        if items.is_empty() {
            return Err(wrong());
        }
        if items.len() > max {
            let words = format!("{field}: has more than {max} places");
            return Err(Failure::new(ErrorCode::TooLarge, words));
        }
        let place = |item: &Value| match item {
            Value::Int(int @ 1..) => Ok(Seq(int.unsigned_abs())),
            _ => Err(wrong()),
        };
        let mut places = items.iter().map(place).collect::<Result<Vec<_>, _>>()?;
        places.sort_unstable();
        places.dedup();
        Ok(places)
    }

    pub(crate) fn flag(&mut self, field: &str) -> Result<bool, Failure> {
        Ok(self.opt_flag(field)?.unwrap_or(false))
    }

    pub(crate) fn opt_flag(&mut self, field: &str) -> Result<Option<bool>, Failure> {
        match self.take(field) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(flag)),
            Some(_) => Err(bad(field, "must be true or false")),
        }
    }

    pub(crate) fn into_value(self) -> Value {
        self.0
    }
}

/// A text that people see, if it is given: without control and direction characters that could
/// make it pass for another, and not empty.
pub(crate) fn checked_text(
    params: &mut Params,
    field: &str,
    chars_max: usize,
) -> Result<Option<String>, Failure> {
    let Some(text) = params.opt_text(field)? else {
        return Ok(None);
    };
    if text.chars().count() > chars_max {
        let words = format!("{field}: has more than {chars_max} characters");
        return Err(Failure::new(ErrorCode::TooLarge, words));
    }
    if text.is_empty() || text.chars().any(is_hidden) {
        return Err(bad(
            field,
            "is empty, or has control or direction characters",
        ));
    }
    Ok(Some(text))
}

/// Controls, and those that turn the direction of text (UAX #9) or join it out of sight.
pub(crate) const fn is_hidden(c: char) -> bool {
    matches!(
        c,
        '\0'..='\u{1f}'
            | '\u{7f}'..='\u{9f}'
            | '\u{61c}'
            | '\u{200e}'
            | '\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}'
            | '\u{feff}'
    )
}

pub(crate) fn bad(field: &str, what: &str) -> Failure {
    Failure::new(ErrorCode::BadFrame, format!("{field}: {what}"))
}

fn id<T>(field: &str, made: Result<T, IdError>) -> Result<T, Failure> {
    made.map_err(|error| bad(field, &error.to_string()))
}
