//! What one node can do, three can.

use std::time::{Duration, Instant};

use im_client::{Event, Stopped};
use imkit::core::model::{ConversationId, Target, UserId, Value};

use crate::Result;
use crate::nodes::Nodes;
use crate::people::{Person, text_in};

/// Who is on which node.
pub(crate) const NAMES: [&str; 3] = ["ann", "bo", "cy"];

/// Plays every scene and says what it took.
///
/// # Errors
/// At the first that does not go as it should.
pub(crate) async fn show(nodes: &Nodes) -> Result<ConversationId> {
    let mut people = Vec::new();
    for (at, name) in NAMES.into_iter().enumerate() {
        people.push(Person::at(nodes, name, at).await?);
    }
    direct(&mut people).await?;
    let conv = group(&mut people).await?;
    signs(&mut people, &conv).await?;
    membership(&mut people, &conv).await?;
    presence(&mut people).await?;
    one_device(nodes, &mut people).await?;
    for person in people {
        person.client.close().await;
    }
    Ok(conv)
}

async fn direct(people: &mut [Person]) -> Result<()> {
    let to = Target::User(UserId::new(&*people[1].id)?);
    let began = Instant::now();
    let (conv, seq) = people[0].say(to, "hello, node 2").await?;
    let heard = people[1].hear_text(&conv).await?;
    same(heard, (seq, "hello, node 2".to_owned()))?;
    say("a direct message, node 1 → node 2", &took(began.elapsed()));
    Ok(())
}

async fn group(people: &mut [Person]) -> Result<ConversationId> {
    let members = people[1..].iter().map(|person| Value::from(&*person.id));
    let members = Value::from(members.collect::<Vec<_>>());
    let params = [("title", Value::from("Three nodes")), ("members", members)];
    let made = people[0].call("groups.create", &params).await?;
    let conv = made.get("conv").and_then(Value::as_text);
    let conv = ConversationId::new(conv.ok_or("no group was made")?)?;
    let mut slowest = Duration::ZERO;
    for from in 0..people.len() {
        let began = Instant::now();
        let text = format!("from node {}", from + 1);
        let to = Target::Conversation(conv.clone());
        let (seq, said) = (people[from].say(to, &text).await?.1, text);
        for person in people.iter_mut() {
            same(person.hear_text(&conv).await?, (seq, said.clone()))?;
        }
        slowest = slowest.max(began.elapsed());
    }
    say(
        "a group over three nodes, one message from each",
        &format!("all hear all, slowest {}", took(slowest)),
    );
    Ok(conv)
}

async fn signs(people: &mut [Person], conv: &ConversationId) -> Result<()> {
    let to = Target::Conversation(conv.clone());
    let (_, seq) = people[0].say(to, "read me").await?;
    people[1].hear_text(conv).await?;
    let began = Instant::now();
    people[1].client.read(conv.clone(), seq).await;
    let reader = people[1].id.clone();
    let is_read = |event: &Event| match event {
        Event::Receipt { user, read, .. } if user.as_str() == reader => {
            (*read == Some(seq)).then_some(())
        }
        _ => None,
    };
    people[0].hear(is_read).await?;
    say("a read receipt, node 2 → node 1", &took(began.elapsed()));
    let began = Instant::now();
    people[2].client.typing(conv.clone());
    let types = |event: &Event| matches!(event, Event::Typing { .. }).then_some(());
    people[0].hear(types).await?;
    say("somebody types, node 3 → node 1", &took(began.elapsed()));
    Ok(())
}

async fn membership(people: &mut [Person], conv: &ConversationId) -> Result<()> {
    let users = Value::from(vec![Value::from(&*people[2].id)]);
    let params = [("conv", Value::from(conv.as_str())), ("users", users)];
    people[0].call("groups.remove", &params).await?;
    let left = |event: &Event| matches!(event, Event::Left { .. }).then_some(());
    people[2].hear(left).await?;
    let to = || Target::Conversation(conv.clone());
    people[1].say(to(), "without cy").await?;
    people[0].call("groups.add", &params).await?;
    people[1].say(to(), "with cy again").await?;
    // What was said in between is in the history that newcomers of this group see.
    let news = |event: &Event| text_in(event, conv).filter(|(_, text)| text == "with cy again");
    people[2].hear(news).await?;
    say(
        "removed and added again, node 1 → node 3",
        "as it should be",
    );
    Ok(())
}

/// Those who talk to each other directly may ask.
async fn presence(people: &mut [Person]) -> Result<()> {
    let users = Value::from(vec![Value::from(&*people[1].id)]);
    let began = Instant::now();
    people[0]
        .call("presence.watch", &[("users", users)])
        .await?;
    let watched = people[1].id.clone();
    let is_online = |event: &Event| match event {
        Event::Presence { user, state, .. } if user.as_str() == watched => {
            (state == "online").then_some(())
        }
        _ => None,
    };
    people[0].hear(is_online).await?;
    say("who is online, node 2 → node 1", &took(began.elapsed()));
    Ok(())
}

/// The same device on another node: the older connection is closed.
async fn one_device(nodes: &Nodes, people: &mut [Person]) -> Result<()> {
    let began = Instant::now();
    let again = Person::at(nodes, NAMES[0], 2).await?;
    let stopped = |event: &Event| match event {
        Event::Stopped(why) => Some(matches!(why, Stopped::Replaced)),
        _ => None,
    };
    if !people[0].hear(stopped).await? {
        return Err("the older connection ended for another reason".into());
    }
    again.client.close().await;
    say(
        "one device on two nodes: the older is replaced",
        &took(began.elapsed()),
    );
    Ok(())
}

fn same<T: PartialEq + std::fmt::Debug>(heard: T, said: T) -> Result<()> {
    if heard == said {
        return Ok(());
    }
    Err(format!("{heard:?} was heard, {said:?} was said").into())
}

fn took(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1_000.0)
}

/// One line of the show.
pub(crate) fn say(what: &str, outcome: &str) {
    println!("  {what:<50} {outcome}");
}
