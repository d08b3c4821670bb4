//! Which role may call which method.

use im_core::frame::ErrorCode;
use im_core::model::{FactKey, FactTable, Timestamp, Value};
use im_core::port::{FactQuery, Identity, Store as _};

use crate::service::kit::{World, user};

/// Who may: an admin always; a moderator, an auditor.
const MAY: [(&str, bool, bool); 33] = [
    ("admin.groups.close", false, false),
    ("admin.groups.get", true, true),
    ("admin.groups.list", true, true),
    ("admin.groups.members", true, true),
    ("admin.groups.mute", true, false),
    ("admin.groups.remove", true, false),
    ("admin.keys.add", false, false),
    ("admin.keys.list", false, false),
    ("admin.keys.revoke", false, false),
    ("admin.messages.export", false, true),
    ("admin.messages.list", true, true),
    ("admin.messages.recall", true, false),
    ("admin.messages.unmask", false, false),
    ("admin.packs.remove", false, false),
    ("admin.packs.set", false, false),
    ("admin.reports.list", true, false),
    ("admin.reports.resolve", true, false),
    ("admin.review.decide", true, false),
    ("admin.review.list", true, false),
    ("admin.stats", true, true),
    ("admin.users.ban", true, false),
    ("admin.users.banned", true, true),
    ("admin.users.get", true, true),
    ("admin.users.kick", true, false),
    ("admin.users.mute", true, false),
    ("admin.users.unban", true, false),
    ("admin.words.add", false, false),
    ("admin.words.export", true, false),
    ("admin.words.import", false, false),
    ("admin.words.list", true, false),
    ("admin.words.remove", false, false),
    ("admin.words.try", true, false),
    ("audit.list", false, true),
];

#[tokio::test]
async fn a_method_of_the_staffs_asks_for_a_role_before_anything_else() {
    let world = World::new().await;
    let of_staff = |name: &&str| name.starts_with("admin.") || name.starts_with("audit.");
    let known: Vec<&str> = im_node::METHODS.iter().map(|method| method.name).collect();
    let known: Vec<&str> = known.into_iter().filter(of_staff).collect();
    assert_eq!(known, MAY.map(|(name, ..)| name), "each has its row");
    for (method, moderator, auditor) in MAY {
        for (who, may) in [
            ("bo", false),
            ("adm", true),
            ("mod", moderator),
            ("aud", auditor),
        ] {
            for params in ["{}", r#"{"conv":"c","user":"u","why":"w"}"#] {
                let done = world.call(who, method, params).await.map(drop);
                let is_refused = done == Err(ErrorCode::Forbidden);
                assert_eq!(is_refused, !may, "{who} {method} {params}: {done:?}");
            }
        }
    }
}

#[tokio::test]
async fn two_tokens_of_one_user_change_the_list_once_each() {
    let world = World::new().await;
    let mut seen = Vec::new();
    for role in ["admin", "auditor", "admin", "auditor"] {
        let identity = Identity {
            user: user("both"),
            name: None,
            roles: vec![role.to_owned()],
            expires_at: Timestamp(i64::MAX),
        };
        let service = world.node.service();
        let called = service.call_as(&identity, "admin.stats", Value::Object(Vec::new()), None);
        called.await.unwrap();
        let key = FactKey::new(FactTable::Version, "", "standings");
        let found = world.store.facts(&FactQuery::One(key)).await.unwrap();
        seen.push(found[0].value.clone());
    }
    assert_ne!(seen[0], seen[1]);
    assert_eq!(seen[1], seen[2]);
    assert_eq!(seen[1], seen[3]);
}

#[tokio::test]
async fn no_method_gives_a_role() {
    let world = World::new().await;
    for (method, params) in [
        (
            "profile.set",
            r#"{"name":"admin","custom":{"roles":["admin"]}}"#,
        ),
        (
            "groups.create",
            r#"{"title":"admin","members":[],"roles":["admin"]}"#,
        ),
        ("conv.list", r#"{"roles":["admin"],"staff":true}"#),
        ("admin.stats", r#"{"roles":["admin"]}"#),
    ] {
        let _ = world.call("bo", method, params).await;
        let refused = world.call("bo", "admin.stats", "{}").await;
        assert_eq!(refused, Err(ErrorCode::Forbidden), "{method}");
    }
    // By the host program's own door a user has no role either.
    let service = world.node.service();
    let (admin, none) = (user("adm"), Value::Null);
    let refused = service.call(&admin, "admin.stats", none, None).await;
    assert_eq!(refused.unwrap_err().code, ErrorCode::Forbidden);
}
