//! Reporting a message, a user or a group to the staff.

use im_core::frame::{ErrorCode, Failure};
use im_core::model::{ConversationId, FactKey, FactTable, Family, Seq, UserId, Value, everyone};
use im_core::port::{Put, Was, Write};

use super::params::{Params, bad, checked_text};
use super::table::Call;

/// Reports of one user that nobody has dealt with.
const OPEN_MAX: usize = 20;
/// Characters of a note.
const NOTE_CHARS_MAX: usize = 500;
/// Bytes of a message that is kept with a report, in case it is recalled.
const BODY_BYTES_MAX: usize = 16 * 1_024;
/// Why something is reported.
const REASONS: [&str; 8] = [
    "abuse",
    "fraud",
    "illegal",
    "minors",
    "other",
    "self_harm",
    "spam",
    "violence",
];

/// What is reported.
struct About {
    /// What it is known by: one user reports it once.
    key: String,
    fields: Vec<(&'static str, Value)>,
}

/// `reports.add`: a message (`conv`, `seq`), a user, or a conversation (`conv`), for a reason. The
/// same again changes nothing.
pub(super) async fn add(call: Call<'_>, mut params: Params) -> Result<Value, Failure> {
    let reason = params.text("reason")?;
    if REASONS.binary_search(&&*reason).is_err() {
        let words = format!("must be one of {}", REASONS.join(", "));
        return Err(bad("reason", &words));
    }
    let note = checked_text(&mut params, "note", NOTE_CHARS_MAX)?;
    let me = &call.caller.user;
    let conv = params
        .opt_text("conv")?
        .map(ConversationId::new)
        .transpose();
    let conv = conv.map_err(|error| bad("conv", &error.to_string()))?;
    let seq = params.opt_count("seq")?.map(Seq);
    let user = params.opt_user("user")?;
    let about = match (conv, seq, user) {
        (Some(conv), Some(seq), None) => call.message(&conv, seq).await?,
        (Some(conv), None, None) => {
            call.seen(&conv).await?;
            let key = format!("c\n{}", conv.as_str());
            let fields = vec![("conv", conv.as_str().to_owned().into())];
            About { key, fields }
        }
        (None, None, Some(user)) => call.somebody(&user).await?,
        _ => return Err(bad("conv", "say conv, conv and seq, or user")),
    };
    let reported = FactKey::new(FactTable::Reported, me.as_str(), about.key.as_str());
    if call.inner.fact(&reported).await?.is_some() {
        return Ok(Value::Object(Vec::new()));
    }
    call.has_room(&reported, OPEN_MAX, "too many of your reports wait")
        .await?;
    let at = call.inner.clock.timestamp();
    let id = format!("{:016x}{:016x}", at.0, call.inner.ids.next().0);
    let mut fields = about.fields;
    fields.push(("key", about.key.into()));
    fields.push(("by", me.as_str().to_owned().into()));
    fields.push(("at", at.0.into()));
    fields.push(("reason", reason.into()));
    fields.extend(note.map(|note| ("note", note.into())));
    let put = |key, value: String, was| {
        let to = Some((value, None));
        Write::Put(Put { key, to, was })
    };
    let report = FactKey::new(FactTable::Report, "open", id.as_str());
    let writes = vec![
        put(report, Value::object(fields).to_json(), Was::Any),
        // Of two calls side by side one is the report.
        put(reported, Value::from(id).to_json(), Was::Absent),
    ];
    call.commit(everyone(), writes, Value::Object(Vec::new()))
        .await
}

impl Call<'_> {
    /// A message that the caller sees; what it says is kept with the report.
    async fn message(&self, conv: &ConversationId, seq: Seq) -> Result<About, Failure> {
        let no_entry = || Failure::new(ErrorCode::NotFound, "no such entry");
        let (first, last) = self.seen(conv).await?;
        if !(first..=last).contains(&seq) {
            return Err(no_entry());
        }
        let entry = self.inner.entry(conv, seq).await?;
        let entry = entry.filter(|entry| entry.body.kind().family() == Family::Say);
        let entry = entry.ok_or_else(no_entry)?;
        let mut fields = vec![
            ("conv", Value::from(conv.as_str().to_owned())),
            ("seq", seq.0.into()),
            ("from", entry.from.as_str().to_owned().into()),
        ];
        if entry.body.json().len() <= BODY_BYTES_MAX {
            // As a text: in a value of ours it could nest deeper than values may.
            fields.push(("body", entry.body.json().to_string().into()));
        }
        let key = format!("m\n{}\n{:016x}", conv.as_str(), seq.0);
        Ok(About { key, fields })
    }

    async fn somebody(&self, user: &UserId) -> Result<About, Failure> {
        if *user == self.caller.user {
            return Err(Failure::new(
                ErrorCode::Conflict,
                "nobody reports themselves",
            ));
        }
        self.inner.all_known(std::slice::from_ref(user)).await?;
        let key = format!("u\n{}", user.as_str());
        let fields = vec![("user", user.as_str().to_owned().into())];
        Ok(About { key, fields })
    }
}
