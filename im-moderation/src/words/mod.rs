//! Sensitive words in texts, found through what people do to hide them.

mod alphabet;
mod filter;
mod fold;
mod judge;
mod list;
mod scan;
mod word;

pub use filter::{Filter, FilterError};
pub use list::{DropReason, Dropped, LETTERS_MAX, LETTERS_MIN, Report, WORDS_MAX, WordList};
pub use scan::{Hit, Scan, Verdict};
pub use word::{Level, Word};
