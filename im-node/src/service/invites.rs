//! Links by which one comes in. A link is a secret and the conversation that it leads to.

use im_core::frame::{ErrorCode, Failure};
use im_core::model::{ConversationId, Fact, FactKey, FactTable, Timestamp, UserId, Value};
use im_core::port::{Put, Rejected, Was, Write};
use im_core::rule::Action;

use super::decide::{DECIDE_TRIES_MAX, Known, nothing};
use super::facts::put_on;
use super::params::{Params, bad, checked_text};
use super::table::Call;
use crate::appender::failure;

/// Links of one conversation that have not ended.
const INVITES_MAX: usize = 100;
/// How long a link is good when nothing is said: a week, in milliseconds.
const INVITE_MS: u64 = 7 * 24 * 3_600 * 1_000;
/// The longest: a year.
const INVITE_MS_MAX: u64 = 366 * 24 * 3_600 * 1_000;
/// The most uses of one link that has a bound.
const USES_MAX: u64 = 100_000;
/// Characters of the note of a link, seen by those who run the group.
const NOTE_CHARS_MAX: usize = 64;
/// Characters of a secret: twice the 122 bits that are random in a UUID.
const SECRET_CHARS: usize = 64;
/// Links in one answer.
const PAGE: usize = 50;

/// What is kept of a link.
struct Invite {
    by: UserId,
    at: Timestamp,
    uses: Option<u64>,
    used: u64,
    note: Option<String>,
}

impl Invite {
    fn read(fact: &Fact) -> Option<Self> {
        let value = Value::from_json(&fact.value).ok()?;
        let count = |field| {
            let count = value.get(field).and_then(Value::as_int)?;
            u64::try_from(count).ok()
        };
        let note = value.get("note").and_then(Value::as_text);
        Some(Self {
            by: value.get("by").and_then(Value::as_text)?.parse().ok()?,
            at: Timestamp(value.get("at").and_then(Value::as_int)?),
            uses: count("uses"),
            used: count("used")?,
            note: note.map(str::to_owned),
        })
    }

    fn fields(&self) -> Vec<(&'static str, Value)> {
        let mut fields = vec![
            ("by", Value::from(self.by.as_str())),
            ("at", self.at.0.into()),
            ("used", self.used.into()),
        ];
        fields.extend(self.uses.map(|uses| ("uses", uses.into())));
        fields.extend(self.note.as_deref().map(|note| ("note", note.into())));
        fields
    }

    fn to_json(&self) -> String {
        Value::object(self.fields()).to_json()
    }
}

fn key(conv: &ConversationId, secret: &str) -> FactKey {
    FactKey::new(FactTable::Invite, conv.as_str(), secret)
}

fn token(conv: &str, secret: &str) -> String {
    format!("{secret}.{conv}")
}

fn no_link() -> Failure {
    Failure::new(ErrorCode::NotFound, "no such link")
}

/// The conversation and the secret of a link. What is none is like one that is not there.
fn parse(token: &str) -> Result<(ConversationId, String), Failure> {
    let (secret, conv) = token.split_once('.').ok_or_else(no_link)?;
    let is_secret = secret.len() == SECRET_CHARS && secret.bytes().all(|b| b.is_ascii_hexdigit());
    match ConversationId::new(conv) {
        Ok(conv) if is_secret => Ok((conv, secret.to_owned())),
        _ => Err(no_link()),
    }
}

/// `invites.create`: a link, for so long and so often.
pub(super) async fn create(call: Call<'_>, mut params: Params) -> Result<Value, Failure> {
    let conv = params.conv()?;
    let ms = params.opt_count("ms")?.unwrap_or(INVITE_MS);
    if !(1..=INVITE_MS_MAX).contains(&ms) {
        return Err(bad("ms", "must be from 1 to a year"));
    }
    let uses = params.opt_count("uses")?;
    if uses.is_some_and(|uses| !(1..=USES_MAX).contains(&uses)) {
        return Err(bad("uses", "must be from 1 to 100000"));
    }
    let note = checked_text(&mut params, "note", NOTE_CHARS_MAX)?;
    let part = || uuid::Uuid::new_v4().simple().to_string();
    let secret = format!("{}{}", part(), part());
    let at = call.inner.clock.timestamp();
    let until = at.plus_ms(ms);
    let invite = Invite {
        by: call.caller.user.clone(),
        at,
        uses,
        used: 0,
        note,
    };
    for _ in 0..DECIDE_TRIES_MAX {
        let known = call.known(&conv, &[]).await?;
        call.may(Action::Add, &known)?;
        let key = key(&conv, &secret);
        call.has_room(&key, INVITES_MAX, "too many links").await?;
        let put = Write::Put(Put {
            key,
            to: Some((invite.to_json(), Some(until))),
            was: Was::Absent,
        });
        let value = Value::object([
            ("token", Value::from(token(conv.as_str(), &secret))),
            ("until", until.0.into()),
        ]);
        if let Some(value) = call.carry_facts(&known, vec![put], value).await? {
            return Ok(value);
        }
    }
    Err(failure(&Rejected::Conflict))
}

/// `invites.list`: the links of a conversation, also those that are used up.
pub(super) async fn list(call: Call<'_>, mut params: Params) -> Result<Value, Failure> {
    let conv = params.conv()?;
    let after = params.opt_text("after")?;
    let known = call.known(&conv, &[]).await?;
    call.may(Action::Admit, &known)?;
    let line = |fact: &Fact| {
        let mut fields = Invite::read(fact)?.fields();
        let (conv, secret) = (&fact.key.owner, &fact.key.key);
        fields.push(("token", token(conv, secret).into()));
        fields.extend(fact.at.map(|at| ("until", at.0.into())));
        Some(Value::object(fields))
    };
    let of = (FactTable::Invite, conv.as_str(), "invites");
    call.page_of(of, after, PAGE, line).await
}

/// `invites.revoke`: a link leads nowhere from now on.
pub(super) async fn revoke(call: Call<'_>, mut params: Params) -> Result<Value, Failure> {
    let (conv, secret) = parse(&params.text("token")?)?;
    for _ in 0..DECIDE_TRIES_MAX {
        let known = call.known(&conv, &[]).await?;
        call.may(Action::See, &known)?;
        let fact = call.inner.fact(&key(&conv, &secret)).await?;
        let own = fact.as_ref().and_then(Invite::read);
        if own.is_none_or(|invite| invite.by != call.caller.user) {
            call.may(Action::Admit, &known)?;
        }
        let Some(fact) = fact else {
            return Ok(nothing());
        };
        let writes = vec![put_on(&fact, None)];
        if let Some(value) = call.carry_facts(&known, writes, nothing()).await? {
            return Ok(value);
        }
    }
    Err(failure(&Rejected::Conflict))
}

/// `invites.get`: what one who has a link sees before they come in.
pub(super) async fn get(call: Call<'_>, mut params: Params) -> Result<Value, Failure> {
    let (conv, secret) = parse(&params.text("token")?)?;
    let (known, fact, _) = call.invited(&conv, &secret).await?;
    let there = &known.view.conversation;
    let mut out = vec![
        ("conv", Value::from(conv.as_str())),
        ("kind", there.kind.as_str().into()),
        ("members", u64::from(there.member_count).into()),
    ];
    out.extend(there.title.as_deref().map(|title| ("title", title.into())));
    out.extend(
        known
            .rules
            .about
            .as_deref()
            .map(|about| ("about", about.into())),
    );
    out.extend(
        known
            .rules
            .picture
            .as_deref()
            .map(|it| ("picture", it.into())),
    );
    out.extend(fact.at.map(|at| ("until", at.0.into())));
    Ok(Value::object(out))
}

/// `invites.join`: comes in by a link.
pub(super) async fn join(call: Call<'_>, mut params: Params) -> Result<Value, Failure> {
    let (conv, secret) = parse(&params.text("token")?)?;
    let value = Value::object([("conv", Value::from(conv.as_str()))]);
    for _ in 0..DECIDE_TRIES_MAX {
        let (known, fact, mut invite) = call.invited(&conv, &secret).await?;
        let Some(mut plan) = call.enter(&known, true).await? else {
            return Ok(value);
        };
        invite.used += 1;
        // Whoever else uses it at this moment finds it used.
        plan.writes
            .push(put_on(&fact, Some((invite.to_json(), fact.at))));
        if let Some(value) = call.carry(&known, plan, value.clone()).await? {
            return Ok(value);
        }
    }
    Err(failure(&Rejected::Conflict))
}

impl Call<'_> {
    /// A link that is good now: not over, not used up, and of one who still may bring others in.
    async fn invited(
        &self,
        conv: &ConversationId,
        secret: &str,
    ) -> Result<(Known, Fact, Invite), Failure> {
        let now = self.inner.clock.timestamp();
        let fact = self.inner.fact(&key(conv, secret)).await?;
        let fact = fact.filter(|fact| fact.at.is_none_or(|at| at > now));
        let fact = fact.ok_or_else(no_link)?;
        let invite = Invite::read(&fact).ok_or_else(no_link)?;
        let known = self.known(conv, std::slice::from_ref(&invite.by)).await?;
        // Who is in may use it again: they come in no second time.
        let is_in = known.me().is_some_and(im_core::model::Member::is_in);
        let by = known.find_in(&invite.by);
        let may = by.is_some_and(|by| by.role >= known.rules.rights.add);
        let left = invite.uses.is_none_or(|uses| invite.used < uses);
        if known.view.conversation.is_ended() || !may || !(left || is_in) {
            return Err(no_link());
        }
        Ok((known, fact, invite))
    }
}
