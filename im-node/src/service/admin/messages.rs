//! Logs, as the staff reads them: with what is personal masked, whatever the role; unmasked only
//! with a reason, which the audit log keeps.

use im_core::frame::{ErrorCode, Failure, Limits, entry_value};
use im_core::model::{ConversationId, Entry, Family, Seq, Value};
use im_core::port::{LogQuery, Rejected, Write};
use im_core::rule::Power;

use super::audit::Search;
use super::{Act, why};
use crate::appender::{failure, port_failure};
use crate::node::Inner;
use crate::service::params::{Params, bad};
use crate::service::table::Call;

/// Messages unmasked in one call.
const UNMASK_MAX: usize = 20;
/// Characters of a text that is looked for.
const TEXT_CHARS_MAX: usize = 100;
/// How often a recall is decided anew because the message was edited meanwhile.
const RECALL_TRIES_MAX: u32 = 5;

/// `admin.messages.list`: entries of a conversation, the latest first, masked.
pub(in crate::service) async fn list(call: Call<'_>, mut params: Params) -> Result<Value, Failure> {
    call.staff(Power::SeeMessages).await?;
    let conv = params.conv()?;
    let search = Search::of(&mut params, "user")?;
    let text = params.opt_text("text")?.map(|text| text.to_lowercase());
    if text
        .as_ref()
        .is_some_and(|text| text.chars().count() > TEXT_CHARS_MAX)
    {
        let words = "text: has more than 100 characters";
        return Err(Failure::new(ErrorCode::TooLarge, words));
    }
    let view = call.staff_view(&conv).await?;
    // What is looked for is what is shown: or the masked could be found out digit by digit.
    let is_asked = |entry: &Entry| match &text {
        Some(text) => {
            let shown = call.inner.moderation.mask_body(&entry.body).to_json();
            entry.body.kind().family() != Family::Server && shown.to_lowercase().contains(text)
        }
        None => true,
    };
    let head = view.conversation.head;
    let (found, next) = call.inner.search(&conv, head, &search, is_asked).await?;
    let shown: Vec<Value> = found.iter().map(|entry| call.inner.masked(entry)).collect();
    let mut out = vec![("entries", Value::from(shown))];
    out.extend(next.map(|next| ("next", next.0.into())));
    Ok(Value::object(out))
}

/// `admin.messages.unmask`: some of them as they are.
pub(in crate::service) async fn unmask(
    call: Call<'_>,
    mut params: Params,
) -> Result<Value, Failure> {
    call.staff(Power::Unmask).await?;
    let conv = params.conv()?;
    let places = params.places("seqs", UNMASK_MAX)?;
    let named: Vec<Value> = places.iter().map(|seq| seq.0.into()).collect();
    let act = Act::new("messages.unmask").conv(&conv).with("seqs", named);
    let act = act.with("why", why(&mut params)?);
    call.staff_view(&conv).await?;
    let read = async {
        let mut entries = Vec::new();
        for seq in &places {
            let entry = call.inner.entry(&conv, *seq).await?;
            entries.extend(entry.as_ref().map(entry_value));
        }
        Ok(Value::object([("entries", Value::from(entries))]))
    };
    call.acting(act, read).await
}

/// `admin.messages.export`: a page of a log as lines of JSON, masked.
pub(in crate::service) async fn export(
    call: Call<'_>,
    mut params: Params,
) -> Result<Value, Failure> {
    call.staff(Power::Export).await?;
    let conv = params.conv()?;
    let after = params.opt_count("after")?.unwrap_or(0);
    let act = Act::new("messages.export").conv(&conv).with("after", after);
    let act = act.with("why", why(&mut params)?);
    let head = call.staff_view(&conv).await?.conversation.head;
    let read = async {
        let query = LogQuery::After {
            seq: Seq(after),
            limit: Limits::PAGE_ENTRIES_MAX,
            bytes: call.inner.settings.limits.page_bytes,
        };
        let page = call.inner.store.log(&conv, query).await;
        let page = page.map_err(|error| port_failure(&error))?;
        let mut lines = String::new();
        for entry in &page {
            call.inner.masked(entry).write_json(&mut lines);
            lines.push('\n');
        }
        let last = page.last().map(|entry| entry.seq);
        let mut out = vec![("ndjson", Value::from(lines))];
        out.extend(
            last.filter(|seq| *seq < head)
                .map(|seq| ("next", seq.0.into())),
        );
        Ok(Value::object(out))
    };
    call.acting(act, read).await
}

/// `admin.messages.recall`: takes a message back, whoever wrote it; it is erased as if they had.
pub(in crate::service) async fn recall(
    call: Call<'_>,
    mut params: Params,
) -> Result<Value, Failure> {
    call.staff(Power::Recall).await?;
    let conv = params.conv()?;
    let seq = params.opt_count("seq")?.filter(|seq| *seq > 0).map(Seq);
    let seq = seq.ok_or_else(|| bad("seq", "must be an integer from 1"))?;
    let why = why(&mut params)?;
    call.staff_view(&conv).await?;
    let act = Act::new("messages.recall").conv(&conv).with("seq", seq.0);
    let act = act.with("why", why.as_str().to_owned());
    call.acting(act, call.recall(&conv, seq, &why, Vec::new()))
        .await
}

impl Call<'_> {
    /// Takes a message back, with what else is to be written where it stands; its author is told.
    pub(super) async fn recall(
        &self,
        conv: &ConversationId,
        seq: Seq,
        why: &str,
        beside: Vec<Write>,
    ) -> Result<Value, Failure> {
        let entry = self.inner.entry(conv, seq).await?;
        let entry = entry.filter(|entry| entry.body.kind().family() == Family::Say);
        let no_entry = || Failure::new(ErrorCode::NotFound, "no such entry");
        let author = entry.ok_or_else(no_entry)?.from.clone();
        let value = Value::Object(Vec::new());
        for _ in 0..RECALL_TRIES_MAX {
            let mut writes = self.inner.recall_of(&self.caller.user, conv, seq).await?;
            writes.extend(beside.iter().cloned());
            writes.extend(self.record(&value));
            let commit = im_core::port::Commit {
                conv: conv.clone(),
                expect_version: None,
                actor: None,
                writes,
            };
            match self.inner.appender.commit(commit).await {
                Ok(_) => {
                    let event = Value::object([
                        ("kind", Value::from("recalled")),
                        ("conv", conv.as_str().to_owned().into()),
                        ("seq", seq.0.into()),
                        ("why", why.to_owned().into()),
                    ]);
                    self.inner.tell(&[author], &event);
                    return Ok(value);
                }
                Err(Rejected::Conflict) => {}
                Err(rejected) => return self.done_or(rejected),
            }
        }
        Err(failure(&Rejected::Conflict))
    }
}

impl Inner {
    /// An entry as the staff sees it.
    pub(super) fn masked(&self, entry: &Entry) -> Value {
        let mut value = entry_value(entry);
        value.take("body");
        match value {
            Value::Object(mut fields) => {
                fields.push(("body".into(), self.moderation.mask_body(&entry.body)));
                Value::object(fields)
            }
            other => other,
        }
    }
}
