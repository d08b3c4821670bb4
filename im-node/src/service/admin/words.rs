//! The list of sensitive words.

use std::collections::BTreeMap;

use im_core::frame::{ErrorCode, Failure};
use im_core::model::{Fact, FactKey, FactTable, Value};
use im_core::port::{FactQuery, Write};
use im_core::rule::Power;
use im_moderation::words::{DropReason, Verdict, Word, WordList};

use super::{Act, limit, opt_why, why};
use crate::moderation::{List, WORDS_MAX, level_of};
use crate::service::facts::{remove as removed, set};
use crate::service::params::{Params, bad, is_hidden};
use crate::service::table::Call;

/// Bytes of lines in one call; whoever asks by HTTP or a frame has less (`frame_bytes`).
const IMPORT_BYTES_MAX: usize = 1 << 20;
/// Lines in one call: as many as a store writes in one commit without holding up the others.
const IMPORT_LINES_MAX: usize = 2_000;
/// Bytes of a word: well below what a key may have.
const WORD_BYTES_MAX: usize = 900;
/// Lines given at once.
const LINES_MAX: usize = 1_000;
/// Characters of a text that is tried.
const TRY_CHARS_MAX: usize = 10_000;

/// `admin.words.list`: the words, in the order of their bytes.
pub(in crate::service) async fn list(call: Call<'_>, mut params: Params) -> Result<Value, Failure> {
    call.staff(Power::SeeWords).await?;
    let after = params.opt_text("after")?;
    let limit = limit(&mut params, 100, LINES_MAX)?;
    let line = |fact: &Fact| {
        let mut fields = vec![("word".into(), Value::from(fact.key.key.clone()))];
        if let Ok(Value::Object(known)) = Value::from_json(&fact.value) {
            fields.extend(known);
        }
        Some(Value::object(fields))
    };
    call.page_of((FactTable::Word, "", "words"), after, limit, line)
        .await
}

/// `admin.words.add`: adds a word, or gives it another level.
pub(in crate::service) async fn add(call: Call<'_>, mut params: Params) -> Result<Value, Failure> {
    call.staff(Power::ChangeWords).await?;
    let word = params.text("word")?;
    let level = level(&mut params)?;
    let inside = params.flag("inside")?;
    let mut read = Read::new(level, inside);
    if word.contains(['\n', '\t']) {
        return Err(bad("word", "must be one word"));
    }
    read.line(1, &word);
    if let Some((_, why)) = read.report().first() {
        return Err(bad("word", &format!("is {why}")));
    }
    // A word that is there already may have another level, however many there are.
    if call.inner.moderation.lexicon().len() >= WORDS_MAX
        && call.inner.fact(&key(word.trim())?).await?.is_none()
    {
        let words = "the list has 200000 words already";
        return Err(Failure::new(ErrorCode::TooLarge, words));
    }
    let act = Act::new("words.add").with("word", word.trim().to_owned());
    let why = opt_why(&mut params)?;
    let value = Value::Object(Vec::new());
    call.change_words(act, why, read.writes(&call), value).await
}

/// `admin.words.remove`: takes a word out.
pub(in crate::service) async fn remove(
    call: Call<'_>,
    mut params: Params,
) -> Result<Value, Failure> {
    call.staff(Power::ChangeWords).await?;
    let key = key(params.text("word")?.trim())?;
    if call.inner.fact(&key).await?.is_none() {
        return Err(Failure::new(ErrorCode::NotFound, "no such word"));
    }
    let act = Act::new("words.remove").with("word", key.key.clone());
    let why = why(&mut params)?;
    let value = Value::Object(Vec::new());
    call.change_words(act, Some(why), vec![removed(key)], value)
        .await
}

/// `admin.words.import`: adds the words of lines, each with a level of its own or the call's; says
/// which lines are no good. The others are added all the same.
pub(in crate::service) async fn import(
    call: Call<'_>,
    mut params: Params,
) -> Result<Value, Failure> {
    call.staff(Power::ChangeWords).await?;
    let lines = params.text("lines")?;
    let too_large = |words: &str| Err(Failure::new(ErrorCode::TooLarge, words));
    if lines.len() > IMPORT_BYTES_MAX {
        return too_large("lines: has more than a mebibyte");
    }
    if lines.lines().count() > IMPORT_LINES_MAX {
        return too_large("lines: has more than 2000 lines");
    }
    let level = level(&mut params)?;
    let mut read = Read::new(level, params.flag("inside")?);
    for (line, number) in lines.lines().zip(1..) {
        read.line(number, line);
    }
    if call.inner.moderation.lexicon().len() + read.words.len() > WORDS_MAX {
        return too_large("lines: the list would have more than 200000 words");
    }
    let dropped = read
        .report()
        .into_iter()
        .map(|(line, why)| Value::object([("line", Value::from(line)), ("why", why.into())]));
    let dropped: Vec<Value> = dropped.collect();
    let kept = read.words.len() as u64;
    let act = Act::new("words.import")
        .with("kept", kept)
        .with("dropped", dropped.len() as u64);
    let why = opt_why(&mut params)?;
    let value = Value::object([("kept", Value::from(kept)), ("dropped", dropped.into())]);
    if kept == 0 {
        return Ok(value);
    }
    call.change_words(act, why, read.writes(&call), value).await
}

/// `admin.words.export`: the words as lines that `admin.words.import` takes.
pub(in crate::service) async fn export(
    call: Call<'_>,
    mut params: Params,
) -> Result<Value, Failure> {
    call.staff(Power::SeeWords).await?;
    let query = FactQuery::Of {
        table: FactTable::Word,
        owner: String::new(),
        after: params.opt_text("after")?,
        below: None,
        limit: LINES_MAX + 1,
    };
    let mut facts = call.inner.facts(&query).await?;
    let more = facts.len() > LINES_MAX;
    facts.truncate(LINES_MAX);
    let mut lines = String::new();
    for fact in &facts {
        let value = Value::from_json(&fact.value).unwrap_or(Value::Null);
        let level = value.get("level").and_then(Value::as_text);
        lines.push_str(&fact.key.key);
        lines.push('\t');
        lines.push_str(level.unwrap_or_default());
        if value.get("inside") == Some(&Value::Bool(true)) {
            lines.push_str("\tinside");
        }
        lines.push('\n');
    }
    let mut out = vec![("lines", Value::from(lines)), ("more", more.into())];
    let last = facts.pop().filter(|_| more);
    out.extend(last.map(|last| ("next", last.key.key.into())));
    Ok(Value::object(out))
}

/// `admin.words.try`: what the list that this node has says to a text.
pub(in crate::service) async fn try_text(
    call: Call<'_>,
    mut params: Params,
) -> Result<Value, Failure> {
    call.staff(Power::SeeWords).await?;
    let text = params.text("text")?;
    if text.chars().count() > TRY_CHARS_MAX {
        let words = "text: has more than 10000 characters";
        return Err(Failure::new(ErrorCode::TooLarge, words));
    }
    let lexicon = call.inner.moderation.lexicon();
    let (verdict, words, shown) = lexicon.explain(&text);
    let verdict = match verdict {
        Verdict::Clean => "clean",
        Verdict::Mask => "mask",
        Verdict::Review => "review",
        Verdict::Refuse => "refuse",
    };
    let words: Vec<Value> = words.iter().map(|word| (*word).to_owned().into()).collect();
    Ok(Value::object([
        ("verdict", Value::from(verdict)),
        ("words", words.into()),
        ("shown", shown.into_owned().into()),
        ("listed", (lexicon.len() as u64).into()),
    ]))
}

fn key(word: &str) -> Result<FactKey, Failure> {
    if word.is_empty() || word.len() > WORD_BYTES_MAX {
        return Err(bad("word", "must have 1 to 900 bytes"));
    }
    Ok(FactKey::new(FactTable::Word, "", word))
}

/// The name of a level; without one, words are refused.
fn level(params: &mut Params) -> Result<String, Failure> {
    let name = params.opt_text("level")?;
    let name = name.unwrap_or_else(|| "refuse".to_owned());
    if level_of(&name).is_none() {
        return Err(bad("level", "must be allow, mask, review or refuse"));
    }
    Ok(name)
}

/// Words that are read from lines.
struct Read {
    level: String,
    inside: bool,
    list: WordList,
    /// What is good so far: its level's name, and whether it is found inside longer words.
    words: BTreeMap<String, (String, bool)>,
    odd: Vec<(u64, &'static str)>,
}

impl Read {
    fn new(level: String, inside: bool) -> Self {
        Self {
            level,
            inside,
            list: WordList::new(),
            words: BTreeMap::new(),
            odd: Vec::new(),
        }
    }

    /// A line: a word, and behind tabs its level, and `inside`.
    fn line(&mut self, number: u64, line: &str) {
        let mut parts = line.split('\t').map(str::trim);
        let word = parts.next().unwrap_or_default();
        let own = parts.next().filter(|name| !name.is_empty());
        let name = own.unwrap_or(&self.level).to_owned();
        let inside = match parts.next() {
            None | Some("") => Some(self.inside),
            Some("inside") => Some(true),
            Some(_) => None,
        };
        if parts.next().is_some() || word.chars().any(is_hidden) {
            return self.odd.push((number, "has characters that are not shown"));
        }
        let (Some(level), Some(inside)) = (level_of(&name), inside) else {
            return self.odd.push((number, "has no such level"));
        };
        if word.len() > WORD_BYTES_MAX {
            return self.odd.push((number, reason(DropReason::TooLong)));
        }
        let listed = Word::new(number, word, level);
        if self.list.add(if inside { listed.inside() } else { listed }) {
            self.words.insert(word.to_owned(), (name, inside));
        }
    }

    /// The lines that are no good, in order.
    fn report(&self) -> Vec<(u64, &'static str)> {
        let dropped = self.list.report().dropped.into_iter();
        let mut all: Vec<_> = dropped.map(|one| (one.id, reason(one.why))).collect();
        all.extend(&self.odd);
        all.sort_unstable();
        all
    }

    fn writes(&self, call: &Call<'_>) -> Vec<Write> {
        let at = call.inner.clock.timestamp();
        let write = |(word, (level, inside)): (&String, &(String, bool))| {
            let mut fields = vec![
                ("level", Value::from(level.clone())),
                ("by", call.caller.user.as_str().to_owned().into()),
                ("at", at.0.into()),
            ];
            fields.extend(inside.then(|| ("inside", true.into())));
            let key = FactKey::new(FactTable::Word, "", word.as_str());
            set(key, Value::object(fields).to_json())
        };
        self.words.iter().map(write).collect()
    }
}

const fn reason(why: DropReason) -> &'static str {
    match why {
        DropReason::Duplicate(_) => "there already",
        DropReason::Empty => "empty",
        DropReason::OnlySymbols => "without a letter or digit",
        DropReason::TooLong => "too long",
        DropReason::TooShort => "too short",
        _ => "no good",
    }
}

impl Call<'_> {
    /// Changes the list, says so, and makes every node read it anew.
    async fn change_words(
        &self,
        mut act: Act,
        why: Option<String>,
        mut writes: Vec<Write>,
        value: Value,
    ) -> Result<Value, Failure> {
        if let Some(why) = why {
            act = act.with("why", why);
        }
        writes.push(self.inner.another_version(List::Words));
        let value = self.act(&act, writes, value).await?;
        self.inner.list_changed(List::Words);
        Ok(value)
    }
}
