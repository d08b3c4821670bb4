//! What users reported, as the staff sees and resolves it.

use im_core::frame::{ErrorCode, Failure};
use im_core::model::{Body, Fact, FactKey, FactTable, UserId, Value};
use im_core::port::{Put, Was, Write};
use im_core::rule::Power;

use super::{Act, limit, why};
use crate::service::facts::{put_on, remove};
use crate::service::params::{Params, bad};
use crate::service::table::Call;

/// Reports given at once.
const LINES_MAX: usize = 100;
/// What may become of a report.
const OUTCOMES: [&str; 6] = [
    "banned",
    "dismissed",
    "muted",
    "other",
    "recalled",
    "warned",
];
/// How long one that is resolved is kept: half a year.
const KEEP_MS: u64 = 183 * 24 * 3_600 * 1_000;

/// `admin.reports.list`: those that are open, or done; the oldest first.
pub(in crate::service) async fn list(call: Call<'_>, mut params: Params) -> Result<Value, Failure> {
    call.staff(Power::Reports).await?;
    let state = match params.opt_text("state")?.as_deref() {
        None | Some("open") => "open",
        Some("done") => "done",
        Some(_) => return Err(bad("state", "must be open or done")),
    };
    let after = params.opt_text("after")?;
    let limit = limit(&mut params, 50, LINES_MAX)?;
    let line = |fact: &Fact| Some(call.report_line(fact));
    call.page_of((FactTable::Report, state, "reports"), after, limit, line)
        .await
}

/// `admin.reports.resolve`: says what became of one; who reported it is told that.
pub(in crate::service) async fn resolve(
    call: Call<'_>,
    mut params: Params,
) -> Result<Value, Failure> {
    call.staff(Power::Reports).await?;
    let id = params.text("id")?;
    let outcome = params.text("outcome")?;
    if OUTCOMES.binary_search(&&*outcome).is_err() {
        let words = "must be banned, dismissed, muted, other, recalled or warned";
        return Err(bad("outcome", words));
    }
    let why = why(&mut params)?;
    let key = FactKey::new(FactTable::Report, "open", id.as_str());
    let no_such = || Failure::new(ErrorCode::NotFound, "no such report that is open");
    let fact = match key.place() {
        Some(_) => call.inner.fact(&key).await?,
        None => None,
    };
    let fact = fact.ok_or_else(no_such)?;
    let report = Value::from_json(&fact.value).unwrap_or(Value::Null);
    let act = Act::new("reports.resolve")
        .with("report", id.clone())
        .with("outcome", outcome.clone())
        .with("why", why.clone());
    let writes = call.resolved(&fact, report.clone(), &outcome, &why);
    let value = Value::Object(Vec::new());
    let done = call.act(&act, writes, value).await;
    // Somebody else was faster.
    let value = done.map_err(|failure| match failure.code {
        ErrorCode::Conflict => no_such(),
        _ => failure,
    })?;
    let by = report.get("by").and_then(Value::as_text).map(str::to_owned);
    if let Some(Ok(by)) = by.map(UserId::new) {
        let event = Value::object([
            ("kind", Value::from("report")),
            ("id", id.into()),
            ("outcome", outcome.into()),
        ]);
        call.inner.tell(&[by], &event);
    }
    Ok(value)
}

impl Call<'_> {
    /// It is no longer open, its reporter may report the same again, and what was said is kept no
    /// longer.
    fn resolved(&self, fact: &Fact, mut report: Value, outcome: &str, why: &str) -> Vec<Write> {
        let now = self.inner.clock.timestamp();
        report.take("body");
        let by = report.get("by").and_then(Value::as_text).map(str::to_owned);
        let about = report.take("key");
        let mut fields = match report {
            Value::Object(fields) => fields,
            _ => Vec::new(),
        };
        fields.push(("outcome".into(), outcome.to_owned().into()));
        fields.push(("why".into(), why.to_owned().into()));
        fields.push((
            "resolved_by".into(),
            self.caller.user.as_str().to_owned().into(),
        ));
        fields.push(("resolved_at".into(), now.0.into()));
        let done = Put {
            key: FactKey::new(FactTable::Report, "done", fact.key.key.as_str()),
            to: Some((Value::object(fields).to_json(), Some(now.plus_ms(KEEP_MS)))),
            was: Was::Any,
        };
        let mut writes = vec![put_on(fact, None), Write::Put(done)];
        if let (Some(by), Some(about)) = (by, about.as_ref().and_then(Value::as_text)) {
            writes.push(remove(FactKey::new(FactTable::Reported, by, about)));
        }
        writes
    }

    /// A report as it is shown: what was said, and the reporter's note, are masked.
    fn report_line(&self, fact: &Fact) -> Value {
        let mut report = Value::from_json(&fact.value).unwrap_or(Value::Null);
        report.take("key");
        let body = report.take("body");
        let mut fields = match report {
            Value::Object(fields) => fields,
            _ => Vec::new(),
        };
        let note = fields.iter_mut().find(|(field, _)| field == "note");
        if let Some((_, Value::Text(note))) = note {
            *note = self.inner.moderation.mask(note).into();
        }
        fields.push(("id".into(), fact.key.key.clone().into()));
        let body = body.as_ref().and_then(Value::as_text);
        let body = body.and_then(|json| Value::from_json(json).ok());
        if let Some(body) = body.and_then(|value| Body::new(&value).ok()) {
            fields.push(("body".into(), self.inner.moderation.mask_body(&body)));
        }
        Value::object(fields)
    }
}
