//! Sensitive words and personal data in texts: what an operator must find, and what nobody who
//! doesn't need it should read.
//!
//! Pure: no IO, no clock, no runtime. Whoever calls it decides where lists come from, who may
//! read what, and when a new list replaces an old one.
//!
//! # Words
//!
//! A [`WordList`](words::WordList) takes words as operators keep them and says which lines were
//! no good. It builds a [`Filter`](words::Filter), which looks into texts:
//!
//! ```
//! use im_moderation::words::{Level, Verdict, Word, WordList};
//!
//! let mut list = WordList::new();
//! list.add(Word::new(1, "法轮功", Level::Refuse));
//! list.add(Word::new(2, "damn", Level::Mask));
//! let (filter, report) = list.build()?;
//! assert_eq!(report.kept, 2);
//!
//! let scan = filter.scan("Ｄ@mn, 法*輪*功");
//! assert_eq!(scan.verdict(), Verdict::Refuse);
//! assert_eq!(scan.hits()[1].piece, "法*輪*功");
//! assert_eq!(scan.masked('*'), "****, *****");
//! assert_eq!(filter.scan("damnation").verdict(), Verdict::Clean);
//! # Ok::<(), im_moderation::words::FilterError>(())
//! ```
//!
//! It sees through case, width, marks, forms of letters, traditional characters, lookalikes
//! (`сор` for `cop` if a letter at least is genuine), digits for letters, repeats, what is not
//! seen, and symbols between letters; `docs/decisions/0015-moderation.md` has the rules by which
//! two words that happen to stand together are not one. It doesn't see through a letter that is
//! left out (`f*ck`), homophones (`法沦功`), pinyin, or pictures.
//!
//! A filter never changes. To reload, build a new one and swap it, in whatever cell the caller
//! has for that: a clone counts a reference, and a scan that has begun goes on with its own.
//!
//! # Personal data
//!
//! A [`Masker`](mask::Masker) finds telephone numbers, e-mail addresses, identity cards, payment
//! cards and street addresses, and what the embedder has rules of its own for:
//!
//! ```
//! use im_moderation::mask::Masker;
//!
//! let masked = Masker::default().mask("卡 4111 1111 1111 1111, (977) 625-2661");
//! assert_eq!(masked.text, "卡 **** **** **** 1111, (***) ***-2661");
//! assert_eq!(masked.found[0].rule, "bank_card");
//! ```
//!
//! Who may see the original, and that it was looked at, is the caller's to decide and to record.

pub mod mask;
pub mod words;
