//! Taking parameters out of a request, with an error that names them.

use im_core::frame::{ErrorCode, Failure, Limits};
use im_core::model::{ConversationId, IdError, MessageId, Role, Seq, UserId, Value};

/// Characters of a picture's id or address.
const PICTURE_CHARS_MAX: usize = 2_048;

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

    /// Whether an empty text was given, which is taken then.
    pub(crate) fn take_empty(&mut self, field: &str) -> bool {
        let is_empty = self.0.get(field).and_then(Value::as_text) == Some("");
        if is_empty {
            self.0.take(field);
        }
        is_empty
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

    /// How many lines a page is to have.
    pub(crate) fn page_limit(&mut self) -> Result<usize, Failure> {
        self.page_limit_of(Limits::PAGE_ENTRIES, Limits::PAGE_ENTRIES_MAX)
    }

    /// The same with other bounds.
    pub(crate) fn page_limit_of(&mut self, usual: usize, most: usize) -> Result<usize, Failure> {
        let limit = self.opt_count("limit")?;
        let limit = limit.map_or(usual, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
        Ok(limit.clamp(1, most))
    }

    /// A role that somebody may have.
    pub(crate) fn opt_role(&mut self, field: &str) -> Result<Option<Role>, Failure> {
        self.opt_text(field)?
            .map(|text| role(field, &text))
            .transpose()
    }

    /// A message's id.
    pub(crate) fn message(&mut self, field: &str) -> Result<MessageId, Failure> {
        let text = self.text(field)?;
        let id = text.parse().map(MessageId);
        id.map_err(|_| bad(field, "must be a message's id"))
    }

    /// Short texts that people see, in order, none twice, at most so many.
    pub(crate) fn opt_names(
        &mut self,
        field: &str,
        most: usize,
        chars_max: usize,
    ) -> Result<Option<Vec<String>>, Failure> {
        let items = match self.take(field) {
            None => return Ok(None),
            Some(Value::Array(items)) => items,
            Some(_) => return Err(bad(field, "must be an array of texts")),
        };
        if items.len() > most {
            let words = format!("{field}: has more than {most} texts");
            return Err(Failure::new(ErrorCode::TooLarge, words));
        }
        let mut names = Vec::with_capacity(items.len());
        for item in items {
            let Value::Text(text) = item else {
                return Err(bad(field, "must be an array of texts"));
            };
            names.push(checked(field, text.into_owned(), chars_max, is_hidden)?);
        }
        names.sort_unstable();
        names.dedup();
        Ok(Some(names))
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
    let text = params.opt_text(field)?;
    text.map(|text| checked(field, text, chars_max, is_hidden))
        .transpose()
}

/// [`checked_text`] of one or more lines.
pub(crate) fn checked_lines(
    params: &mut Params,
    field: &str,
    chars_max: usize,
) -> Result<Option<String>, Failure> {
    let text = params.opt_text(field)?;
    let is_odd = |c| c != '\n' && is_hidden(c);
    text.map(|text| checked(field, text, chars_max, is_odd))
        .transpose()
}

/// A picture that is given: an address, or an uploaded object's id. Clients show it, so it must be
/// no script.
pub(crate) fn checked_picture(params: &mut Params, field: &str) -> Result<Option<String>, Failure> {
    let text = checked_text(params, field, PICTURE_CHARS_MAX)?;
    let is_odd = |text: &String| {
        let is_address = text.starts_with("https://") || text.starts_with("http://");
        text.contains(':') && !is_address
    };
    if text.as_ref().is_some_and(is_odd) {
        let words = "must start with https:// or http://, or be an id";
        return Err(bad(field, words));
    }
    Ok(text)
}

/// A role by its name.
pub(crate) fn role(field: &str, text: &str) -> Result<Role, Failure> {
    Role::parse(text)
        .filter(|role| *role != Role::Nobody)
        .ok_or_else(|| bad(field, "must be owner, admin or member"))
}

fn checked(
    field: &str,
    text: String,
    chars_max: usize,
    is_odd: impl Fn(char) -> bool,
) -> Result<String, Failure> {
    if text.chars().count() > chars_max {
        let words = format!("{field}: has more than {chars_max} characters");
        return Err(Failure::new(ErrorCode::TooLarge, words));
    }
    if text.is_empty() || text.chars().any(is_odd) {
        return Err(bad(
            field,
            "is empty, or has control or direction characters",
        ));
    }
    Ok(text)
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
