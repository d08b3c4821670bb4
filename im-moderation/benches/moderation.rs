//! Scanning and masking, in bytes a second of one core.
//!
//! `IMKIT_WORDS=list.txt` takes a list of words, one a line, instead of 50,000 made up ones;
//! `IMKIT_TEXT=a.txt,b.txt` texts of your own beside the made up ones.

use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};
use im_moderation::mask::Masker;
use im_moderation::words::{Filter, Level, WordList};

/// So much of each text is scanned at a time.
const TEXT_BYTES_MAX: usize = 4 << 20;
/// A message is so long; a text is also scanned piece by piece, as messages come.
const MESSAGE_BYTES: usize = 120;

fn main() {
    let mut criterion = Criterion::default()
        .measurement_time(Duration::from_secs(3))
        .warm_up_time(Duration::from_secs(1))
        .sample_size(10)
        .configure_from_args();
    let words = words();
    let begun = Instant::now();
    let (filter, report) = build(&words);
    println!(
        "{} words kept, {} dropped, first build {:?}, {} KiB",
        report.kept,
        report.dropped.len(),
        begun.elapsed(),
        filter.heap_bytes() >> 10,
    );
    criterion.bench_function("words/build", |b| b.iter(|| build(black_box(&words))));
    for (name, text) in texts() {
        scan(&mut criterion, &filter, &name, &text);
        mask(&mut criterion, &name, &text);
    }
}

fn scan(criterion: &mut Criterion, filter: &Filter, name: &str, text: &str) {
    let hits = filter.scan(text).hits().len();
    println!("{name}: {} bytes, {hits} hits", text.len());
    let mut group = criterion.benchmark_group("words/scan");
    group.throughput(Throughput::Bytes(text.len() as u64));
    group.bench_function(format!("{name}/whole"), |b| {
        b.iter(|| filter.scan(black_box(text)))
    });
    let messages = messages(text);
    group.bench_function(format!("{name}/messages"), |b| {
        b.iter(|| {
            messages
                .iter()
                .map(|message| filter.scan(message).hits().len())
                .sum::<usize>()
        });
    });
    group.finish();
}

fn mask(criterion: &mut Criterion, name: &str, text: &str) {
    let masker = Masker::default();
    let lines: Vec<&str> = text.lines().collect();
    let found: usize = lines.iter().map(|line| masker.mask(line).found.len()).sum();
    println!("{name}: {} lines, {found} masked", lines.len());
    let mut group = criterion.benchmark_group("mask");
    group.throughput(Throughput::Bytes(text.len() as u64));
    group.bench_function(format!("{name}/lines"), |b| {
        b.iter(|| {
            lines
                .iter()
                .map(|line| masker.mask(black_box(line)).found.len())
                .sum::<usize>()
        });
    });
    group.finish();
}

fn build(words: &str) -> (Filter, im_moderation::words::Report) {
    let mut list = WordList::new();
    list.add_lines(words, Level::Refuse);
    list.build().unwrap_or_else(|error| panic!("{error}"))
}

fn words() -> String {
    if let Ok(path) = std::env::var("IMKIT_WORDS") {
        return read(Path::new(&path));
    }
    let mut seed = 7;
    let mut line = |_| {
        let han = next(&mut seed) % 5 < 3;
        let length = 2 + next(&mut seed) % if han { 8 } else { 12 };
        let word: String = (0..length)
            .map(|_| {
                if han {
                    han_letter(&mut seed)
                } else {
                    latin(&mut seed)
                }
            })
            .collect();
        word + "\n"
    };
    (0..50_000).map(&mut line).collect()
}

fn texts() -> Vec<(String, String)> {
    let mut seed = 11;
    let mut chinese = String::new();
    let mut english = String::new();
    while chinese.len() < TEXT_BYTES_MAX / 4 {
        chinese.push(han_letter(&mut seed));
        if next(&mut seed).is_multiple_of(12) {
            chinese.push('，');
        }
    }
    while english.len() < TEXT_BYTES_MAX / 4 {
        english.push(latin(&mut seed));
        if next(&mut seed).is_multiple_of(6) {
            english.push(' ');
        }
    }
    let mut texts = vec![
        ("made-up-zh".to_owned(), chinese),
        ("made-up-en".to_owned(), english),
    ];
    let paths = std::env::var("IMKIT_TEXT").unwrap_or_default();
    for path in paths
        .split(',')
        .filter(|path| !path.is_empty())
        .map(Path::new)
    {
        let mut text = read(path);
        text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        texts.push((name.into_owned(), text));
    }
    texts
}

fn messages(text: &str) -> Vec<&str> {
    let mut messages = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (message, others) = rest.split_at(rest.floor_char_boundary(MESSAGE_BYTES).max(1));
        messages.push(message);
        rest = others;
    }
    messages
}

fn read(path: &Path) -> String {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Of 3,000 characters, some more often than others.
fn han_letter(seed: &mut u64) -> char {
    let at = (next(seed) % 3000)
        .min(next(seed) % 3000)
        .min(next(seed) % 3000);
    char::from_u32(0x4e00 + u32::try_from(at).unwrap_or(0) * 6).unwrap_or('一')
}

fn latin(seed: &mut u64) -> char {
    let letters = b"etaoinshrdlucmfwypvbgkjqxz";
    let at = (next(seed) % 26).min(next(seed) % 26);
    char::from(letters[usize::try_from(at).unwrap_or(0)])
}

/// Xorshift: the same texts in every run.
fn next(seed: &mut u64) -> u64 {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    *seed >> 8
}
