//! Which secrets and keys are good enough to start with.

use im_node::auth::{JwtAlgorithm, JwtAuthenticator, JwtError};

const RSA: &[u8] = include_bytes!("../keys/rsa.public.pem");
const RSA_PRIVATE: &[u8] = include_bytes!("../keys/rsa.private.pem");
const RSA_SHORT: &[u8] = include_bytes!("../keys/rsa-short.public.pem");
const P256: &[u8] = include_bytes!("../keys/p256.public.pem");
const P256_PRIVATE: &[u8] = include_bytes!("../keys/p256.private.pem");
const P384: &[u8] = include_bytes!("../keys/p384.public.pem");
const ED25519: &[u8] = include_bytes!("../keys/ed25519.public.pem");

fn with_key(algorithm: JwtAlgorithm, pem: &[u8]) -> Result<(), JwtError> {
    JwtAuthenticator::with_public_key(algorithm, pem).map(|_| ())
}

#[test]
fn a_short_secret_is_refused_and_the_error_says_what_to_do() {
    for (algorithm, min) in [
        (JwtAlgorithm::HS256, 32),
        (JwtAlgorithm::HS384, 48),
        (JwtAlgorithm::HS512, 64),
    ] {
        for bytes in [0, 1, min - 1] {
            let refused = JwtAuthenticator::with_secret(algorithm, vec![b'x'; bytes]);
            let refused = refused.unwrap_err();
            let expected = JwtError::ShortSecret {
                bytes,
                min,
                algorithm,
            };
            assert_eq!(refused, expected);
            let text = refused.to_string();
            assert!(
                text.contains(&min.to_string()) && text.contains("openssl rand"),
                "{text}"
            );
        }
        assert!(JwtAuthenticator::with_secret(algorithm, vec![b'x'; min]).is_ok());
    }
    assert!(JwtAuthenticator::hs256("").is_err());
}

#[test]
fn a_public_key_is_no_secret() {
    for pem in [RSA, P256, RSA_PRIVATE] {
        let refused = JwtAuthenticator::hs256(pem).unwrap_err();
        assert_eq!(refused, JwtError::PemAsSecret(JwtAlgorithm::HS256));
    }
    let indented = [b"\n ", RSA].concat();
    assert!(JwtAuthenticator::hs256(indented).is_err());
}

#[test]
fn an_algorithm_takes_its_own_kind_of_key_only() {
    use JwtAlgorithm::{ES256, ES384, EdDSA, HS256, HS384, HS512, PS256, PS512, RS256, RS512};
    let secret = [b'x'; 64];
    for algorithm in [RS256, PS512, ES256, ES384, EdDSA] {
        let refused = JwtAuthenticator::with_secret(algorithm, secret).unwrap_err();
        assert_eq!(refused, JwtError::NeedsPublicKey(algorithm));
        for not_it in [
            &b""[..],
            &secret,
            b"-----BEGIN PUBLIC KEY-----",
            RSA_PRIVATE,
            P256_PRIVATE,
        ] {
            assert_eq!(
                with_key(algorithm, not_it),
                Err(JwtError::BadKey(algorithm))
            );
        }
    }
    for algorithm in [HS256, HS384, HS512] {
        assert_eq!(
            with_key(algorithm, RSA),
            Err(JwtError::NeedsSecret(algorithm))
        );
    }
    let keys = [
        (RSA, &[RS256, RS512, PS256][..]),
        (P256, &[ES256]),
        (P384, &[ES384]),
    ];
    for (key, good) in keys.into_iter().chain([(ED25519, &[EdDSA][..])]) {
        for algorithm in [RS256, RS512, PS256, ES256, ES384, EdDSA] {
            let taken = with_key(algorithm, key);
            if good.contains(&algorithm) {
                assert_eq!(taken, Ok(()), "{algorithm}");
            } else {
                assert_eq!(taken, Err(JwtError::BadKey(algorithm)));
            }
        }
    }
}

#[test]
fn a_short_rsa_key_is_refused() {
    let refused = with_key(JwtAlgorithm::RS256, RSA_SHORT);
    assert_eq!(refused, Err(JwtError::ShortKey { bits: 1024 }));
}

#[test]
fn there_is_no_algorithm_none() {
    for name in ["none", "None", "", "HS", "hs256", "RS1", "HS256 "] {
        assert_eq!(
            name.parse::<JwtAlgorithm>(),
            Err(JwtError::UnknownAlgorithm),
            "{name:?}"
        );
    }
    assert_eq!("EdDSA".parse(), Ok(JwtAlgorithm::EdDSA));
    assert_eq!(JwtAlgorithm::default().to_string(), "HS256");
}
