//! Numbers with a check digit: Chinese identity cards and payment cards.

use std::ops::Range;

use super::shadow::Shadow;
use super::{Keep, Span};

/// A card's number is written in at most so many groups.
const GROUPS_MAX: usize = 6;
/// The longest number of a payment card, ISO/IEC 7812.
const CARD_DIGITS: std::ops::RangeInclusive<usize> = 13..=19;

/// The first two digits of a Chinese identity card: a province, or 83 for residents from Taiwan.
const PROVINCES: [Range<u8>; 9] = [
    11..16,
    21..24,
    31..38,
    41..47,
    50..55,
    61..66,
    71..72,
    81..84,
    91..92,
];

/// The groups in which identity cards are written; the last one may lack the X.
const ID_GROUPS: [&[usize]; 6] = [
    &[18],
    &[6, 8, 4],
    &[6, 4, 4, 4],
    &[6, 12],
    &[14, 4],
    &[3, 3, 4, 4, 4],
];

/// The groups of payment cards besides groups of four: of 14, 15, and 19 digits.
const CARD_GROUPS: [&[usize]; 3] = [&[4, 6, 4], &[4, 6, 5], &[6, 13]];

/// First digits of payment cards, of the lowest and the highest number, and how long those are.
const ISSUERS: [(&str, &str, Range<usize>); 17] = [
    ("2200", "2204", 16..20),
    ("2221", "2720", 16..17),
    ("300", "305", 14..17),
    ("34", "34", 15..16),
    ("3528", "3589", 16..20),
    ("36", "36", 14..20),
    ("37", "37", 15..16),
    ("38", "39", 14..20),
    ("4", "4", 13..20),
    ("50", "50", 13..20),
    ("51", "55", 16..17),
    ("56", "58", 13..20),
    ("60", "60", 16..20),
    ("62", "65", 13..20),
    ("67", "69", 13..20),
    ("81", "82", 16..20),
    ("95", "95", 16..20),
];

pub(super) fn id_cards(shadow: &Shadow, found: &mut Vec<Span>) {
    each_window(shadow, |cells, lengths| {
        let mut digits = shadow.digits(cells.clone());
        let mut end = cells.end;
        // The check digit ten is an X, in the last group or right behind it.
        if digits.len() == 17 && matches!(shadow.at(end), Some('x' | 'X')) {
            digits.push(10);
            end += 1;
        }
        let is_grouped = is_id_grouped(lengths, end - cells.end);
        let is_card = match digits.len() {
            18 => is_grouped && is_id_18(&digits),
            15 => lengths.len() == 1 && is_id_15(&digits),
            _ => false,
        };
        if !is_card || !shadow.is_whole(cells.start..end) {
            return false;
        }
        let keep = Keep { first: 4, last: 4 };
        found.push(Span {
            range: shadow.bytes(cells.start..end),
            keep,
        });
        true
    });
}

pub(super) fn bank_cards(shadow: &Shadow, found: &mut Vec<Span>) {
    each_window(shadow, |cells, lengths| {
        let digits = shadow.digits(cells.clone());
        if !is_card_grouped(lengths) || !is_bank_card(&digits) || !shadow.is_whole(cells.clone()) {
            return false;
        }
        let keep = Keep { first: 0, last: 4 };
        found.push(Span {
            range: shadow.bytes(cells),
            keep,
        });
        true
    });
}

/// Shows every run of neighbouring groups that may be one number, the shortest first, with their
/// lengths. Where one is taken, the next one starts behind it: of a card of 16 digits and a
/// telephone number, the longest would now and then be a card of 19.
fn each_window(shadow: &Shadow, mut take: impl FnMut(Range<usize>, &[usize]) -> bool) {
    let groups = shadow.groups();
    let lengths: Vec<usize> = groups.iter().map(|group| group.range.len()).collect();
    let mut at = 0;
    while at < groups.len() {
        let joined = groups[at + 1..].iter().enumerate().take(GROUPS_MAX - 1);
        let joined = joined.take_while(|(next, group)| {
            let gap = shadow.gap(at + 1 + next);
            group.is_joined && gap.len() == 1 && " -".contains(gap[0].c)
        });
        let most = 1 + joined.count();
        let taken = (1..=most).find(|count| {
            take(
                groups[at].range.start..groups[at + count - 1].range.end,
                &lengths[at..at + count],
            )
        });
        at += taken.unwrap_or(1);
    }
}

/// GB 11643: six digits of a place, eight of a date, three of a sequence, and ISO 7064 MOD 11-2.
fn is_id_18(digits: &[u8]) -> bool {
    // Each weight is twice the one behind it, modulo 11, so one pass from the left does.
    let sum = digits
        .iter()
        .fold(0, |sum, digit| (sum * 2 + u32::from(*digit)) % 11);
    let year = number(&digits[6..10]);
    sum == 1
        && is_province(digits)
        && (1900..2100).contains(&year)
        && is_date(year, number(&digits[10..12]), number(&digits[12..14]))
}

/// The old card: a year of two digits, and no check digit.
fn is_id_15(digits: &[u8]) -> bool {
    let year = 1900 + number(&digits[6..8]);
    is_province(digits) && is_date(year, number(&digits[8..10]), number(&digits[10..12]))
}

fn is_province(digits: &[u8]) -> bool {
    let [first, second, ..] = digits else {
        return false;
    };
    let province = first * 10 + second;
    PROVINCES.iter().any(|range| range.contains(&province))
}

fn is_date(year: u32, month: u32, day: u32) -> bool {
    let is_leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let days = match month {
        2 if is_leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => 0,
    };
    (1..=days).contains(&day)
}

fn number(digits: &[u8]) -> u32 {
    digits.iter().fold(0, |n, digit| n * 10 + u32::from(*digit))
}

fn is_id_grouped(lengths: &[usize], missing: usize) -> bool {
    let Some((last, others)) = lengths.split_last() else {
        return false;
    };
    ID_GROUPS
        .iter()
        .any(|groups| groups.split_last() == Some((&(last + missing), others)))
}

fn is_card_grouped(lengths: &[usize]) -> bool {
    let Some((last, others)) = lengths.split_last() else {
        return false;
    };
    others.is_empty()
        || (others.iter().all(|length| *length == 4) && *last <= 4)
        || CARD_GROUPS.contains(&lengths)
}

fn is_bank_card(digits: &[u8]) -> bool {
    CARD_DIGITS.contains(&digits.len()) && is_issued(digits) && is_luhn(digits)
}

fn is_issued(digits: &[u8]) -> bool {
    ISSUERS.iter().any(|(low, high, lengths)| {
        let first = digits.iter().take(low.len()).map(|digit| digit + b'0');
        lengths.contains(&digits.len()) && first.clone().ge(low.bytes()) && first.le(high.bytes())
    })
}

fn is_luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(at, digit)| {
            let digit = u32::from(*digit);
            match at % 2 {
                0 => digit,
                _ => digit * 2 % 10 + digit * 2 / 10,
            }
        })
        .sum();
    sum.is_multiple_of(10)
}
