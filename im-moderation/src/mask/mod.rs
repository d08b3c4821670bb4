//! Personal data in texts, masked for those who need not read it.
//!
//! What has a checksum is checked; what has none is found by its shape, so some is missed and some
//! masked in vain. It is no proof that a text holds nothing personal.

mod address;
mod card;
mod email;
mod ip;
mod phone;
mod shadow;

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use shadow::Shadow;

/// Kinds of personal data that are known here, in the order in which they are looked for: where two
/// overlap, the first counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Builtin {
    /// Chinese identity cards: 18 digits with a valid date and check digit, or the old 15.
    IdCard,
    /// Payment cards: 13 to 19 digits of a known issuer with a valid check digit.
    BankCard,
    /// Telephone numbers: Chinese mobile and landline, international with a `+`, and the groups in
    /// which people in the US and Europe write theirs.
    Phone,
    /// E-mail addresses in ASCII.
    Email,
    /// IPv4 and IPv6 addresses. Not among the defaults.
    Ip,
    /// Street addresses: a Chinese road with a number, a US street with its suffix.
    Address,
}

impl Builtin {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::IdCard,
        Self::BankCard,
        Self::Phone,
        Self::Email,
        Self::Ip,
        Self::Address,
    ];

    /// Its name in [`Found::rule`].
    pub const fn name(self) -> &'static str {
        match self {
            Self::IdCard => "id_card",
            Self::BankCard => "bank_card",
            Self::Phone => "phone",
            Self::Email => "email",
            Self::Ip => "ip",
            Self::Address => "address",
        }
    }

    fn find(self, shadow: &Shadow, found: &mut Vec<Span>) {
        match self {
            Self::IdCard => card::id_cards(shadow, found),
            Self::BankCard => card::bank_cards(shadow, found),
            Self::Phone => phone::phones(shadow, found),
            Self::Email => email::emails(shadow, found),
            Self::Ip => ip::ips(shadow, found),
            Self::Address => address::addresses(shadow, found),
        }
    }
}

/// What of a find stays readable: so many letters and digits at either end. Everything else in it
/// becomes `*`, but for spaces and symbols. What is not longer than both ends together is masked
/// whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keep {
    /// At the start.
    pub first: usize,
    /// At the end.
    pub last: usize,
}

impl Keep {
    /// Nothing.
    pub const NONE: Self = Self { first: 0, last: 0 };
}

/// A kind of data of the embedder's own.
#[derive(Clone)]
pub struct Rule {
    /// Its name in [`Found::rule`].
    pub name: &'static str,
    /// Where it is in a text, in bytes. Ranges that are no part of the text are passed over.
    pub find: fn(&str) -> Vec<Range<usize>>,
    /// What of it stays readable.
    pub keep: Keep,
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rule")
            .field("name", &self.name)
            .field("keep", &self.keep)
            .finish_non_exhaustive()
    }
}

/// Something that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// [`Builtin::name`] or [`Rule::name`].
    pub rule: &'static str,
    /// Its bytes in the original text; of an e-mail address, what is before the `@`.
    pub range: Range<usize>,
}

/// A text whose personal data is masked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Masked<'t> {
    /// The text, as it was if nothing was found.
    pub text: Cow<'t, str>,
    /// What was found, by its start; no two overlap.
    pub found: Vec<Found>,
}

/// Where a rule found something, and what of it stays.
#[derive(Clone, Debug)]
struct Span {
    range: Range<usize>,
    keep: Keep,
}

/// Masks personal data.
///
/// ```
/// use im_moderation::mask::Masker;
///
/// let masked = Masker::default().mask("13812345678, zhang@example.com");
/// assert_eq!(masked.text, "138****5678, z****@example.com");
/// assert_eq!(masked.found[0].rule, "phone");
/// ```
#[derive(Clone, Debug)]
pub struct Masker {
    builtin: Vec<Builtin>,
    own: Vec<Rule>,
}

impl Default for Masker {
    /// Everything that is built in but [`Builtin::Ip`].
    fn default() -> Self {
        Self::none().with(Builtin::ALL).without(Builtin::Ip)
    }
}

impl Masker {
    /// One that masks nothing, to start from.
    pub fn none() -> Self {
        Self {
            builtin: Vec::new(),
            own: Vec::new(),
        }
    }

    /// Masks these kinds, too.
    #[must_use]
    pub fn with(mut self, kinds: impl IntoIterator<Item = Builtin>) -> Self {
        self.builtin.extend(kinds);
        self.builtin.sort_unstable();
        self.builtin.dedup();
        self
    }

    /// Leaves this kind readable.
    #[must_use]
    pub fn without(mut self, kind: Builtin) -> Self {
        self.builtin.retain(|other| *other != kind);
        self
    }

    /// Masks what this rule finds, too. It comes before what is built in, and after the rules
    /// that were added before.
    #[must_use]
    pub fn rule(mut self, rule: Rule) -> Self {
        self.own.push(rule);
        self
    }

    /// Masks `text`. The time is linear in its length, but for rules of the embedder's own.
    pub fn mask<'t>(&self, text: &'t str) -> Masked<'t> {
        let mut spans: Vec<(&'static str, Span)> = Vec::new();
        for rule in &self.own {
            let keep = rule.keep;
            let found = (rule.find)(text).into_iter();
            let real = found.filter(|range| text.get(range.clone()).is_some_and(|t| !t.is_empty()));
            add(
                &mut spans,
                rule.name,
                real.map(|range| Span { range, keep }),
            );
        }
        if !self.builtin.is_empty() && shadow::is_suspicious(text) {
            let mut shadow = Shadow::new(text);
            shadow.hide(spans.iter().map(|(_, span)| &span.range));
            let mut found = Vec::new();
            for kind in &self.builtin {
                kind.find(&shadow, &mut found);
                shadow.hide(found.iter().map(|span| &span.range));
                add(&mut spans, kind.name(), found.drain(..));
            }
        }
        if spans.is_empty() {
            return Masked {
                text: Cow::Borrowed(text),
                found: Vec::new(),
            };
        }
        written(text, &spans)
    }
}

/// Adds what doesn't overlap with what is there already. `spans` stays sorted.
fn add(
    spans: &mut Vec<(&'static str, Span)>,
    name: &'static str,
    found: impl Iterator<Item = Span>,
) {
    for span in found {
        let at = spans.partition_point(|(_, other)| other.range.end <= span.range.start);
        let is_free = spans
            .get(at)
            .is_none_or(|(_, next)| next.range.start >= span.range.end);
        if is_free {
            spans.insert(at, (name, span));
        }
    }
}

fn written<'t>(text: &'t str, spans: &[(&'static str, Span)]) -> Masked<'t> {
    let mut masked = String::with_capacity(text.len());
    let mut found = Vec::with_capacity(spans.len());
    let mut done = 0;
    for (rule, span) in spans {
        masked.push_str(&text[done..span.range.start]);
        hide(&text[span.range.clone()], span.keep, &mut masked);
        done = span.range.end;
        found.push(Found {
            rule,
            range: span.range.clone(),
        });
    }
    masked.push_str(&text[done..]);
    Masked {
        text: Cow::Owned(masked),
        found,
    }
}

fn hide(piece: &str, keep: Keep, masked: &mut String) {
    let all = piece.chars().filter(|c| c.is_alphanumeric()).count();
    let keep = if keep.first + keep.last < all {
        keep
    } else {
        Keep::NONE
    };
    let mut seen = 0;
    for c in piece.chars() {
        if !c.is_alphanumeric() {
            masked.push(c);
            continue;
        }
        let stays = seen < keep.first || seen >= all - keep.last;
        masked.push(if stays { c } else { '*' });
        seen += 1;
    }
}
