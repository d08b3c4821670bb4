//! Reading the audit log. Nothing else does anything to it but adding an entry.

use im_core::frame::{Failure, Limits};
use im_core::model::{Entry, Seq, Timestamp, UserId, Value, everyone};
use im_core::port::LogQuery;
use im_core::rule::Power;

use super::limit;
use crate::appender::port_failure;
use crate::node::Inner;
use crate::service::params::Params;
use crate::service::table::Call;

/// Entries looked through in one call.
const SCAN_MAX: usize = 1_000;
/// Entries read at once.
const SCAN_PAGE: usize = 200;

/// What of a log is looked for: the latest first.
#[derive(Debug)]
pub(super) struct Search {
    /// Below this place; `None` begins at the end.
    pub(super) before: Option<Seq>,
    pub(super) from: Option<UserId>,
    pub(super) since: Option<Timestamp>,
    pub(super) until: Option<Timestamp>,
    pub(super) limit: usize,
}

impl Search {
    pub(super) fn of(params: &mut Params, from: &str) -> Result<Self, Failure> {
        let time = |at: u64| Timestamp(i64::try_from(at).unwrap_or(i64::MAX));
        Ok(Self {
            before: params.opt_count("before")?.map(Seq),
            from: params.opt_user(from)?,
            since: params.opt_count("since")?.map(time),
            until: params.opt_count("until")?.map(time),
            limit: limit(params, Limits::PAGE_ENTRIES, Limits::PAGE_ENTRIES_MAX)?,
        })
    }

    fn is_meant(&self, entry: &Entry) -> bool {
        self.from.as_ref().is_none_or(|from| entry.from == *from)
            && self.until.is_none_or(|until| entry.at <= until)
    }
}

/// What was found, and below which place to go on; `None` when there is no more.
pub(super) type Found = (Vec<Entry>, Option<Seq>);

impl Inner {
    /// Looks through a log from its end on, a bounded part of it, for what is meant and asked.
    pub(super) async fn search(
        &self,
        conv: &im_core::model::ConversationId,
        head: Seq,
        search: &Search,
        is_asked: impl Fn(&Entry) -> bool + Send,
    ) -> Result<Found, Failure> {
        let mut found = Vec::new();
        let end = head.next();
        let mut at = search.before.map_or(end, |before| before.min(end));
        let (mut looked, mut bytes) = (0, 0);
        while looked < SCAN_MAX {
            let query = LogQuery::Before {
                seq: at,
                limit: SCAN_PAGE,
                bytes: self.settings.limits.page_bytes,
            };
            let page = self.store.log(conv, query).await;
            let page = page.map_err(|error| port_failure(&error))?;
            if page.is_empty() {
                return Ok((found, None));
            }
            looked += page.len();
            for entry in page.into_iter().rev() {
                // Times are those of nodes, which may differ a little: what is near still counts.
                if search.since.is_some_and(|since| entry.at < since) {
                    return Ok((found, None));
                }
                at = entry.seq;
                if search.is_meant(&entry) && is_asked(&entry) {
                    bytes += entry.body.json().len();
                    found.push(entry);
                    if found.len() >= search.limit || bytes >= self.settings.limits.page_bytes {
                        return Ok((found, Some(at)));
                    }
                }
            }
        }
        Ok((found, Some(at)))
    }
}

/// `audit.list`: what the staff did, the latest first.
pub(in crate::service) async fn list(call: Call<'_>, mut params: Params) -> Result<Value, Failure> {
    call.staff(Power::Audit).await?;
    let search = Search::of(&mut params, "by")?;
    let op = params.opt_text("op")?;
    let Some(view) = call.inner.view(&everyone(), &[]).await? else {
        return Ok(Value::object([("acts", Value::from(Vec::new()))]));
    };
    let is_asked = |entry: &Entry| match &op {
        Some(op) => entry.body.value().get("op").and_then(Value::as_text) == Some(op),
        None => true,
    };
    let head = view.conversation.head;
    let (found, next) = call
        .inner
        .search(&everyone(), head, &search, is_asked)
        .await?;
    let acts: Vec<Value> = found.iter().map(act).collect();
    let mut out = vec![("acts", Value::from(acts))];
    out.extend(next.map(|next| ("next", next.0.into())));
    Ok(Value::object(out))
}

fn act(entry: &Entry) -> Value {
    let mut fields = match entry.body.value() {
        Value::Object(fields) => fields,
        _ => Vec::new(),
    };
    fields.retain(|(field, _)| field != "kind");
    fields.push(("seq".into(), entry.seq.0.into()));
    fields.push(("by".into(), entry.from.as_str().into()));
    fields.push(("at".into(), entry.at.0.into()));
    Value::object(fields)
}
