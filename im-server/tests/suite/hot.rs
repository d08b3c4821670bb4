//! Three nodes with a hot tier before PostgreSQL, in both durabilities: `IMKIT_TEST_POSTGRES_URL`
//! and `IMKIT_TEST_REDIS_URL` say where these are. What befalls a tier is `faults/hot.rs`'s.

use im_client::{Client, Events, Sent};
use im_core::model::{CmId, ConversationId, Draft, Target};

use crate::cluster::{Place, texts};
use crate::shards::Databases;

/// Messages of each person to the group, and of one to another.
const EACH: usize = 20;

/// With a database of its own: two tiers on one would take each other's logs for lost.
fn tier(databases: &Databases, durability: &str) -> Option<Place> {
    let [database, _] = databases.urls();
    let redis = "IMKIT_TEST_REDIS_URL";
    let place = Place::stored_in(&database, &format!("hot-{durability}"), redis, redis)?;
    place.with_tier(redis, durability)
}

fn draft(cm_id: &str, to: &Target) -> Draft {
    // They grow, as those of `Client::send` do.
    let id = CmId::new(cm_id.replace(' ', "-")).unwrap();
    Draft::text(id, to.clone(), cm_id)
}

/// Sends one message after the other; the answers.
async fn write(client: Client, to: Target, name: &'static str) -> Vec<Sent> {
    let mut sent = Vec::new();
    for n in 0..EACH {
        let draft = draft(&format!("{name} {n:03}"), &to);
        sent.push(client.send_draft(draft).await.unwrap());
    }
    sent
}

/// Everybody is told the same, each message where its answer said.
async fn all_hear(events: &mut [Events], conv: &ConversationId, sent: &[Sent]) {
    let mut expected: Vec<_> = sent
        .iter()
        .map(|it| (it.seq, it.cm_id.as_str().replace('-', " ")))
        .collect();
    expected.sort();
    for events in events {
        assert_eq!(texts(events, conv, sent.len()).await, expected);
    }
}

async fn nodes_share_a_tier(durability: &str) {
    let Some(databases) = Databases::new(&format!("hot_{durability}")).await else {
        return;
    };
    if let Some(place) = tier(&databases, durability) {
        nodes_share(&place).await;
    }
    databases.remove().await;
}

async fn nodes_share(place: &Place) {
    let mut nodes = ["n1", "n2", "n3"].map(|name| place.node(name, "127.0.0.1:0"));
    let (ann, of_ann) = place.client(&nodes[0], "ann").await;
    let (bo, of_bo) = place.client(&nodes[1], "bo").await;
    let (cy, of_cy) = place.client(&nodes[2], "cy").await;
    let mut events = [of_ann, of_bo, of_cy];
    let conv = place.group(&ann).await;
    let to = Target::Conversation(conv.clone());
    let (of_ann, of_bo, of_cy) = tokio::join!(
        write(ann.clone(), to.clone(), "ann"),
        write(bo.clone(), to.clone(), "bo"),
        write(cy, to.clone(), "cy"),
    );
    let mut sent = [of_ann, of_bo, of_cy].concat();
    all_hear(&mut events, &conv, &sent).await;
    let to_cy = Target::User(place.user("cy").parse().unwrap());
    let direct = write(bo, to_cy, "psst").await;
    all_hear(&mut events[1..], &direct[0].conv, &direct).await;

    // The same message again, of another device, to another node.
    let (tablet, _events) = place.device(&nodes[1], "ann", "tablet").await;
    for first in [&sent[0], &sent[EACH - 1]] {
        let again = draft(&first.cm_id.as_str().replace('-', " "), &to);
        let again = tablet.send_draft(again).await.unwrap();
        assert!(again.dup);
        assert_eq!(
            (again.seq, again.id, again.at),
            (first.seq, first.id, first.at)
        );
    }

    // The node dies, and its name is free only when its lease is over.
    let listen = nodes[0].address.to_string();
    nodes[0].signal(libc::SIGKILL);
    nodes[0].wait();
    nodes[0] = place.node("n1-again", &listen);
    let after = ann.send_draft(draft("ann 100", &to)).await.unwrap();
    sent.push(after);
    let (_client, of_late) = place.device(&nodes[2], "bo", "late").await;
    all_hear(&mut [of_late], &conv, &sent).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_share_a_tier_that_answers_when_the_database_has_it() {
    nodes_share_a_tier("committed").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_share_a_tier_that_answers_by_itself() {
    nodes_share_a_tier("cached").await;
}
