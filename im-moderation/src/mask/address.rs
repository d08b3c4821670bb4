//! Street addresses, by their shape.

use std::ops::Range;

use super::shadow::Shadow;
use super::{Keep, Span};

/// So many characters the name of a Chinese road has at most.
const ROAD_MAX: usize = 8;
/// So many, when no district stands before it.
const BARE_ROAD_MAX: usize = 4;
/// So many parts come behind a house number: building, unit, floor, room.
const PARTS_MAX: usize = 6;
/// So many words the name of an American street has.
const NAME_WORDS_MAX: usize = 4;
/// The longest word in it.
const WORD_MAX: usize = 20;

/// What a Chinese road's name ends with.
const ROADS: &str = "路街道巷弄里村园庄坊苑";
/// What the place ends with in which the road lies.
const PLACES: &str = "省市区县州盟旗镇乡";
/// What follows a number in a Chinese address.
const PARTS: &str = "号栋幢座楼层室弄户";
/// What follows a `号` that is no house: a line, a document, an order, a participant.
const NO_HOUSES: &str = "线文令选会机球";

/// A room's number has so many characters at most, when no word follows it.
const ROOM_MAX: usize = 5;

/// What an American street ends with. The second half are words of other meanings, too.
const SUFFIXES: [&str; 26] = [
    "ave",
    "avenue",
    "blvd",
    "boulevard",
    "cir",
    "hwy",
    "highway",
    "ln",
    "parkway",
    "pkwy",
    "rd",
    "road",
    "st",
    "street",
    "terrace",
    "ter",
    "circle",
    "court",
    "ct",
    "dr",
    "drive",
    "lane",
    "pl",
    "place",
    "square",
    "way",
];
const PLAIN_SUFFIXES: usize = 16;
/// Words that are in no street's name.
const NO_NAMES: [&str; 40] = [
    "a", "about", "all", "am", "an", "and", "are", "at", "by", "days", "day", "do", "each", "for",
    "from", "gb", "hour", "hours", "i", "if", "in", "is", "it", "mb", "mile", "miles", "minute",
    "minutes", "more", "of", "on", "or", "per", "pm", "that", "the", "this", "to", "with", "you",
];

pub(super) fn addresses(shadow: &Shadow, found: &mut Vec<Span>) {
    for group in shadow.groups() {
        let cells = chinese(shadow, &group.range).or_else(|| american(shadow, &group.range));
        if let Some(cells) = cells {
            found.push(Span {
                range: shadow.bytes(cells),
                keep: Keep::NONE,
            });
        }
    }
}

/// A road and its number, to the room. What is larger than a road stays readable.
fn chinese(shadow: &Shadow, number: &Range<usize>) -> Option<Range<usize>> {
    let is_part = |at: usize| shadow.at(at).is_some_and(|c| PARTS.contains(c));
    let road = shadow.before(number.start).filter(|c| ROADS.contains(*c))?;
    if !is_part(number.end)
        || shadow
            .at(number.end + 1)
            .is_some_and(|c| NO_HOUSES.contains(c))
    {
        return None;
    }
    // Another address may stand right before.
    let is_han = |c: char| ('\u{4e00}'..='\u{9fff}').contains(&c) && !"号室栋幢".contains(c);
    let before = shadow.cells[..number.start].iter().rev().map(|cell| cell.c);
    let han: Vec<char> = before
        .take_while(|c| is_han(*c))
        .take(ROAD_MAX + 1)
        .collect();
    // The road's own last letter may be one of a place, too.
    let place = han
        .iter()
        .skip(2)
        .position(|c| PLACES.contains(*c))
        .map(|at| at + 2);
    let name = place.unwrap_or_else(|| han.len().min(BARE_ROAD_MAX));
    let end = end_of_parts(shadow, number.end + 1);
    let has_more = end > number.end + 1 || number.len() > 1;
    let is_address = place.is_some() || (name > 1 && has_more && road != '里');
    is_address.then(|| number.start - name..end)
}

/// Behind `478号`: `3幢2单元502室`.
fn end_of_parts(shadow: &Shadow, from: usize) -> usize {
    let mut end = from;
    for _ in 0..PARTS_MAX {
        let cells = shadow
            .cells
            .get(end..)
            .unwrap_or_default()
            .iter()
            .map(|cell| cell.c);
        let length = cells
            .take_while(|c| c.is_ascii_alphanumeric() || *c == '-')
            .count();
        let unit = [shadow.at(end + length), shadow.at(end + length + 1)];
        end = match unit {
            _ if length == 0 => break,
            [Some('单'), Some('元')] => end + length + 2,
            [Some(c), _] if PARTS.contains(c) => end + length + 1,
            // `3幢502`: the last number needs no word behind it.
            _ if (2..=ROOM_MAX).contains(&length) => return end + length,
            _ => break,
        };
    }
    end
}

/// `6821 1st ave`, `742 Evergreen Terrace Apt 5`.
fn american(shadow: &Shadow, number: &Range<usize>) -> Option<Range<usize>> {
    if !(1..=6).contains(&number.len()) || !shadow.is_whole(number.clone()) {
        return None;
    }
    let mut at = number.end;
    let mut is_name = false;
    let mut has_capitals = true;
    for _ in 0..=NAME_WORDS_MAX {
        let word = word(shadow, at)?;
        let text: String = shadow.cells[word.clone()]
            .iter()
            .map(|cell| cell.c)
            .collect();
        let lower = text.to_ascii_lowercase();
        let suffix = SUFFIXES.iter().position(|suffix| *suffix == lower);
        if let Some(suffix) = suffix.filter(|_| is_name) {
            let is_sure = suffix < PLAIN_SUFFIXES || has_capitals || has_zip(shadow, word.end);
            return is_sure.then(|| number.start..unit(shadow, word.end));
        }
        if NO_NAMES.contains(&&*lower) {
            return None;
        }
        has_capitals &= !text.starts_with(|c: char| c.is_ascii_lowercase());
        is_name = true;
        at = word.end;
    }
    None
}

/// The word behind one space at `at`, of letters or an ordinal; without a dot behind it.
fn word(shadow: &Shadow, at: usize) -> Option<Range<usize>> {
    if shadow.at(at) == Some('.') {
        return word(shadow, at + 1);
    }
    if shadow.at(at) != Some(' ') {
        return None;
    }
    let cells = shadow.cells[at + 1..].iter().take(WORD_MAX + 1);
    let length = cells
        .take_while(|cell| cell.c.is_ascii_alphanumeric())
        .count();
    (1..=WORD_MAX)
        .contains(&length)
        .then_some(at + 1..at + 1 + length)
}

/// `Apt 5`, `#12` behind a street.
fn unit(shadow: &Shadow, at: usize) -> usize {
    let rest = shadow.cells[at..].iter().take(WORD_MAX).map(|cell| cell.c);
    let rest: String = rest.collect::<String>().to_ascii_lowercase();
    let trimmed = rest.trim_start_matches(['.', ',', ' ']);
    let names = ["apt", "apartment", "suite", "ste", "unit", "#"];
    let Some(behind) = names.iter().find_map(|name| trimmed.strip_prefix(name)) else {
        return at;
    };
    let number = behind.trim_start_matches(['.', ' ', '#']);
    let length = number
        .chars()
        .take_while(char::is_ascii_alphanumeric)
        .count();
    if length == 0 || !number.contains(|c: char| c.is_ascii_digit()) {
        return at;
    }
    at + rest.chars().count() - number.chars().count() + length
}

/// Whether a state and a code of five digits follow soon: `, San Mateo, NY 75227`.
fn has_zip(shadow: &Shadow, at: usize) -> bool {
    let rest: String = shadow.cells[at..]
        .iter()
        .take(60)
        .map(|cell| cell.c)
        .collect();
    let words: Vec<&str> = rest
        .split([' ', ','])
        .filter(|word| !word.is_empty())
        .collect();
    words.windows(2).take(6).any(|pair| {
        let [state, zip] = pair else { return false };
        let digits = zip.split('-').next().unwrap_or_default();
        state.len() == 2
            && state.bytes().all(|b| b.is_ascii_alphabetic())
            && digits.len() == 5
            && digits.bytes().all(|b| b.is_ascii_digit())
    })
}
