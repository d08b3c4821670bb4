//! Single rules of the outbox; what it promises as a whole is tested in `tests/suite/outbox.rs`.

use std::time::Duration;

use super::*;
use crate::model::{ConversationId, DeviceId, UserId};

fn welcome(sends_per_s: u32) -> Welcome {
    Welcome {
        user: UserId::new("ann").unwrap(),
        device: DeviceId::new("phone").unwrap(),
        conn: "1".to_owned(),
        node: "n1".to_owned(),
        now: Timestamp(1_000_000),
        expires_at: Timestamp(2_000_000),
        heartbeat_ms: 30_000,
        limits: Limits {
            sends_per_s,
            ..Limits::default()
        },
    }
}

fn draft(cm_id: &str, to: &str) -> Draft {
    let to = ConversationId::new(to).unwrap();
    let to = crate::model::Target::Conversation(to);
    Draft::text(CmId::new(cm_id).unwrap(), to, cm_id)
}

fn err(cm_id: &str, failure: Failure) -> ServerFrame {
    ServerFrame::Err(ErrFrame {
        re: "send".to_owned(),
        id: None,
        cm_id: Some(CmId::new(cm_id).unwrap()),
        failure,
    })
}

fn connected(config: OutboxConfig) -> (Outbox, Instant) {
    let now = crate::machine::test_start();
    let mut outbox = Outbox::new(now, config, 1);
    outbox.handle_connected(now, &welcome(1_000));
    (outbox, now)
}

fn leaving(outbox: &mut Outbox) -> Vec<String> {
    outbox.assert_invariants();
    std::iter::from_fn(|| outbox.poll_transmit())
        .map(|frame| match frame {
            ClientFrame::Send(draft) => draft.cm_id.as_str().to_owned(),
            frame => panic!("{frame:?}"),
        })
        .collect()
}

#[test]
fn a_refused_send_holds_back_its_target_at_first_and_only_its_own() {
    let (mut outbox, mut now) = connected(OutboxConfig::default());
    outbox.handle_send(now, draft("a1", "a")).unwrap();
    assert_eq!(leaving(&mut outbox), ["a1"]);
    let away = Failure::retry(ErrorCode::Unavailable, "away", 1_000);
    for round in 1..=HOLDING_REFUSALS_MAX + 1 {
        outbox.handle_frame(now, &err("a1", away.clone()));
        let (a, b) = (format!("a1{round}"), format!("b{round}"));
        outbox.handle_send(now, draft(&a, "a")).unwrap();
        outbox.handle_send(now, draft(&b, "b")).unwrap();
        let left = leaving(&mut outbox);
        if round <= HOLDING_REFUSALS_MAX {
            assert_eq!(left, [b]);
        } else {
            assert_eq!(left, [a, b], "it has lost its place");
        }
        now += Duration::from_millis(1_000);
        outbox.handle_timeout(now);
        assert!(leaving(&mut outbox).is_empty(), "never earlier than asked");
        now += Duration::from_millis(5_000);
        outbox.handle_timeout(now);
        assert_eq!(leaving(&mut outbox)[0], "a1");
    }
}

#[test]
fn a_rate_limited_send_stops_all_for_a_while() {
    let (mut outbox, now) = connected(OutboxConfig::default());
    outbox.handle_send(now, draft("a1", "a")).unwrap();
    assert_eq!(leaving(&mut outbox), ["a1"]);
    let slower = Failure::retry(ErrorCode::RateLimited, "slower", 1_000);
    outbox.handle_frame(now, &err("a1", slower));
    outbox.handle_send(now, draft("b1", "b")).unwrap();
    assert!(leaving(&mut outbox).is_empty());
    outbox.handle_timeout(now + Duration::from_millis(1_501));
    assert_eq!(leaving(&mut outbox), ["a1", "b1"]);
}

#[test]
fn a_final_refusal_is_not_believed_while_another_try_is_unanswered() {
    let (mut outbox, now) = connected(OutboxConfig::default());
    outbox.handle_send(now, draft("a1", "a")).unwrap();
    assert_eq!(leaving(&mut outbox), ["a1"]);
    let later = now + Duration::from_secs(11);
    outbox.handle_timeout(later);
    assert_eq!(leaving(&mut outbox), ["a1"]);
    let muted = err("a1", Failure::new(ErrorCode::Muted, "muted"));
    outbox.handle_frame(later, &muted);
    assert_eq!(outbox.poll_event(), None, "the other try may be stored");
    outbox.handle_frame(later, &muted);
    assert!(matches!(
        outbox.poll_event(),
        Some(OutboxEvent::Failed { .. })
    ));
    assert!(outbox.is_empty());
}

#[test]
fn what_is_refused_by_the_application_is_given_up_once_it_has_left() {
    let (mut outbox, now) = connected(OutboxConfig::default());
    outbox.handle_send(now, draft("a1", "a")).unwrap();
    assert_eq!(leaving(&mut outbox), ["a1"]);
    outbox.handle_send(now, draft("a2", "a")).unwrap();
    for cm_id in ["a1", "a2"] {
        let cm_id = CmId::new(cm_id).unwrap();
        outbox.refuse(&cm_id, Failure::new(ErrorCode::TooLarge, "too large"));
    }
    assert!(matches!(
        outbox.poll_event(),
        Some(OutboxEvent::GaveUp { .. })
    ));
    assert!(matches!(
        outbox.poll_event(),
        Some(OutboxEvent::Failed { .. })
    ));
    outbox.assert_invariants();
}

#[test]
fn the_queue_is_bounded_in_sends_and_in_bytes() {
    let now = crate::machine::test_start();
    let config = OutboxConfig {
        queue_max: 2,
        queue_bytes_max: 100,
        ..OutboxConfig::default()
    };
    let mut outbox = Outbox::new(now, config, 1);
    let long = "x".repeat(60);
    outbox.handle_send(now, draft("a1", "a")).unwrap();
    assert_eq!(
        outbox.handle_send(now, draft(&long, "a")),
        Err(OutboxFull::QueueFull)
    );
    outbox.handle_send(now, draft("a2", "a")).unwrap();
    assert_eq!(
        outbox.handle_send(now, draft("a3", "a")),
        Err(OutboxFull::QueueFull)
    );
    assert_eq!(
        outbox.handle_send(now, draft("a2", "a")),
        Err(OutboxFull::Pending)
    );
    outbox.assert_invariants();
}
