//! Figures of several runs, as a table that can go into `docs/benchmarks.md`.

use std::fmt::Write as _;

use hdrhistogram::Histogram;

use crate::Result;
use crate::faults::Faults;
use crate::options::Options;
use crate::target::{Running, Subject};

/// Longest that one run of one subject may take.
const RUN_LIMIT: std::time::Duration = std::time::Duration::from_secs(1800);
/// Above this share of its core the generator limits what is measured, in per cent.
pub(crate) const SATURATED: f64 = 90.0;
/// The row that says how busy the generator was.
pub(crate) const GENERATOR: &str = "generator, % of a core";

/// What one run of one subject gave.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) figures: Vec<(String, f64)>,
    pub(crate) faults: Faults,
}

impl Outcome {
    pub(crate) fn figure(&mut self, name: impl Into<String>, value: f64) {
        self.figures.push((name.into(), value));
    }

    /// The quantiles of latencies that were recorded in microseconds, as milliseconds.
    pub(crate) fn quantiles(&mut self, name: &str, times: &Histogram<u64>, which: &[f64]) {
        for quantile in which {
            let value = times.value_at_quantile(quantile / 100.0) as f64 / 1000.0;
            self.figure(format!("{name} p{quantile}, ms"), value);
        }
    }
}

/// A goal of ours, on a row of the table.
#[derive(Debug)]
pub(crate) struct Goal {
    pub(crate) row: String,
    pub(crate) at_most: f64,
    pub(crate) of: Of,
}

/// What a goal's figure is of the medians.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Of {
    /// The last subject's own.
    Itself,
    /// As a multiple of the first subject's.
    First,
    /// What it is over the first subject's.
    OverFirst,
}

/// Measures each subject several times, alternately, and prints the table. Returns false when a
/// run is void.
pub(crate) async fn compare(
    options: &Options,
    title: &str,
    (runs, subjects, size): (u32, &[Subject], usize),
    goals: &[Goal],
    run: impl AsyncFn(&Running) -> Result<Outcome>,
) -> Result<bool> {
    let runs = options.runs(runs);
    let subjects = options.subjects(subjects);
    let mut columns: Vec<Vec<Outcome>> = subjects.iter().map(|_| Vec::new()).collect();
    for number in 0..runs {
        let mut order: Vec<usize> = (0..subjects.len()).collect();
        if number % 2 == 1 {
            order.reverse();
        }
        for index in order {
            let subject = subjects[index];
            eprintln!("{title}: run {} of {runs}, {subject}", number + 1);
            let running = Running::start(options, subject, size).await?;
            let outcome = match tokio::time::timeout(RUN_LIMIT, run(&running)).await {
                Ok(Ok(outcome)) => outcome,
                Ok(Err(error)) => {
                    let log = running.log_tail();
                    return Err(format!("{title}, {subject}: {error}\n{log}").into());
                }
                Err(_) => return Err(format!("{title}, {subject}: over the time limit").into()),
            };
            columns[index].push(outcome);
        }
    }
    println!("\n### {title}\n\n{}", table(&subjects, &columns));
    for goal in goals {
        println!("{}", judge(goal, &subjects, &columns));
    }
    let faults = columns.iter().flatten().map(|outcome| &outcome.faults);
    Ok(!faults.into_iter().any(Faults::void))
}

fn table(subjects: &[Subject], columns: &[Vec<Outcome>]) -> String {
    let both = subjects.len() == 2;
    let mut text = String::from("| min / median / max |");
    for subject in subjects {
        text += &format!(" {subject} |");
    }
    text += if both {
        " ratio |\n| --- |"
    } else {
        "\n| --- |"
    };
    text += &" ---: |".repeat(subjects.len() + usize::from(both));
    for name in names(columns) {
        text += &format!("\n| {name} |");
        for column in columns {
            text += &match spread(column, &name) {
                Some([min, median, max]) if column.len() > 1 => {
                    format!(" {} / **{}** / {} |", show(min), show(median), show(max))
                }
                Some([_, median, _]) => format!(" **{}** |", show(median)),
                None => " – |".to_owned(),
            };
        }
        if both {
            text += &match ratio(columns, &name) {
                Some(ratio) => format!(" {ratio:.2} |"),
                None => " – |".to_owned(),
            };
        }
    }
    for (what, count) in FAULTS {
        text += &format!("\n| {what} |");
        for column in columns {
            let sum: u64 = column.iter().map(|outcome| count(&outcome.faults)).sum();
            text += &format!(" {sum} |");
        }
        text += if both { " |" } else { "" };
    }
    text + "\n" + &remarks(subjects, columns)
}

type Count = fn(&Faults) -> u64;
const FAULTS: [(&str, Count); 7] = [
    ("lost", |faults| faults.lost),
    ("doubled", |faults| faults.doubled),
    ("reordered", |faults| faults.reordered),
    ("corrupt", |faults| faults.corrupt),
    ("refused", |faults| faults.refused),
    ("closed", |faults| faults.closed),
    ("`behind` (allowed)", |faults| faults.behind),
];

/// What a reader must know before believing the table.
fn remarks(subjects: &[Subject], columns: &[Vec<Outcome>]) -> String {
    let mut text = String::new();
    for (subject, column) in subjects.iter().zip(columns) {
        // Writing to a string can't fail.
        for outcome in column.iter().filter(|outcome| outcome.faults.void()) {
            let first = outcome
                .faults
                .first
                .as_deref()
                .unwrap_or("messages are missing");
            let _ = writeln!(text, "\nVOID, {subject}: {first}");
        }
        if spread(column, GENERATOR).is_some_and(|[_, _, max]| max > SATURATED) {
            let _ = writeln!(
                text,
                "\n{subject}: the generator's core was over {SATURATED} % busy, so rates are \
                 lower bounds and latencies upper ones; CPU per message holds."
            );
        }
    }
    text
}

fn judge(goal: &Goal, subjects: &[Subject], columns: &[Vec<Outcome>]) -> String {
    let (row, limit) = (&goal.row, goal.at_most);
    let first = subjects.first().map(Subject::to_string).unwrap_or_default();
    let (value, unit) = match goal.of {
        Of::Itself => (own(row, subjects, columns), String::new()),
        Of::First => (ratio(columns, row), format!(" x the {first}'s")),
        Of::OverFirst => (over(columns, row), format!(" over the {first}'s")),
    };
    match value {
        Some(value) if value <= limit => {
            format!("goal {row} <= {limit}{unit}: reached ({value:.2})")
        }
        Some(value) => format!("goal {row} <= {limit}{unit}: NOT reached ({value:.2})"),
        None => format!("goal {row} <= {limit}{unit}: not measured"),
    }
}

/// The median of the last subject, if that is not the relay.
fn own(row: &str, subjects: &[Subject], columns: &[Vec<Outcome>]) -> Option<f64> {
    let last = subjects.last().filter(|it| **it != Subject::Relay);
    last.and_then(|_| median(columns.last()?, row))
}

/// The rows, in the order in which they first appear.
fn names(columns: &[Vec<Outcome>]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for (name, _) in columns
        .iter()
        .flatten()
        .flat_map(|outcome| &outcome.figures)
    {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    names
}

fn ratio(columns: &[Vec<Outcome>], name: &str) -> Option<f64> {
    let (first, last) = medians(columns, name)?;
    (first > 0.0).then(|| last / first)
}

fn over(columns: &[Vec<Outcome>], name: &str) -> Option<f64> {
    let (first, last) = medians(columns, name)?;
    Some(last - first)
}

fn medians(columns: &[Vec<Outcome>], name: &str) -> Option<(f64, f64)> {
    let [first, last] = columns else {
        return None;
    };
    Some((median(first, name)?, median(last, name)?))
}

fn median(column: &[Outcome], name: &str) -> Option<f64> {
    spread(column, name).map(|[_, median, _]| median)
}

/// Smallest, median and largest of a row.
fn spread(column: &[Outcome], name: &str) -> Option<[f64; 3]> {
    let figures = column.iter().flat_map(|outcome| &outcome.figures);
    let mut values: Vec<f64> = figures
        .filter(|(known, _)| known == name)
        .map(|(_, value)| *value)
        .collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let median = match values.len() % 2 {
        _ if values.is_empty() => return None,
        0 => f64::midpoint(values[middle - 1], values[middle]),
        _ => values[middle],
    };
    Some([*values.first()?, median, *values.last()?])
}

/// A number with three digits that matter, thousands set apart.
fn show(value: f64) -> String {
    let size = value.abs();
    if size < 100.0 {
        let places = if size < 10.0 { 2 } else { 1 };
        return format!("{value:.places$}");
    }
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) && digit.is_ascii_digit() {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
