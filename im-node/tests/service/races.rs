//! Two at once.

use std::sync::Arc;

use im_core::frame::ErrorCode;
use im_core::model::{ConversationId, Value};
use im_core::port::Store;

use super::kit::{World, int, text, user};

const TEXT: &str = r#"{"kind":"text","text":"x"}"#;
/// Rounds of a race: each meets another order of the two.
const ROUNDS: usize = 25;

/// Everything at once, from tasks of their own.
async fn at_once(
    world: &Arc<World>,
    calls: Vec<(String, &'static str, String)>,
) -> Vec<Result<Value, ErrorCode>> {
    let spawned = calls.into_iter().map(|(who, method, params)| {
        let world = Arc::clone(world);
        tokio::spawn(async move { world.call(&who, method, &params).await })
    });
    let mut results = Vec::new();
    for task in spawned.collect::<Vec<_>>() {
        results.push(task.await.unwrap());
    }
    results
}

fn of(conv: &ConversationId, rest: &str) -> String {
    format!(r#"{{"conv":"{}"{rest}}}"#, conv.as_str())
}

async fn members(world: &World, g: &ConversationId) -> usize {
    world.store.members(g, None, 1_000).await.unwrap().len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_link_for_one_lets_one_in() {
    let world = Arc::new(World::new().await);
    for round in 0..ROUNDS {
        let g = world.group("al", &[]).await;
        let uses = 1 + round % 3;
        let made = world
            .does_in("al", "invites.create", &g, &format!(r#","uses":{uses}"#))
            .await;
        let link = format!(r#"{{"token":"{}"}}"#, text(&made, "token"));
        let calls = (0..8).map(|n| (format!("u{n}"), "invites.join", link.clone()));
        let results = at_once(&world, calls.collect()).await;
        let came = results.iter().filter(|result| result.is_ok()).count();
        assert_eq!((came, members(&world, &g).await), (uses, uses + 1));
        for refused in results.into_iter().filter_map(Result::err) {
            assert!(matches!(refused, ErrorCode::NotFound | ErrorCode::Conflict));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_last_seat_is_taken_once() {
    let world = Arc::new(World::new().await);
    for _ in 0..ROUNDS {
        let g = world.group("al", &[]).await;
        world
            .does_in("al", "groups.set", &g, r#","join":"open","members_max":3"#)
            .await;
        let calls = (0..6).map(|n| (format!("u{n}"), "groups.join", of(&g, "")));
        at_once(&world, calls.collect()).await;
        assert!(members(&world, &g).await <= 3);
        let is = world.does_in("al", "conv.get", &g, "").await;
        assert_eq!(int(&is, "members") as usize, members(&world, &g).await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_is_banned_while_they_come_is_out() {
    let world = Arc::new(World::new().await);
    for _ in 0..ROUNDS {
        let g = world.group("al", &[]).await;
        world
            .does_in("al", "groups.set", &g, r#","join":"open""#)
            .await;
        let calls = vec![
            ("bo".to_owned(), "groups.join", of(&g, "")),
            ("al".to_owned(), "groups.ban", of(&g, r#","user":"bo""#)),
        ];
        let results = at_once(&world, calls).await;
        assert!(results[1].is_ok());
        assert_eq!(members(&world, &g).await, 1);
        world
            .fails_in("bo", "groups.join", &g, "", ErrorCode::Forbidden)
            .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_request_is_answered_once_whoever_answers() {
    let world = Arc::new(World::new().await);
    for round in 0..ROUNDS {
        let g = world.group("al", &["ad"]).await;
        world
            .does_in("al", "groups.role", &g, r#","user":"ad","role":"admin""#)
            .await;
        world
            .does_in("al", "groups.set", &g, r#","join":"approval""#)
            .await;
        world.does_in("bo", "groups.ask", &g, "").await;
        let other = match round % 4 {
            0 => ("ad".to_owned(), "groups.accept", of(&g, r#","user":"bo""#)),
            1 => ("ad".to_owned(), "groups.refuse", of(&g, r#","user":"bo""#)),
            2 => ("ad".to_owned(), "groups.ban", of(&g, r#","user":"bo""#)),
            _ => ("bo".to_owned(), "groups.unask", of(&g, "")),
        };
        let calls = vec![
            ("al".to_owned(), "groups.accept", of(&g, r#","user":"bo""#)),
            other,
        ];
        let results = at_once(&world, calls).await;
        let log = world.log(&g).await;
        let adds = log
            .iter()
            .filter(|entry| entry.body.json().contains("\"op\":\"add\""))
            .count();
        assert!(adds <= 1);
        let is_in = members(&world, &g).await == 3;
        match round % 4 {
            0 => assert!(is_in && results.iter().all(Result::is_ok)),
            1 | 3 => assert_eq!(is_in, results[0].is_ok()),
            _ => assert!(!is_in),
        }
        let left = world.does_in("al", "groups.requests", &g, "").await;
        assert_eq!(left.get("requests"), Some(&Value::from(Vec::new())));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_who_run_it_at_once_leave_it_whole() {
    let world = Arc::new(World::new().await);
    for _ in 0..ROUNDS {
        let g = world.group("al", &["bo", "cy"]).await;
        for who in ["bo", "cy"] {
            let role = format!(r#","user":"{who}","role":"admin""#);
            world.does_in("al", "groups.role", &g, &role).await;
        }
        // The owner gives it away and goes, while both admins set things and the new owner too.
        let calls = vec![
            (
                "al".to_owned(),
                "groups.role",
                of(&g, r#","user":"bo","role":"owner""#),
            ),
            ("al".to_owned(), "groups.leave", of(&g, "")),
            (
                "al".to_owned(),
                "groups.role",
                of(&g, r#","user":"cy","role":"owner""#),
            ),
            ("bo".to_owned(), "groups.set", of(&g, r#","about":"b""#)),
            ("cy".to_owned(), "groups.set", of(&g, r#","picture":"c""#)),
        ];
        at_once(&world, calls).await;
        let members = world.store.members(&g, None, 10).await.unwrap();
        let owners = members
            .iter()
            .filter(|member| member.role == im_core::model::Role::Owner);
        assert_eq!(owners.count(), 1, "{members:?}");
        // Neither setting undid the other.
        let is = world.does_in("bo", "conv.get", &g, "").await;
        assert_eq!(
            (text(&is, "about"), text(&is, "picture")),
            ("b".into(), "c".into())
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_is_said_after_the_end() {
    let world = Arc::new(World::new().await);
    for round in 0..ROUNDS {
        let g = world.group("al", &["bo"]).await;
        let quiet = round % 2 == 1;
        let sends = (0..8).map(|_| {
            let (world, g) = (Arc::clone(&world), g.clone());
            tokio::spawn(async move {
                for _ in 0..4 {
                    let _ = world.body("bo", &g, TEXT).await;
                }
            })
        });
        let sends: Vec<_> = sends.collect();
        tokio::task::yield_now().await;
        match quiet {
            true => {
                world
                    .does_in("al", "groups.set", &g, r#","speaks":"admin""#)
                    .await
            }
            false => world.does_in("al", "groups.disband", &g, "").await,
        };
        for send in sends {
            send.await.unwrap();
        }
        let log = world.log(&g).await;
        let end = log.iter().position(|entry| {
            let json = entry.body.json();
            json.contains("\"op\":\"disband\"") || json.contains("\"speaks\":\"admin\"")
        });
        assert_eq!(end, Some(log.len() - 1), "{} entries", log.len());
        assert!(
            log.iter()
                .all(|entry| entry.from == user("bo") || entry.from == user("al"))
        );
    }
}
