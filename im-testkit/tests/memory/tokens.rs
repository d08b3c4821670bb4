//! Fixed tokens.

use im_core::model::{Timestamp, UserId};
use im_core::port::{AuthError, Authenticator, Identity};
use im_testkit::memory::TokenTable;

#[tokio::test]
async fn a_token_is_good_while_it_stands_in_the_table() {
    let al = UserId::new("al").unwrap();
    let table = TokenTable::of_users([&al]);
    let it = table.authenticate("al", Timestamp(7)).await.unwrap();
    assert_eq!((it.user, it.roles.len()), (al, 0));
    for token in ["", "Al", "al ", "bo"] {
        let refused = table.authenticate(token, Timestamp(7)).await;
        assert!(matches!(refused, Err(AuthError::Invalid(_))), "{token:?}");
    }
    table.remove("al");
    assert!(table.authenticate("al", Timestamp(7)).await.is_err());
}

#[tokio::test]
async fn a_token_ends() {
    let identity = Identity {
        user: UserId::new("al").unwrap(),
        name: Some("Al".to_owned()),
        roles: vec!["agent".to_owned()],
        expires_at: Timestamp(100),
    };
    let table = TokenTable::new();
    table.insert("t", identity.clone());
    assert_eq!(table.authenticate("t", Timestamp(99)).await, Ok(identity));
    assert!(table.authenticate("t", Timestamp(100)).await.is_err());
    assert!(!format!("{table:?}").contains("al"));
}
