//! Webhooks against a real server.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use im_core::machine::Backoff;
use im_core::model::{Body, Kind, Value};
use im_core::port::Clock;
use im_out::{Address, Allow, Endpoint, FollowSettings, Reach, Signer, Sink, Webhook};
use ring::hmac;

use super::http::{Does, Got, Server};
use super::kit::{START_MS, World};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const OLD: &str = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

fn sink(world: &World, server: &Server, events: Option<&[&str]>) -> Arc<dyn Sink> {
    let allow = Allow {
        private: true,
        plain: true,
    };
    let endpoint = Endpoint {
        address: Address::parse(&server.url("/hook"), allow).unwrap(),
        signer: Signer::parse(SECRET, Some(OLD)).unwrap(),
        events: events.map(|events| events.iter().map(|&event| event.to_owned()).collect()),
    };
    let reach = Reach::new(allow)
        .unwrap()
        .deadline(Duration::from_millis(300));
    let clock = Arc::clone(&world.clock) as Arc<dyn Clock>;
    Arc::new(Webhook::new(endpoint, reach, clock))
}

fn quick() -> FollowSettings {
    let ms = Duration::from_millis;
    FollowSettings {
        every: ms(20),
        lease: ms(200),
        backoff: Backoff::new(ms(50), ms(100)),
        ..FollowSettings::default()
    }
}

/// What a receiver does: checks, and only then reads.
fn checked(got: &Got) -> Value {
    let text = std::str::from_utf8(&got.body).unwrap();
    let (id, at) = (
        got.header("webhook-id").unwrap(),
        got.header("webhook-timestamp").unwrap(),
    );
    assert_eq!(at, (START_MS / 1_000).to_string());
    for secret in [SECRET, OLD] {
        let secret = STANDARD.decode(&secret[6..]).unwrap();
        let key = hmac::Key::new(hmac::HMAC_SHA256, &secret);
        let tag = hmac::sign(&key, format!("{id}.{at}.{text}").as_bytes());
        let signed = format!("v1,{}", STANDARD.encode(tag));
        let all = got.header("webhook-signature").unwrap();
        assert!(all.split(' ').any(|one| one == signed), "{all}");
    }
    Value::from_json(text).unwrap()
}

fn kinds(got: &[Got]) -> Vec<String> {
    let kind = |got| {
        checked(got)
            .get("type")
            .unwrap()
            .as_text()
            .unwrap()
            .to_owned()
    };
    got.iter().map(kind).collect()
}

#[tokio::test]
async fn every_entry_is_posted_signed_and_in_order() {
    let world = World::new();
    let server = Server::new(Does::Says(200)).await;
    let follower = world
        .follower("one", sink(&world, &server, None))
        .settings(quick());
    let following = tokio::spawn(follower.run());
    tokio::time::sleep(Duration::from_millis(100)).await;
    world.make("g", &["al", "bo"]).await;
    world.say("g", "al", "<script>alert(1)</script>").await;
    let recall = Body::of(Kind::Recall, [("target", Value::from(1_u64))]);
    world.entry("g", "al", recall).await;
    let got = server.until(2).await;
    assert_eq!(kinds(&got), ["message.sent", "message.recalled"]);
    let said = checked(&got[0]);
    let data = said.get("data").unwrap();
    assert_eq!(data.get("conv").unwrap().as_text(), Some("g"));
    assert_eq!(data.get("seq").unwrap().as_int(), Some(1));
    assert_ne!(got[0].header("webhook-id"), got[1].header("webhook-id"));
    following.abort();
}

#[tokio::test]
async fn what_fails_comes_again_under_the_same_id_and_before_what_follows() {
    let world = World::new();
    let server = Server::new(Does::Says(500)).await;
    let events: &[&str] = &["message.sent"];
    let follower = world
        .follower("one", sink(&world, &server, Some(events)))
        .settings(quick());
    let following = tokio::spawn(follower.run());
    tokio::time::sleep(Duration::from_millis(100)).await;
    world.make("g", &["al", "bo"]).await;
    world.say("g", "al", "one").await;
    let react = Body::of(Kind::React, [("target", Value::from(1_u64))]);
    world.entry("g", "bo", react).await;
    world.say("g", "al", "two").await;
    let got = server.until(2).await;
    server.does(Does::Nothing);
    server.until(got.len() + 1).await;
    server.does(Does::Says(204));
    let wait = async {
        let two = |got: &Got| String::from_utf8_lossy(&got.body).contains("\"two\"");
        while !server.got().iter().any(two) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), wait)
        .await
        .unwrap();
    let got = server.got();
    let ids: Vec<_> = got
        .iter()
        .map(|got| got.header("webhook-id").unwrap())
        .collect();
    let (last, before) = ids.split_last().unwrap();
    assert!(before.len() >= 4, "{ids:?}");
    assert!(before.iter().all(|id| *id == "msg_1"), "{ids:?}");
    assert_eq!(*last, "msg_3");
    following.abort();
}
