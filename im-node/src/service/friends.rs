//! Friends: asking, answering, and the list of each.
//!
//! Everything that two users have about each other is written in one commit, placed with their
//! direct conversation, whether that exists or not.

use im_core::frame::{ErrorCode, Failure};
use im_core::model::{Fact, FactKey, FactTable, Timestamp, UserId, Value, direct_id};
use im_core::port::{Commit, Put, Rejected, Was, Write};
use im_core::rule::Barrier;

use super::facts::{put_on, remove};
use super::params::{Params, checked_text};
use super::table::Call;
use crate::appender::failure;

/// Characters of the note of a request.
const NOTE_CHARS_MAX: usize = 200;
/// Characters of a remark, and of the name of a list.
const NAME_CHARS_MAX: usize = 64;
/// Requests that may wait for one user, and that one user may have waiting.
const REQUESTS_MAX: usize = 500;
/// Friends of one user.
const FRIENDS_MAX: usize = 10_000;
/// How often a call decides anew because the other one did something meanwhile.
const DECIDE_TRIES_MAX: u32 = 8;

/// That `a` has `b` for a friend. It stands exactly when the other way stands.
pub(super) fn friend_key(a: &UserId, b: &UserId) -> FactKey {
    FactKey::new(FactTable::Friend, a.as_str(), b.as_str())
}

/// The two sides of a request.
fn request_keys(from: &UserId, to: &UserId) -> [FactKey; 2] {
    [
        FactKey::new(FactTable::FriendRequest, to.as_str(), from.as_str()),
        FactKey::new(FactTable::FriendAsked, from.as_str(), to.as_str()),
    ]
}

/// What a call about another user comes to: what it writes, what it answers, and what both are
/// told.
struct Plan {
    writes: Vec<Write>,
    state: &'static str,
    op: &'static str,
}

/// What a user wants of another one.
enum Wish {
    Ask(Option<String>),
    Accept,
    Set {
        remark: Option<String>,
        list: Option<String>,
    },
}

/// `friends.ask`: asks to be friends; who was asked by the other accepts with it.
pub(super) async fn ask(call: Call<'_>, mut params: Params) -> Result<Value, Failure> {
    let other = params.user("user")?;
    let note = checked_text(&mut params, "note", NOTE_CHARS_MAX)?;
    let note = note
        .map(|note| call.inner.clean("note", note))
        .transpose()?;
    let me = &call.caller.user;
    if other == *me {
        return Err(Failure::new(ErrorCode::Conflict, "nobody asks themselves"));
    }
    call.inner.all_known(std::slice::from_ref(&other)).await?;
    if call.inner.blocks_between(me, &other).await? {
        Barrier::Blocked.check()?;
    }
    call.decide(&other, &Wish::Ask(note)).await
}

/// `friends.accept`: whoever asked and this user are friends from now on.
pub(super) async fn accept(call: Call<'_>, mut params: Params) -> Result<Value, Failure> {
    let other = params.user("user")?;
    if call.inner.blocks_between(&call.caller.user, &other).await? {
        Barrier::Blocked.check()?;
    }
    call.decide(&other, &Wish::Accept).await
}

/// `friends.refuse`: a request is answered with no; who asked is not told.
pub(super) async fn refuse(call: Call<'_>, mut params: Params) -> Result<Value, Failure> {
    let other = params.user("user")?;
    let me = &call.caller.user;
    let writes: Vec<Write> = request_keys(&other, me).into_iter().map(remove).collect();
    let place = direct_id(me, &other);
    let value = call
        .commit(place, writes, Value::Object(Vec::new()))
        .await?;
    call.tell_of(me, &other, "refuse");
    Ok(value)
}

/// `friends.remove`: the two are friends no more, and what one asked of the other is nothing.
pub(super) async fn unfriend(call: Call<'_>, mut params: Params) -> Result<Value, Failure> {
    let other = params.user("user")?;
    let me = &call.caller.user;
    let were = call.inner.fact(&friend_key(me, &other)).await?.is_some();
    let gone = [friend_key(me, &other), friend_key(&other, me)];
    let asked = request_keys(me, &other).into_iter();
    let asked = asked.chain(request_keys(&other, me));
    let writes = gone.into_iter().chain(asked).map(remove).collect();
    let place = direct_id(me, &other);
    let value = Value::Object(Vec::new());
    let value = call.commit(place.clone(), writes, value).await?;
    call.inner.forget_barrier(place);
    if were {
        call.inner.watch_anew(me);
        call.tell_of(me, &other, "remove");
        call.tell_of(&other, me, "remove");
    }
    Ok(value)
}

/// `friends.set`: what the caller calls a friend, and in which list they have them.
pub(super) async fn set(call: Call<'_>, mut params: Params) -> Result<Value, Failure> {
    let other = params.user("user")?;
    let remark = checked_text(&mut params, "remark", NAME_CHARS_MAX)?;
    let list = checked_text(&mut params, "list", NAME_CHARS_MAX)?;
    call.decide(&other, &Wish::Set { remark, list }).await
}

/// `friends.list`: the caller's friends, in the order of their ids.
pub(super) async fn list(call: Call<'_>, params: Params) -> Result<Value, Failure> {
    call.others(FactTable::Friend, "friends", params).await
}

/// `friends.requests`: who asks the caller, and has no answer yet.
pub(super) async fn requests(call: Call<'_>, params: Params) -> Result<Value, Failure> {
    call.others(FactTable::FriendRequest, "requests", params)
        .await
}

/// `friends.asked`: whom the caller has asked, and has no answer from yet.
pub(super) async fn asked(call: Call<'_>, params: Params) -> Result<Value, Failure> {
    call.others(FactTable::FriendAsked, "asked", params).await
}

/// A change that writes nothing, on the condition that the fact is not there.
fn absent(key: FactKey) -> Write {
    Write::Put(Put {
        key,
        to: None,
        was: Was::Absent,
    })
}

fn set_plan(known: &Fact, remark: Option<&str>, list: Option<&str>) -> Plan {
    let since = Value::from_json(&known.value).ok();
    let since = since.and_then(|value| value.get("since").cloned());
    let mut fields = vec![("since", since.unwrap_or(Value::Null))];
    fields.extend(remark.map(|it| ("remark", it.into())));
    fields.extend(list.map(|it| ("list", it.into())));
    let to = Some((Value::object(fields).to_json(), None));
    Plan {
        writes: vec![put_on(known, to)],
        state: "friends",
        op: "set",
    }
}

fn is_over(fact: &Fact, now: Timestamp) -> bool {
    fact.at.is_some_and(|at| at <= now)
}

impl Call<'_> {
    /// What a wish comes to now; `None` when it is so already.
    async fn plan(&self, other: &UserId, wish: &Wish) -> Result<Option<Plan>, Failure> {
        let me = &self.caller.user;
        let known = self.inner.fact(&friend_key(me, other)).await?;
        match (wish, known) {
            (Wish::Set { remark, list }, Some(known)) => {
                Ok(Some(set_plan(&known, remark.as_deref(), list.as_deref())))
            }
            (Wish::Set { .. }, None) => Err(Failure::new(ErrorCode::NotFound, "no such friend")),
            (Wish::Ask(_) | Wish::Accept, Some(_)) => Ok(None),
            (wish, None) => {
                let [theirs, _] = request_keys(other, me);
                match (self.standing(&theirs).await?, wish) {
                    (Some(asked), _) => self.befriend(other, &asked).await.map(Some),
                    (None, Wish::Ask(note)) => {
                        self.ask_plan(other, note.as_deref()).await.map(Some)
                    }
                    _ => Err(Failure::new(ErrorCode::NotFound, "no such request")),
                }
            }
        }
    }

    async fn ask_plan(&self, other: &UserId, note: Option<&str>) -> Result<Plan, Failure> {
        let me = &self.caller.user;
        for key in request_keys(me, other) {
            self.has_room(&key, REQUESTS_MAX, "too many requests")
                .await?;
        }
        let now = self.inner.clock.timestamp();
        let ms = self.inner.settings.friend_request.as_millis();
        let until = now.plus_ms(u64::try_from(ms).unwrap_or(u64::MAX));
        let mut value = vec![("at", Value::from(now.0))];
        value.extend(note.map(|note| ("note", note.into())));
        let value = Value::object(value).to_json();
        let put = |key| {
            let to = Some((value.clone(), Some(until)));
            let was = Was::Any;
            Write::Put(Put { key, to, was })
        };
        let mut writes: Vec<Write> = request_keys(me, other).into_iter().map(put).collect();
        // Not when they became friends, or were asked from the other side, meanwhile: of the other
        // side's request, one that is over may lie there.
        writes.push(absent(friend_key(me, other)));
        let [theirs, _] = request_keys(other, me);
        let over = self.inner.fact(&theirs).await?;
        writes.push(Write::Put(Put {
            key: theirs,
            to: None,
            was: over.map_or(Was::Absent, |fact| Was::Value(fact.value)),
        }));
        let (state, op) = ("asked", "ask");
        Ok(Plan { writes, state, op })
    }

    /// Decides, commits, and decides anew when something was otherwise.
    async fn decide(&self, other: &UserId, wish: &Wish) -> Result<Value, Failure> {
        let me = &self.caller.user;
        let place = direct_id(me, other);
        for _ in 0..DECIDE_TRIES_MAX {
            let Some(Plan { writes, state, op }) = self.plan(other, wish).await? else {
                return Ok(Value::object([("state", Value::from("friends"))]));
            };
            let value = Value::object([("state", Value::from(state))]);
            let mut commit = Commit {
                conv: place.clone(),
                expect_version: None,
                actor: None,
                writes,
            };
            commit.writes.extend(self.record(&value));
            match self.inner.appender.commit(commit).await {
                // The other may have asked at the same moment, and neither commit seen the other.
                Ok(_) if op == "ask" && self.was_asked_by(other).await? => {}
                Ok(_) => {
                    self.inner.forget_barrier(place);
                    self.tell_of(me, other, op);
                    if op != "set" {
                        self.tell_of(other, me, op);
                    }
                    return Ok(value);
                }
                Err(Rejected::Conflict) => {}
                Err(rejected) => return self.done_or(rejected),
            }
        }
        Err(failure(&Rejected::Conflict))
    }

    /// A request that stands and is not over.
    async fn standing(&self, key: &FactKey) -> Result<Option<Fact>, Failure> {
        let now = self.inner.clock.timestamp();
        let found = self.inner.fact(key).await?;
        Ok(found.filter(|fact| !is_over(fact, now)))
    }

    async fn was_asked_by(&self, other: &UserId) -> Result<bool, Failure> {
        let [theirs, _] = request_keys(other, &self.caller.user);
        Ok(self.standing(&theirs).await?.is_some())
    }

    /// Both are friends, and what either asked is answered.
    async fn befriend(&self, other: &UserId, asked: &Fact) -> Result<Plan, Failure> {
        let me = &self.caller.user;
        let keys = [friend_key(me, other), friend_key(other, me)];
        for key in &keys {
            self.has_room(key, FRIENDS_MAX, "too many friends").await?;
        }
        let now = self.inner.clock.timestamp();
        let value = Value::object([("since", Value::from(now.0))]).to_json();
        let friend = |key| {
            let to = Some((value.clone(), None));
            let was = Was::Absent;
            Write::Put(Put { key, to, was })
        };
        let mut writes: Vec<Write> = keys.into_iter().map(friend).collect();
        writes.push(put_on(asked, None));
        let [_, theirs] = request_keys(other, me);
        let mine = request_keys(me, other).into_iter();
        writes.extend(mine.chain([theirs]).map(remove));
        let (state, op) = ("friends", "accept");
        Ok(Plan { writes, state, op })
    }

    /// Tells a user's devices that something about another one is new in their lists.
    fn tell_of(&self, user: &UserId, other: &UserId, op: &str) {
        let event = Value::object([
            ("kind", Value::from("friend")),
            ("op", op.into()),
            ("user", other.as_str().into()),
        ]);
        self.inner.tell(std::slice::from_ref(user), &event);
    }

    /// A page of the facts that the caller has about others.
    async fn others(
        &self,
        table: FactTable,
        name: &'static str,
        mut params: Params,
    ) -> Result<Value, Failure> {
        let after = params.opt_user("after")?;
        let limit = params.page_limit()?;
        let after = after.map(|user| user.as_str().to_owned());
        let now = self.inner.clock.timestamp();
        let line = |fact: &Fact| (!is_over(fact, now)).then(|| line(fact));
        self.page((table, name), after, limit, line).await
    }
}

fn line(fact: &Fact) -> Value {
    let mut fields = vec![("user".into(), Value::from(fact.key.key.as_str()))];
    if let Ok(Value::Object(known)) = Value::from_json(&fact.value) {
        fields.extend(known);
    }
    fields.extend(fact.at.map(|at| ("until".into(), at.0.into())));
    Value::object(fields)
}
