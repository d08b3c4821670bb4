//! The list of words as it is searched.

use std::borrow::Cow;
use std::collections::BTreeSet;

use im_core::model::{Body, Kind, Value};
use im_moderation::words::{Filter, Level, Report, Scan, Verdict, Word, WordList};

use super::texts::{Seen, visit};

/// What stands for each character of a masked word.
const MASK: char = '*';
/// Words named to who looks at a message; one is reason enough.
const NAMED_MAX: usize = 20;

/// The levels and their names.
const LEVELS: [(&str, Level); 4] = [
    ("allow", Level::Allow),
    ("mask", Level::Mask),
    ("review", Level::Review),
    ("refuse", Level::Refuse),
];

/// The level of a name.
pub(crate) fn level_of(name: &str) -> Option<Level> {
    let found = LEVELS.iter().find(|(known, _)| *known == name);
    found.map(|(_, level)| *level)
}

/// A list, ready to look into texts. It never changes: another one replaces it.
#[derive(Debug, Default)]
pub(crate) struct Lexicon {
    /// Which state of the list it was made of; `None` when there was never one.
    pub(super) version: Option<String>,
    /// `None` when there is no word.
    filter: Option<Filter>,
    /// By their number in the filter.
    words: Vec<String>,
}

/// What a body's words ask for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Judged {
    /// Nothing.
    Clean,
    /// It may not be stored.
    Refused,
    /// It may, like this.
    Found {
        /// With the words masked that ask for it, if any do.
        body: Option<Body>,
        /// Words for which somebody must look at it.
        review: Vec<String>,
    },
}

impl Lexicon {
    /// Makes one of words with their level and whether they are found inside longer ones too. Takes
    /// a third of a second for 50,000 words: not for a thread that others wait for.
    pub(crate) fn build(
        version: Option<String>,
        listed: Vec<(String, Level, bool)>,
    ) -> Result<(Self, Report), im_moderation::words::FilterError> {
        let mut list = WordList::new();
        for ((text, level, inside), id) in listed.iter().zip(0..) {
            let word = Word::new(id, text.as_str(), *level);
            list.add(if *inside { word.inside() } else { word });
        }
        let (filter, report) = list.build()?;
        let lexicon = Self {
            version,
            filter: (!filter.is_empty()).then_some(filter),
            words: listed.into_iter().map(|(text, ..)| text).collect(),
        };
        Ok((lexicon, report))
    }

    /// The same words for another state of the list, of which none could be made.
    pub(super) fn kept_for(&self, version: Option<String>) -> Self {
        Self {
            version,
            filter: self.filter.clone(),
            words: self.words.clone(),
        }
    }

    /// How many words were listed.
    pub(crate) fn len(&self) -> usize {
        self.words.len()
    }

    /// What a body's words ask for.
    pub(crate) fn judge(&self, body: &Body) -> Judged {
        let Some(filter) = &self.filter else {
            return Judged::Clean;
        };
        if let Some(text) = body.plain_text()
            && filter.scan(text).hits().is_empty()
        {
            return Judged::Clean;
        }
        let mut value = body.value();
        let mut look = Look::new(filter);
        visit(&mut value, &mut |seen| look.see(seen));
        // These have no place of their own in which somebody could look at them later.
        let is_mark = matches!(body.kind(), Kind::React | Kind::Recall | Kind::Pin);
        let is_refused =
            look.verdict == Verdict::Refuse || look.verdict == Verdict::Review && is_mark;
        match look.verdict {
            Verdict::Clean => Judged::Clean,
            _ if is_refused => Judged::Refused,
            _ => self.found(&look, &value),
        }
    }

    fn found(&self, look: &Look<'_>, value: &Value) -> Judged {
        let named = look.review.iter().take(NAMED_MAX);
        let name = |id: &u64| self.words.get(usize::try_from(*id).ok()?).cloned();
        let body = look.changed.then(|| Body::new(value));
        Judged::Found {
            body: body.and_then(Result::ok),
            review: named.filter_map(name).collect(),
        }
    }

    /// A text with everything masked that is found; `None` when it is refused.
    pub(crate) fn clean<'t>(&self, text: &'t str) -> Option<Cow<'t, str>> {
        let Some(filter) = &self.filter else {
            return Some(Cow::Borrowed(text));
        };
        let scan = filter.scan(text);
        (scan.verdict() != Verdict::Refuse).then(|| scan.masked(MASK))
    }

    /// What is found in a text, for who keeps the list: the verdict, the words, the text masked.
    pub(crate) fn explain<'t>(&self, text: &'t str) -> (Verdict, Vec<&str>, Cow<'t, str>) {
        let Some(filter) = &self.filter else {
            return (Verdict::Clean, Vec::new(), Cow::Borrowed(text));
        };
        let scan = filter.scan(text);
        let ids: BTreeSet<u64> = scan.hits().iter().map(|hit| hit.word).collect();
        let name = |id: u64| {
            self.words
                .get(usize::try_from(id).ok()?)
                .map(String::as_str)
        };
        let words = ids.into_iter().filter_map(name).take(NAMED_MAX);
        (scan.verdict(), words.collect(), masked(&scan))
    }
}

fn masked<'t>(scan: &Scan<'t>) -> Cow<'t, str> {
    scan.masked_where(MASK, |level| level == Level::Mask)
}

/// A look through a body.
struct Look<'f> {
    filter: &'f Filter,
    verdict: Verdict,
    review: BTreeSet<u64>,
    changed: bool,
}

impl<'f> Look<'f> {
    const fn new(filter: &'f Filter) -> Self {
        Self {
            filter,
            verdict: Verdict::Clean,
            review: BTreeSet::new(),
            changed: false,
        }
    }

    fn see(&mut self, seen: Seen<'_>) {
        match seen {
            Seen::Text(text) => {
                if let Some(masked) = self.text(text) {
                    *text = masked.into();
                }
            }
            // What is no text can't be masked: another key would be another thing.
            Seen::Key(key) => match self.scan(key).verdict() {
                Verdict::Mask => self.verdict = Verdict::Refuse,
                Verdict::Clean | Verdict::Review | Verdict::Refuse => {}
            },
            // Lists have words such as `64`: among the sizes and places of a program's own data
            // they would be found without being meant.
            Seen::Number(_) => {}
        }
    }

    fn scan<'t>(&mut self, text: &'t str) -> Scan<'t> {
        let scan = self.filter.scan(text);
        self.verdict = self.verdict.max(scan.verdict());
        let review = scan.hits().iter().filter(|hit| hit.level == Level::Review);
        self.review.extend(review.map(|hit| hit.word));
        scan
    }

    fn text(&mut self, text: &str) -> Option<String> {
        match masked(&self.scan(text)) {
            Cow::Borrowed(_) => None,
            Cow::Owned(masked) => {
                self.changed = true;
                Some(masked)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lexicon(words: &[(&str, Level)]) -> Lexicon {
        let listed = words.iter();
        let listed = listed.map(|(text, level)| ((*text).to_owned(), *level, false));
        Lexicon::build(None, listed.collect()).unwrap().0
    }

    fn body(json: &str) -> Body {
        Body::new(&Value::from_json(json).unwrap()).unwrap()
    }

    fn found(json: Option<&str>, review: &[&str]) -> Judged {
        Judged::Found {
            body: json.map(body),
            review: review.iter().map(|word| (*word).to_owned()).collect(),
        }
    }

    #[test]
    fn a_body_is_judged_by_all_of_its_texts() {
        let lexicon = lexicon(&[
            ("darn", Level::Mask),
            ("casino", Level::Review),
            ("heroin", Level::Refuse),
        ]);
        for (json, judged) in [
            (r#"{"kind":"text","text":"fine"}"#, Judged::Clean),
            (r#"{"kind":"text","text":"a heroin"}"#, Judged::Refused),
            (r#"{"kind":"text","text":"\"her*oin\""}"#, Judged::Refused),
            (
                r#"{"kind":"text","text":"oh darn"}"#,
                found(Some(r#"{"kind":"text","text":"oh ****"}"#), &[]),
            ),
            (
                r#"{"kind":"text","text":"darn casino"}"#,
                found(Some(r#"{"kind":"text","text":"**** casino"}"#), &["casino"]),
            ),
            (
                r#"{"kind":"text","text":"casino"}"#,
                found(None, &["casino"]),
            ),
            (
                r#"{"kind":"text","text":"x","y":["heroin"]}"#,
                Judged::Refused,
            ),
            (
                r#"{"kind":"edit","target":1,"text":"darn"}"#,
                found(Some(r#"{"kind":"edit","target":1,"text":"****"}"#), &[]),
            ),
            (
                r#"{"kind":"custom","type":"t","data":{"darn":1}}"#,
                Judged::Refused,
            ),
            (
                r#"{"kind":"react","target":1,"emoji":"casino"}"#,
                Judged::Refused,
            ),
            (
                r#"{"kind":"file","blob":"heroin","name":"n","size":1,"mime":"m"}"#,
                Judged::Clean,
            ),
            (
                r#"{"kind":"text","text":"hi","thumb":{"x":"heroin"}}"#,
                Judged::Refused,
            ),
            (r#"{"kind":"text","text":"hi","darn":1}"#, Judged::Refused),
            (
                r#"{"kind":"text","text":"hi","casino":1}"#,
                found(None, &["casino"]),
            ),
            (r#"{"kind":"recall","target":1}"#, Judged::Clean),
            (
                r#"{"kind":"recall","target":1,"x":"casino"}"#,
                Judged::Refused,
            ),
        ] {
            assert_eq!(lexicon.judge(&body(json)), judged, "{json}");
        }
    }

    #[test]
    fn a_name_is_masked_or_refused() {
        let lexicon = lexicon(&[
            ("darn", Level::Mask),
            ("casino", Level::Review),
            ("heroin", Level::Refuse),
        ]);
        for (text, cleaned) in [
            ("fine", Some("fine")),
            ("darn casino", Some("**** ******")),
            ("heroin darn", None),
        ] {
            assert_eq!(lexicon.clean(text).as_deref(), cleaned, "{text}");
        }
        assert_eq!(
            Lexicon::default().clean("heroin").as_deref(),
            Some("heroin")
        );
    }
}
