//! Every node goes and comes back, one of them by a crash, while all people write.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use im_client::Client;
use imkit::core::model::{Body, ConversationId, Seq, Target};

use crate::Result;
use crate::nodes::{COUNT, Nodes};
use crate::people::Person;
use crate::scenes::{NAMES, say};

/// The wait between two messages of one person.
const PAUSE: Duration = Duration::from_millis(20);
/// The wait before a node goes.
const QUIET: Duration = Duration::from_millis(700);
/// Which one crashes.
const CRASHES: usize = 1;

/// See the [module](self).
///
/// # Errors
/// When anything that was answered `sent` is missing, doubled or out of order at anybody.
pub(crate) async fn show(nodes: &mut Nodes, conv: &ConversationId, count: u32) -> Result<()> {
    let began = Instant::now();
    let (mut writers, mut readers) = (Vec::new(), Vec::new());
    for name in NAMES {
        let person = Person::anywhere(nodes, name).await?;
        writers.push(tokio::spawn(write(
            person.client.clone(),
            conv.clone(),
            name,
            count,
        )));
        let total = NAMES.len() * count as usize;
        readers.push(tokio::spawn(read(person, conv.clone(), total)));
    }
    for at in 0..COUNT {
        tokio::time::sleep(QUIET).await;
        if at == CRASHES {
            nodes.crash(at).await?;
        } else {
            nodes.restart(at).await?;
        }
    }
    let mut sent = BTreeSet::new();
    for writer in writers {
        sent.extend(writer.await??);
    }
    for reader in readers {
        check(&reader.await??, &sent)?;
    }
    say(
        "every node restarted, one crashed, all write",
        &format!(
            "{} sent in {:.1} s, each at all three: 0 lost, 0 doubled, in order",
            sent.len(),
            began.elapsed().as_secs_f64()
        ),
    );
    Ok(())
}

/// Writes, and gives what was answered.
async fn write(
    client: Client,
    conv: ConversationId,
    name: &str,
    count: u32,
) -> Result<Vec<(Seq, String)>> {
    let mut sent = Vec::new();
    for n in 0..count {
        let text = format!("{name} {n}");
        let to = Target::Conversation(conv.clone());
        let answer = client.send(to, Body::text(&text)).await?;
        sent.push((answer.seq, text));
        tokio::time::sleep(PAUSE).await;
    }
    Ok(sent)
}

/// Hears so many of the texts that are written.
async fn read(
    mut person: Person,
    conv: ConversationId,
    total: usize,
) -> Result<Vec<(Seq, String)>> {
    let mut heard = Vec::new();
    while heard.len() < total {
        let (seq, text) = person.hear_text(&conv).await?;
        // The scenes before had other words.
        let is_written = text.split_once(' ').is_some_and(|(name, n)| {
            NAMES.contains(&name) && n.bytes().all(|byte| byte.is_ascii_digit())
        });
        if is_written {
            heard.push((seq, text));
        }
    }
    person.client.close().await;
    Ok(heard)
}

fn check(heard: &[(Seq, String)], sent: &BTreeSet<(Seq, String)>) -> Result<()> {
    if !heard.is_sorted() {
        return Err("somebody heard messages out of order".into());
    }
    let once: BTreeSet<_> = heard.iter().cloned().collect();
    let (lost, more) = (sent.difference(&once).count(), heard.len() - once.len());
    if lost + more > 0 || once.len() != sent.len() {
        return Err(format!("{lost} lost, {more} doubled").into());
    }
    Ok(())
}
