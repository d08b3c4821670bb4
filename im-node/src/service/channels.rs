//! Channels: making them, and finding those that are public.
//!
//! The directory is everybody's and so in another place than the channels: what is to change in it
//! is written down beside the channel, in the commit that changes the channel, and done after that,
//! by this node or by whichever finds it due. What is found is looked up before it is shown, so a
//! directory that lags shows nothing wrong; it only misses what is new.

use std::collections::BTreeSet;
use std::sync::Arc;

use im_core::frame::Failure;
use im_core::model::{ConversationId, ConversationKind, Fact, FactKey, FactTable, Value, place_of};
use im_core::port::{Commit, FactQuery, Put, Was, Write};

use super::decide::Known;
use super::facts::{put_on, remove, set};
use super::groups::{Start, begin, title};
use super::params::{Params, bad, checked_text};
use super::rules::{Door, Rules};
use super::table::Call;
use crate::appender::failure;
use crate::node::Inner;

/// Characters of a title by which it is found; also of what is looked for.
const FOUND_CHARS_MAX: usize = 64;
/// Words of a title by which it is found.
const WORDS_MAX: usize = 32;
/// Channels in one answer.
const PAGE_MAX: usize = 50;
const PAGE: usize = 20;
/// Lines of the directory looked at for one answer; then it goes on from there.
const LINES_MAX: usize = 200;
/// The two parts of the directory: all titles in order, and the words of each.
const TITLES: &str = "titles";
const WORDS: &str = "words";

/// `channels.create`: a conversation in which few write and many read.
pub(super) async fn create(call: Call<'_>, mut params: Params) -> Result<Value, Failure> {
    let title = title(call.inner, params.text("title")?)?;
    let open = params.flag("open")?;
    let listed = params.flag("listed")?;
    if listed && !open {
        return Err(bad(
            "listed",
            "what is listed is open, or by approval: see groups.set",
        ));
    }
    let conv = call.new_group().await?;
    let start = Start {
        kind: ConversationKind::Channel,
        title,
        hide_history: false,
        users: Vec::new(),
    };
    let mut rules = Rules::new();
    rules.door = if open { Door::Open } else { Door::Invite };
    rules.listed = listed;
    let mut writes = begin(&call, &conv, start, rules);
    if listed {
        writes.push(call.due_at(&conv, 0));
    }
    let value = Value::object([("conv", Value::from(conv.as_str()))]);
    let value = call.commit(conv.clone(), writes, value).await?;
    if listed {
        call.inner.list_soon(&conv);
    }
    Ok(value)
}

/// `channels.find`: public channels by a word of their title, or all.
pub(super) async fn find(call: Call<'_>, mut params: Params) -> Result<Value, Failure> {
    let wanted = checked_text(&mut params, "q", FOUND_CHARS_MAX)?;
    let wanted = wanted.map(|text| folded(&text)).unwrap_or_default();
    let after = params.opt_text("after")?;
    let limit = params.page_limit_of(PAGE, PAGE_MAX)?;
    let part = if wanted.is_empty() { TITLES } else { WORDS };
    let query = FactQuery::Of {
        table: FactTable::Listed,
        owner: part.to_owned(),
        // A place before the words asked for would show others.
        after: after
            .filter(|after| *after >= wanted)
            .or_else(|| Some(wanted.clone())),
        below: Some(format!("{wanted}\u{10ffff}")).filter(|_| !wanted.is_empty()),
        limit: LINES_MAX,
    };
    let lines = call.inner.facts(&query).await?;
    let (mut seen, mut found, mut next) = (BTreeSet::new(), Vec::new(), None);
    for line in &lines {
        if found.len() == limit {
            break;
        }
        next = Some(line.key.key.clone());
        let Some((words, conv)) = line.key.key.rsplit_once('\n') else {
            continue;
        };
        if seen.insert(conv) {
            found.extend(call.found(part, words, conv).await?);
        }
    }
    let is_whole =
        lines.len() < LINES_MAX && next.as_deref() == lines.last().map(|it| &*it.key.key);
    let more = !is_whole && next.is_some();
    let mut out = vec![("channels", Value::from(found)), ("more", more.into())];
    out.extend(next.filter(|_| more).map(|next| ("next", next.into())));
    Ok(Value::object(out))
}

impl Call<'_> {
    /// A channel as who looks for one sees it, if it is public and has these words now.
    async fn found(&self, part: &str, words: &str, conv: &str) -> Result<Option<Value>, Failure> {
        let Ok(conv) = ConversationId::new(conv) else {
            return Ok(None);
        };
        let Some(view) = self.inner.view(&conv, &[]).await? else {
            return Ok(None);
        };
        let rules = self.inner.rules(&conv).await?;
        let title = view.conversation.title.clone().unwrap_or_default();
        let is_so = lines_of(&conv, &title).iter().any(|key| {
            key.owner == part && key.key.rsplit_once('\n').map(|it| it.0) == Some(words)
        });
        if !is_so || !rules.listed || view.conversation.is_ended() {
            return Ok(None);
        }
        let mut out = vec![
            ("conv", Value::from(conv.as_str())),
            ("title", title.into()),
            ("members", u64::from(view.conversation.member_count).into()),
            ("join", rules.door.as_str().into()),
        ];
        out.extend(rules.about.map(|about| ("about", about.into())));
        out.extend(rules.picture.map(|picture| ("picture", picture.into())));
        Ok(Some(Value::object(out)))
    }

    /// Notes, in a commit that changes a channel, that the directory must hear of it.
    pub(super) fn relist(&self, known: &Known) -> Write {
        let there = &known.view.conversation;
        self.due_at(&there.id, there.version.next().0)
    }

    /// `n` tells one change from the next.
    fn due_at(&self, conv: &ConversationId, n: u64) -> Write {
        let now = self.inner.clock.timestamp();
        let value = Value::object([("n", Value::from(n))]).to_json();
        Write::Put(Put {
            key: due_key(conv),
            to: Some((value, Some(now))),
            was: Was::Any,
        })
    }
}

/// That the directory is to hear of a channel.
fn due_key(conv: &ConversationId) -> FactKey {
    FactKey::new(FactTable::Listing, conv.as_str(), "due")
}

/// The title under which it is in the directory.
fn listed_key(conv: &ConversationId) -> FactKey {
    FactKey::new(FactTable::Listing, conv.as_str(), "title")
}

impl Inner {
    /// Puts a channel into the directory, or takes it out, if that is to be done. If it fails, it
    /// stays due.
    pub(super) fn list_soon(self: &Arc<Self>, conv: &ConversationId) {
        let (inner, key) = (Arc::clone(self), due_key(conv));
        self.spawn(async move {
            let done = match inner.fact(&key).await {
                Ok(Some(due)) => inner.list(&due).await,
                Ok(None) => Ok(()),
                Err(error) => Err(error),
            };
            if let Err(error) = done {
                tracing::debug!(%error, "the directory hears of a channel later");
            }
        });
    }

    /// Does what is due: the directory hears of a channel as it is now.
    pub(crate) async fn list(&self, due: &Fact) -> Result<(), Failure> {
        let Ok(conv) = ConversationId::new(due.key.owner.clone()) else {
            return Ok(());
        };
        let view = self.view(&conv, &[]).await?;
        let rules = self.rules(&conv).await?;
        let is = self.fact(&listed_key(&conv)).await?;
        let there = view.map(|view| view.conversation);
        let there = there.filter(|there| rules.listed && !there.is_ended());
        let title = there.and_then(|there| there.title);
        let text = |fact: &Fact| {
            let value = Value::from_json(&fact.value).ok()?;
            value.as_text().map(str::to_owned)
        };
        let was = is.as_ref().and_then(text);
        let lines = |title: Option<&String>| {
            let keys = title.map(|title| lines_of(&conv, title));
            keys.unwrap_or_default()
        };
        let (old, new) = (lines(was.as_ref()), lines(title.as_ref()));
        let gone = old.into_iter().filter(|key| !new.contains(key)).map(remove);
        let mut writes: Vec<Write> = gone.collect();
        writes.extend(new.iter().map(|key| set(key.clone(), "true".to_owned())));
        if let Some(place) = place_of(FactTable::Listed, TITLES).filter(|_| !writes.is_empty()) {
            let commit = Commit {
                conv: place,
                expect_version: None,
                actor: None,
                writes,
            };
            let done = self.appender.commit(commit).await;
            done.map_err(|rejected| failure(&rejected))?;
        }
        let key = listed_key(&conv);
        let to = title.map(|title| (Value::from(title).to_json(), None));
        let was = is.map_or(Was::Absent, |fact| Was::Value(fact.value));
        let put = Write::Put(Put { key, to, was });
        // Somebody who did it at the same moment did the same, or has something newer to do.
        match self.commit_due(due, vec![put, put_on(due, None)]).await {
            Ok(_) => Ok(()),
            Err(failure) => Err(failure),
        }
    }
}

/// The lines of the directory by which a channel of that title is found.
fn lines_of(conv: &ConversationId, title: &str) -> BTreeSet<FactKey> {
    let folded = folded(title);
    let chars: Vec<char> = folded.chars().collect();
    let line = |part: &str, from: usize| {
        let words: String = chars[from..].iter().take(FOUND_CHARS_MAX).collect();
        FactKey::new(
            FactTable::Listed,
            part,
            format!("{words}\n{}", conv.as_str()),
        )
    };
    let starts = (0..chars.len()).filter(|at| is_start(&chars, *at));
    let words = starts.take(WORDS_MAX).map(|at| line(WORDS, at));
    words.chain([line(TITLES, 0)]).collect()
}

/// Where a word begins; in writing without spaces each sign may be one.
fn is_start(chars: &[char], at: usize) -> bool {
    let is_sign = |c: char| c >= '\u{2e80}' && c.is_alphanumeric();
    let before = at.checked_sub(1).and_then(|before| chars.get(before));
    let here = chars[at];
    let follows = before.is_some_and(|c| c.is_alphanumeric() && !is_sign(*c));
    here.is_alphanumeric() && (is_sign(here) || !follows)
}

/// How titles are compared: without case, one space between words.
fn folded(text: &str) -> String {
    let lower = text.to_lowercase();
    let words: Vec<&str> = lower.split_whitespace().collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(title: &str) -> Vec<String> {
        let conv = ConversationId::new("c").unwrap();
        let lines = lines_of(&conv, title);
        let words = lines.iter().filter(|key| key.owner == WORDS);
        let text = |key: &FactKey| key.key.strip_suffix("\nc").unwrap().to_owned();
        words.map(text).collect()
    }

    #[test]
    fn a_channel_is_found_by_the_beginning_of_each_word() {
        assert_eq!(words("Rust  News"), ["news", "rust news"]);
        assert_eq!(
            words("(C++) für Alle"),
            ["alle", "c++) für alle", "für alle"]
        );
        assert_eq!(words("天气abc"), ["abc", "天气abc", "气abc"]);
        assert_eq!(words("!?"), Vec::<String>::new());
        let long = format!("{} {}", "a".repeat(100), "b ".repeat(100));
        let lines = words(&long);
        assert!(lines.len() <= WORDS_MAX);
        assert!(
            lines
                .iter()
                .all(|line| line.chars().count() <= FOUND_CHARS_MAX)
        );
    }

    #[test]
    fn every_line_has_a_place() {
        let conv = ConversationId::new("\u{10ffff}".repeat(128)).unwrap();
        for key in lines_of(&conv, &"\u{20000}".repeat(200)) {
            assert!(key.place().is_some());
        }
    }
}
