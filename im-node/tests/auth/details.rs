//! Audience, issuer, key id, the header, minting.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use im_core::model::{Timestamp, UserId};
use im_core::port::{Authenticator, Identity};
use im_node::auth::{JwtAlgorithm, JwtAuthenticator, JwtError};
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Value, json};

use super::{SECRET, sign};

const NOW: Timestamp = Timestamp(1_000_000_000_500);

fn auth() -> JwtAuthenticator {
    JwtAuthenticator::hs256(SECRET).unwrap()
}

/// A token with this header and claims, well signed.
fn signed(header: &str, claims: &str) -> String {
    let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let message = format!("{}.{}", part(header), part(claims));
    let key = EncodingKey::from_secret(SECRET);
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::HS256);
    format!("{message}.{}", signature.unwrap())
}

const HEADER: &str = r#"{"alg":"HS256","typ":"JWT"}"#;
const CLAIMS: &str = r#"{"sub":"al","exp":1000003600}"#;

async fn is_good(auth: &JwtAuthenticator, token: &str) -> bool {
    auth.authenticate(token, NOW).await.is_ok()
}

async fn takes(auth: &JwtAuthenticator, changes: Value) -> bool {
    let mut claims = json!({"sub": "al", "exp": 1_000_003_600});
    for (key, value) in changes.as_object().unwrap() {
        claims[key] = value.clone();
    }
    let key = EncodingKey::from_secret(SECRET);
    is_good(auth, &sign(Algorithm::HS256, &key, &claims)).await
}

/// An authenticator of each algorithm, and the key that signs for it.
fn every_algorithm() -> Vec<(JwtAlgorithm, JwtAuthenticator, Algorithm, EncodingKey)> {
    let rsa = (
        &include_bytes!("../keys/rsa.public.pem")[..],
        EncodingKey::from_rsa_pem(include_bytes!("../keys/rsa.private.pem")).unwrap(),
    );
    let p256 = (
        &include_bytes!("../keys/p256.public.pem")[..],
        EncodingKey::from_ec_pem(include_bytes!("../keys/p256.private.pem")).unwrap(),
    );
    let p384 = (
        &include_bytes!("../keys/p384.public.pem")[..],
        EncodingKey::from_ec_pem(include_bytes!("../keys/p384.private.pem")).unwrap(),
    );
    let ed = (
        &include_bytes!("../keys/ed25519.public.pem")[..],
        EncodingKey::from_ed_pem(include_bytes!("../keys/ed25519.private.pem")).unwrap(),
    );
    let names = [
        "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256",
        "ES384", "EdDSA",
    ];
    let of = |name: &str| {
        let algorithm = name.parse().unwrap();
        let (auth, key) = if name.starts_with("HS") {
            let auth = JwtAuthenticator::with_secret(algorithm, SECRET);
            (auth, EncodingKey::from_secret(SECRET))
        } else {
            let (pem, key) = match name {
                "ES256" => &p256,
                "ES384" => &p384,
                "EdDSA" => &ed,
                _ => &rsa,
            };
            (
                JwtAuthenticator::with_public_key(algorithm, pem),
                key.clone(),
            )
        };
        (algorithm, auth.unwrap(), name.parse().unwrap(), key)
    };
    names.map(of).into()
}

#[tokio::test]
async fn each_algorithm_takes_its_own_tokens_only() {
    let all = every_algorithm();
    let claims = json!({"sub": "al", "exp": 1_000_003_600});
    for (signed_by, _, algorithm, key) in &all {
        let token = sign(*algorithm, key, &claims);
        for (checked_by, auth, ..) in &all {
            let good = is_good(auth, &token).await;
            assert_eq!(good, signed_by == checked_by, "{signed_by} by {checked_by}");
        }
    }
}

#[tokio::test]
async fn an_audience_must_be_ours() {
    let ours = auth().audience("chat");
    for aud in [json!("chat"), json!(["chat"]), json!(["shop", "chat"])] {
        assert!(takes(&ours, json!({"aud": aud})).await);
        assert!(
            !takes(&auth(), json!({"aud": aud})).await,
            "we have no name to be meant by"
        );
    }
    let not_ours = [
        json!("shop"),
        json!(["shop"]),
        json!([]),
        json!(""),
        json!("chat2"),
        json!(7),
    ];
    for aud in not_ours
        .into_iter()
        .chain([json!(["Chat", "chat "]), json!({"chat": 1})])
    {
        assert!(!takes(&ours, json!({"aud": aud})).await, "{aud}");
    }
    assert!(!takes(&ours, json!({})).await);
    assert!(!takes(&ours, json!({"aud": null})).await);
}

#[tokio::test]
async fn an_issuer_must_be_the_one_that_is_set() {
    let of_one = auth().issuer("https://id.example");
    assert!(takes(&of_one, json!({"iss": "https://id.example"})).await);
    for iss in [
        json!("https://id.example/"),
        json!(""),
        json!(["https://id.example"]),
        json!(null),
    ] {
        assert!(!takes(&of_one, json!({"iss": iss})).await, "{iss}");
    }
    assert!(!takes(&of_one, json!({})).await);
    assert!(takes(&auth(), json!({"iss": "anybody"})).await);
}

#[tokio::test]
async fn a_key_id_must_be_the_one_that_is_set() {
    let with_kid = |kid: &str| signed(&format!(r#"{{"alg":"HS256","kid":{kid}}}"#), CLAIMS);
    let of_one = auth().key_id("k1");
    assert!(is_good(&of_one, &with_kid(r#""k1""#)).await);
    for kid in [r#""k2""#, r#""""#, r#""../../dev/null""#, "null", "1"] {
        assert!(!is_good(&of_one, &with_kid(kid)).await, "{kid}");
    }
    assert!(!is_good(&of_one, &signed(HEADER, CLAIMS)).await);
    assert!(
        is_good(&auth(), &with_kid(r#""any""#)).await,
        "a hint that nobody asked for"
    );
}

#[tokio::test]
async fn a_header_that_asks_for_more_is_refused() {
    assert!(is_good(&auth(), &signed(HEADER, CLAIMS)).await);
    let bad = [
        r#"{"alg":"HS256","crit":["b64"],"b64":false}"#,
        r#"{"alg":"HS256","crit":[]}"#,
        r#"{"alg":"HS256","alg":"none"}"#,
        r#"{"alg":"none","alg":"HS256"}"#,
        r#"{"alg":["HS256"]}"#,
        r#"{"alg":"hs256"}"#,
        r#"["HS256"]"#,
        r#"{"alg":"HS256"} "x""#,
        "",
    ];
    for header in bad {
        assert!(!is_good(&auth(), &signed(header, CLAIMS)).await, "{header}");
    }
}

#[tokio::test]
async fn a_claim_that_stands_twice_is_refused() {
    for claims in [
        r#"{"sub":"al","sub":"root","exp":1000003600}"#,
        r#"{"sub":"al","exp":1,"exp":1000003600}"#,
        r#"{"sub":"al","exp":1000003600,"roles":[],"roles":["admin"]}"#,
        r#"{"sub":"al","exp":1000003600}{}"#,
    ] {
        assert!(!is_good(&auth(), &signed(HEADER, claims)).await, "{claims}");
    }
}

#[tokio::test]
async fn times_may_have_a_fraction_and_any_size() {
    for (exp, good) in [
        ("1000003600.25", true),
        ("1e300", true),
        ("9223372036854775807", true),
        ("99999999999999999999999", true),
        ("-1e300", false),
        ("999999995.4", false),
        ("999999995.6", true),
    ] {
        let token = signed(HEADER, &format!(r#"{{"sub":"al","exp":{exp}}}"#));
        assert_eq!(is_good(&auth(), &token).await, good, "{exp}");
    }
}

#[tokio::test]
async fn a_token_of_over_8_kib_is_not_looked_at() {
    let name = |chars: usize| json!({"name": "a".repeat(chars)});
    assert!(takes(&auth(), name(6000)).await);
    assert!(!takes(&auth(), name(6200)).await);
}

#[tokio::test]
async fn a_minted_token_is_good_here_and_says_what_was_asked() {
    let auth = auth().audience("chat").issuer("me").key_id("k1");
    let al = UserId::new("al é").unwrap();
    let roles = ["agent".to_owned()];
    let hour = Duration::from_secs(3600);
    let token = auth.mint(&al, NOW, hour, Some("Al"), &roles).unwrap();
    let expected = Identity {
        user: al.clone(),
        name: Some("Al".to_owned()),
        roles: roles.into(),
        // The next whole second.
        expires_at: NOW.plus_ms(3_600_500),
    };
    assert_eq!(auth.authenticate(&token, NOW).await, Ok(expected));
    assert!(
        auth.authenticate(&token, NOW.plus_ms(3_605_500))
            .await
            .is_err()
    );
    let forever = auth.mint(&al, NOW, Duration::MAX, None, &[]).unwrap();
    assert!(auth.authenticate(&forever, NOW).await.is_ok());
}

#[tokio::test]
async fn a_minted_end_is_a_whole_second_and_never_before_what_was_asked() {
    let (auth, al) = (auth(), UserId::new("al").unwrap());
    for (ms, ttl_ms) in [(0, 1_000), (1, 999), (1, 1_000), (999, 1), (123, 456_789)] {
        let (now, ttl) = (NOW.plus_ms(ms), Duration::from_millis(ttl_ms));
        let token = auth.mint(&al, now, ttl, None, &[]).unwrap();
        let claims = URL_SAFE_NO_PAD
            .decode(token.split('.').nth(1).unwrap())
            .unwrap();
        let claims: Value = serde_json::from_slice(&claims).unwrap();
        let exp = claims["exp"].as_i64();
        let asked = now.plus_ms(ttl_ms).0;
        assert_eq!(exp, Some((asked + 999) / 1_000), "{claims}");
    }
}

#[tokio::test]
async fn others_can_read_what_is_minted() {
    let auth = auth();
    let al = UserId::new("al").unwrap();
    let now = Timestamp(jsonwebtoken::get_current_timestamp() as i64 * 1000);
    let token = auth
        .mint(&al, now, Duration::from_secs(60), None, &[])
        .unwrap();
    let key = jsonwebtoken::DecodingKey::from_secret(SECRET);
    let validation = jsonwebtoken::Validation::new(Algorithm::HS256);
    let read = jsonwebtoken::decode::<Value>(&token, &key, &validation).unwrap();
    assert_eq!(read.claims, json!({"sub": "al", "exp": now.0 / 1000 + 60}));
}

#[tokio::test]
async fn a_public_key_signs_nothing() {
    let pem = include_bytes!("../keys/p256.public.pem");
    let auth = JwtAuthenticator::with_public_key(JwtAlgorithm::ES256, pem).unwrap();
    let al = UserId::new("al").unwrap();
    let refused = auth.mint(&al, NOW, Duration::from_secs(1), None, &[]);
    assert_eq!(refused, Err(JwtError::CantMint(JwtAlgorithm::ES256)));
}

#[test]
fn no_key_is_printed() {
    let printed = format!("{:?}", auth());
    assert!(printed.contains("HS256"));
    let as_numbers = format!("{:?}", &SECRET[..4]);
    let as_numbers = as_numbers.trim_matches(['[', ']']);
    assert!(
        !printed.contains("secret of") && !printed.contains(as_numbers),
        "{printed}"
    );
}
