//! Appends: log by log, in as few scripts as can be, none of which keeps others waiting for long.

use std::collections::HashMap;
use std::fmt::Write as _;

use futures_util::future::join_all;
use im_core::model::{CmId, ConversationId, Seq};
use im_core::port::{HotAnswer, HotCommit, PortError};

use super::lanes::Part;
use super::words::{write_entry, write_id, write_stored};
use super::{RedisHot, millis, places};
use crate::link::Call;

/// Commits of one script: others of the server wait while it runs.
const COMMITS_MAX: usize = 256;

impl RedisHot {
    /// Commits of one log keep their order, also over several scripts.
    pub(super) async fn append_all(
        &self,
        commits: &[HotCommit],
    ) -> Vec<Result<HotAnswer, PortError>> {
        let mut answers: Vec<_> = commits.iter().map(|_| Ok(HotAnswer::Later)).collect();
        let all = by_log(commits);
        let mut logs: Vec<&[usize]> = all.iter().map(Vec::as_slice).collect();
        while !logs.is_empty() {
            let first = |log: &&[usize]| log.len().min(COMMITS_MAX);
            let now: Vec<&[usize]> = logs.iter().map(|log| &log[..first(log)]).collect();
            let weights = now.iter().map(|log| (&commits[log[0]].conv, log.len()));
            let parts = self.lanes.parts(weights, COMMITS_MAX);
            let run = parts
                .iter()
                .map(|part| self.append_some(part, &now, commits));
            let found = join_all(run).await;
            let mut rest = Vec::new();
            for (part, found) in parts.iter().zip(found) {
                let logs = part.items.iter().map(|(log, _)| logs[*log]);
                match found {
                    Ok(found) => rest.extend(note(&mut answers, logs.zip(found))),
                    Err(error) => {
                        for at in logs.flatten() {
                            answers[*at] = Err(error.clone());
                        }
                    }
                }
            }
            logs = rest;
        }
        answers
    }

    /// One script; the answers of each of its logs.
    async fn append_some(
        &self,
        part: &Part,
        logs: &[&[usize]],
        commits: &[HotCommit],
    ) -> Result<Vec<Vec<HotAnswer>>, PortError> {
        let options = &self.options;
        let mut call = part.call(&self.scripts.append, &self.lanes);
        call.arg((options.backlog_max / self.lanes.count() as u64).max(1))
            .arg(millis(options.backlog_for))
            .arg(millis(options.idle) / 8);
        let mut text = String::new();
        for (log, lane) in &part.items {
            let log = logs[*log];
            call.arg(lane)
                .arg(commits[log[0]].conv.as_str())
                .arg(log.len());
            for at in log {
                add_commit(&mut call, &mut text, &commits[*at]);
            }
        }
        let mut found = self.run(call).await?;
        let answers = part.items.iter().map(|(log, _)| {
            let answers = logs[*log].iter().map(|_| found.answer());
            answers.collect()
        });
        answers.collect()
    }
}

/// The places of the commits of each log.
fn by_log(commits: &[HotCommit]) -> Vec<Vec<usize>> {
    let mut known: HashMap<&ConversationId, usize> = HashMap::new();
    let mut logs: Vec<Vec<usize>> = Vec::new();
    for (at, commit) in commits.iter().enumerate() {
        let log = *known.entry(&commit.conv).or_insert_with(|| {
            logs.push(Vec::new());
            logs.len() - 1
        });
        logs[log].push(at);
    }
    logs
}

/// Notes the answers to the first commits of logs; what is left of each to be done. What is behind
/// one that must come again has to wait, and not overtake it in another script.
fn note<'a>(
    answers: &mut [Result<HotAnswer, PortError>],
    logs: impl Iterator<Item = (&'a [usize], Vec<HotAnswer>)>,
) -> Vec<&'a [usize]> {
    let mut rest = Vec::new();
    for (log, found) in logs {
        let more = &log[found.len()..];
        if !more.is_empty() && !found.iter().any(HotAnswer::is_to_come_again) {
            rest.push(more);
        }
        for (at, answer) in log.iter().zip(found) {
            answers[*at] = Ok(answer);
        }
    }
    rest
}

/// `text` is what the parts are written in, one after the other.
fn add_commit(call: &mut Call<'_>, text: &mut String, commit: &HotCommit) {
    let mut add = |call: &mut Call<'_>, write: &dyn Fn(&mut String)| {
        text.clear();
        write(text);
        call.arg(&**text);
    };
    add(call, &|text| write_head(text, commit));
    for entry in &commit.entries {
        add(call, &|text| write_id(text, entry));
        add(call, &|text| write_stored(text, entry));
        add(call, &|text| write_entry(text, entry));
    }
    for (user, floor) in &commit.floors {
        let floor = floor.as_ref().map(CmId::as_str);
        let floor = floor.map_or_else(String::new, |floor| format!("={floor}"));
        call.arg(user.as_str()).arg(floor);
    }
    for to in &commit.cursors {
        let (delivered, read) = places(to);
        call.arg(to.user.as_str()).arg(delivered).arg(read);
    }
}

/// What a commit expects, and of how many parts it is.
fn write_head(text: &mut String, commit: &HotCommit) {
    let seq = |seq: Option<Seq>| seq.map_or_else(|| "-".to_owned(), |seq| seq.to_string());
    let _ = write!(
        text,
        "{} {} {} {} {} {}",
        seq(commit.expect_version),
        u8::from(commit.has_actor),
        seq(commit.asked),
        commit.entries.len(),
        commit.floors.len(),
        commit.cursors.len()
    );
}
