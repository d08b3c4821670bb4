//! What every authenticator of JSON Web Tokens must do: [`auth_suite!`](crate::auth_suite).

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use im_core::model::{Timestamp, UserId};
use im_core::port::{AuthError, Authenticator, Identity};
use serde_json::{Value, json};

/// How a token is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signing {
    /// As the authenticator wants it.
    Right,
    /// With another key of the same kind.
    WrongKey,
    /// With another algorithm, by the right key where that can be.
    OtherAlgorithm,
    /// As HS256, with the authenticator's public key (its PEM text) for a secret.
    PublicKeyAsSecret,
}

/// Signs claims; `None` when that kind of authenticator knows no such signing.
pub type Mint = Box<dyn Fn(Signing, &Value) -> Option<String> + Send + Sync>;

/// An authenticator, and who signs for it.
pub struct Tokens {
    /// Checks.
    pub auth: Arc<dyn Authenticator>,
    /// Signs.
    pub mint: Mint,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens")
            .field("auth", &self.auth)
            .finish_non_exhaustive()
    }
}

/// The time of the suite, in seconds: far from the machine's own.
const NOW: i64 = 1_000_000_000;
/// How long looking at any token may take, in debug builds on a busy machine.
const LOOK_MAX: Duration = Duration::from_secs(2);
/// An hour, in seconds.
const HOUR: i64 = 3600;

impl Tokens {
    async fn check(&self, token: &str, now: i64) -> Result<Identity, AuthError> {
        let start = Instant::now();
        let answer = self.auth.authenticate(token, Timestamp(now * 1000)).await;
        assert!(start.elapsed() < LOOK_MAX, "it took {:?}", start.elapsed());
        answer
    }

    fn good(&self, claims: &Value) -> String {
        (self.mint)(Signing::Right, claims).expect("every authenticator has good tokens")
    }

    async fn accepts(&self, claims: &Value) -> Identity {
        let checked = self.check(&self.good(claims), NOW).await;
        checked.unwrap_or_else(|error| panic!("{claims} is good, got {error}"))
    }

    async fn refuses(&self, token: &str) {
        match self.check(token, NOW).await {
            // What is logged must not be what one could connect with.
            Err(AuthError::Invalid(why)) => assert!(token.len() < 9 || !why.contains(token)),
            other => panic!("expected a refusal of {token:.80?}, got {other:?}"),
        }
    }

    async fn refuses_claims(&self, claims: &Value) {
        match self.check(&self.good(claims), NOW).await {
            Err(AuthError::Invalid(_)) => {}
            other => panic!("expected a refusal of {claims}, got {other:?}"),
        }
    }
}

fn claims() -> Value {
    json!({"sub": "al", "exp": NOW + HOUR})
}

/// The usual claims, with these set or (`null`) taken away.
fn with(changes: Value) -> Value {
    let (Value::Object(mut claims), Value::Object(changes)) = (claims(), changes) else {
        panic!("claims are an object");
    };
    for (key, value) in changes {
        if value.is_null() {
            claims.remove(&key);
        } else {
            claims.insert(key, value);
        }
    }
    Value::Object(claims)
}

fn encode(part: &Value) -> String {
    URL_SAFE_NO_PAD.encode(part.to_string())
}

/// A good token says who, what to call them, their roles, and until when.
pub async fn a_good_token_says_who(tokens: Tokens) {
    let it = tokens.accepts(&claims()).await;
    assert_eq!(it.user, UserId::new("al").expect("an id"));
    assert_eq!(it.expires_at, Timestamp((NOW + HOUR) * 1000));
    assert_eq!((it.name, it.roles), (None, Vec::new()));
    let more =
        with(json!({"name": "Älvira 𝄞", "roles": ["agent", "x y"], "iat": NOW, "other": {}}));
    let it = tokens.accepts(&more).await;
    assert_eq!(it.name.as_deref(), Some("Älvira 𝄞"));
    assert_eq!(it.roles, ["agent", "x y"]);
}

/// Users are taken as they are, byte by byte.
pub async fn the_user_is_the_subject_byte_by_byte(tokens: Tokens) {
    let long = "𝄞".repeat(UserId::CHARS_MAX);
    for sub in ["a", "A", "a ", "á", "a\u{301}", "*", &long] {
        assert_eq!(
            tokens
                .accepts(&with(json!({"sub": sub})))
                .await
                .user
                .as_str(),
            sub
        );
    }
}

/// A subject that is missing, no text, or no user id is refused.
pub async fn a_bad_subject_is_refused(tokens: Tokens) {
    let long = "a".repeat(UserId::CHARS_MAX + 1);
    let bad = [
        json!(null),
        json!(""),
        json!(7),
        json!(["al"]),
        json!({}),
        json!(long),
    ];
    for sub in bad.into_iter().chain([json!("a\nb"), json!("a\u{0}")]) {
        tokens.refuses_claims(&with(json!({"sub": sub}))).await;
    }
}

/// A token without an end, or with one that is no time, is refused.
pub async fn a_token_without_an_end_is_refused(tokens: Tokens) {
    let bad = [
        json!(null),
        json!("soon"),
        json!((NOW + HOUR).to_string()),
        json!([NOW + HOUR]),
    ];
    for exp in bad
        .into_iter()
        .chain([json!(true), json!({}), json!(-1), json!(0)])
    {
        tokens.refuses_claims(&with(json!({"exp": exp}))).await;
    }
}

/// A token ends at `exp`, with 5 s for clocks that differ.
pub async fn an_expired_token_is_refused(tokens: Tokens) {
    for exp in [NOW - HOUR, NOW - 60, NOW - 6] {
        tokens.refuses_claims(&with(json!({"exp": exp}))).await;
    }
    for exp in [NOW - 4, NOW, NOW + 1] {
        let it = tokens.accepts(&with(json!({"exp": exp}))).await;
        assert_eq!(it.expires_at, Timestamp(exp * 1000));
    }
}

/// A token starts at `nbf`, if it has one, with 5 s for clocks that differ.
pub async fn a_token_that_has_not_begun_is_refused(tokens: Tokens) {
    for nbf in [json!(NOW + 6), json!(NOW + HOUR), json!("soon"), json!([])] {
        tokens.refuses_claims(&with(json!({"nbf": nbf}))).await;
    }
    for nbf in [NOW + 4, NOW, 0] {
        tokens.accepts(&with(json!({"nbf": nbf}))).await;
    }
}

/// The time is the one that is asked for, not the machine's.
pub async fn the_time_is_the_one_asked_for(tokens: Tokens) {
    let token = tokens.good(&claims());
    for (now, good) in [
        (1, true),
        (NOW, true),
        (NOW + HOUR + 6, false),
        (4_000_000_000, false),
    ] {
        assert_eq!(tokens.check(&token, now).await.is_ok(), good, "at {now}");
    }
    let late = tokens.good(&with(
        json!({"exp": 5_000_000_000_i64, "nbf": 4_000_000_000_i64}),
    ));
    for (now, good) in [(NOW, false), (4_000_000_001, true), (5_000_000_006, false)] {
        assert_eq!(tokens.check(&late, now).await.is_ok(), good, "at {now}");
    }
}

/// Names and roles that are none are refused, not guessed.
pub async fn a_misshapen_claim_is_refused(tokens: Tokens) {
    let bad = [
        json!({"name": 7}),
        json!({"name": ["al"]}),
        json!({"roles": "admin"}),
        json!({"roles": [7]}),
        json!({"roles": {"admin": true}}),
    ];
    for changes in bad {
        tokens.refuses_claims(&with(changes)).await;
    }
}

/// A token of another key or algorithm is refused, and so is one that takes the public key for a
/// shared secret.
pub async fn other_keys_and_algorithms_are_refused(tokens: Tokens) {
    use Signing::{OtherAlgorithm, PublicKeyAsSecret, WrongKey};
    for signing in [WrongKey, OtherAlgorithm, PublicKeyAsSecret] {
        if let Some(token) = (tokens.mint)(signing, &claims()) {
            assert!(
                token != tokens.good(&claims()),
                "{signing:?} is signed as the right one"
            );
            tokens.refuses(&token).await;
        }
    }
}

/// A token that says it needs no signature is refused, however it says so, and whatever signature
/// it carries.
pub async fn a_token_without_a_signature_is_refused(tokens: Tokens) {
    let good = tokens.good(&claims());
    let signature = good.rsplit('.').next().expect("a signature");
    let payload = encode(&claims());
    for alg in [
        json!("none"),
        json!("None"),
        json!("NONE"),
        json!("nOnE"),
        json!(""),
        json!(null),
    ] {
        let header = encode(&json!({"alg": alg, "typ": "JWT"}));
        for signature in ["", signature, "AA"] {
            tokens
                .refuses(&format!("{header}.{payload}.{signature}"))
                .await;
        }
    }
    let header = encode(&json!({"typ": "JWT"}));
    tokens
        .refuses(&format!("{header}.{payload}.{signature}"))
        .await;
}

/// Nobody changes a token: another body or header under the signature, or a part of it.
pub async fn a_changed_token_is_refused(tokens: Tokens) {
    let good = tokens.good(&claims());
    let other = tokens.good(&with(json!({"sub": "bo"})));
    let parts: Vec<_> = good.split('.').collect();
    let [head, body, signature] = parts[..] else {
        // Not a JWT: the rest of the case is about its form.
        return;
    };
    let theirs = other.split('.').nth(1).expect("a body");
    tokens
        .refuses(&format!("{head}.{theirs}.{signature}"))
        .await;
    tokens.refuses(&format!("{head}.{body}.")).await;
    tokens.refuses(&format!("{head}.{body}")).await;
    tokens.refuses(&format!("{head}..{signature}")).await;
    tokens.refuses(&format!(".{body}.{signature}")).await;
    tokens.refuses(&format!("{good}.")).await;
    tokens.refuses(&format!("{good}.{signature}")).await;
    tokens.refuses(&format!("{good}A")).await;
    tokens.refuses(&format!("Bearer {good}")).await;
    for end in 0..good.len() {
        tokens.refuses(&good[..end]).await;
    }
    // Any character of the signature but the last, whose low bits may carry nothing.
    for at in [0, signature.len() / 2, signature.len() - 2] {
        let mut changed = signature.to_owned().into_bytes();
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(changed).expect("ASCII");
        tokens.refuses(&format!("{head}.{body}.{changed}")).await;
    }
}

/// What is no token at all is refused, quickly.
pub async fn garbage_is_refused(tokens: Tokens) {
    let good = tokens.good(&claims());
    let texts = [
        "",
        " ",
        ".",
        "..",
        "...",
        "a.b.c",
        "\0",
        "é.é.é",
        "null",
        "{}",
        "e30.e30.",
        "e30.e30.e30",
        "' OR 1=1 --",
        "../../etc/passwd",
        "%00",
        "AAAA.AAAA.AAAA",
        "====.====.====",
    ];
    for text in texts {
        tokens.refuses(text).await;
    }
    for around in [
        format!(" {good}"),
        format!("{good} "),
        format!("{good}\n"),
        format!("{good}="),
    ] {
        tokens.refuses(&around).await;
    }
}

/// A token of a megabyte is refused, quickly, whatever is in it.
pub async fn a_huge_token_is_refused(tokens: Tokens) {
    const HUGE: usize = 1 << 20;
    let good = tokens.good(&claims());
    tokens.refuses(&"a".repeat(HUGE)).await;
    tokens.refuses(&".".repeat(HUGE)).await;
    tokens.refuses(&format!("{good}{}", "A".repeat(HUGE))).await;
    tokens
        .refuses(&encode(&json!({"alg": "HS256"})).repeat(HUGE / 20))
        .await;
    tokens
        .refuses_claims(&with(json!({"name": "a".repeat(HUGE)})))
        .await;
    let deep = "[".repeat(HUGE / 2);
    tokens
        .refuses(&format!(
            "{}.{}.AA",
            URL_SAFE_NO_PAD.encode(&deep),
            encode(&claims())
        ))
        .await;
}

/// Many are checked at once.
pub async fn many_tokens_are_checked_at_once(tokens: Tokens) {
    let names: Vec<_> = (0..16).map(|n| format!("u{n}")).collect();
    let checks = names.iter().map(|sub| {
        let token = tokens.good(&with(json!({"sub": sub})));
        let auth = Arc::clone(&tokens.auth);
        async move { auth.authenticate(&token, Timestamp(NOW * 1000)).await }
    });
    for (checked, name) in futures_util::future::join_all(checks)
        .await
        .iter()
        .zip(&names)
    {
        let user = checked.as_ref().map(|it| it.user.as_str());
        assert_eq!(user, Ok(name.as_str()));
    }
}

/// Makes the tests of an [`Authenticator`] of JSON Web Tokens: a `#[test]` for each case.
///
/// The expression is a future of `(guard, Tokens)`, evaluated for each case. See
/// [`suite`](crate::suite).
#[macro_export]
macro_rules! auth_suite {
    ($new:expr) => {
        $crate::suite_cases! {
            $new, auth,
            a_good_token_says_who
            the_user_is_the_subject_byte_by_byte
            a_bad_subject_is_refused
            a_token_without_an_end_is_refused
            an_expired_token_is_refused
            a_token_that_has_not_begun_is_refused
            the_time_is_the_one_asked_for
            a_misshapen_claim_is_refused
            other_keys_and_algorithms_are_refused
            a_token_without_a_signature_is_refused
            a_changed_token_is_refused
            garbage_is_refused
            a_huge_token_is_refused
            many_tokens_are_checked_at_once
        }
    };
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_macro_names_every_case() {
        let source = include_str!("auth.rs");
        let unnamed = crate::suite::unnamed_cases(source, &[source]);
        assert!(unnamed.is_empty(), "{unnamed:?}");
    }
}
