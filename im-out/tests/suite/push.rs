//! Web Push against a push service and a browser of the test's own.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use im_core::model::{ConnectionId, DeviceId, FactKey, FactTable, NodeId, PushTarget, Value};
use im_core::port::{Clock, Directory, FactQuery, Put, Registry, Route, Store, Was, Write};
use im_node::local::LocalRegistry;
use im_out::{Allow, FollowSettings, PushSettings, Pusher, Reach, Sink, VapidKey, WebPush};
use p256::elliptic_curve::sec1::ToEncodedPoint as _;
use p256::{PublicKey, SecretKey, ecdh};
use ring::{aead, hkdf};

use super::http::{Does, Got, Server};
use super::kit::{Users, World, user};

/// RFC 8291's example: a server's key and a browser's.
const SERVER: &str = "yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw";
const BROWSER: &str = "q1dXpw3UpT5VOmu_cf_v6ih07Aems3njxI-JWgLcM94";
const AUTH: [u8; 16] = *b"0123456789abcdef";

fn browser() -> SecretKey {
    SecretKey::from_slice(&BASE64.decode(BROWSER).unwrap()).unwrap()
}

fn subscription(endpoint: &str, text: bool) -> PushTarget {
    let key = browser().public_key().to_encoded_point(false);
    let target = PushTarget {
        kind: "web".to_owned(),
        data: Value::object([
            ("endpoint", Value::from(endpoint)),
            ("p256dh", BASE64.encode(key.as_bytes()).into()),
            ("auth", BASE64.encode(AUTH).into()),
        ]),
        text,
    };
    assert_eq!(target.check(), Ok(()));
    target
}

struct Len(usize);

impl hkdf::KeyType for Len {
    fn len(&self) -> usize {
        self.0
    }
}

fn derive<const N: usize>(salt: &[u8], secret: &[u8], info: &[&[u8]]) -> [u8; N] {
    let mut out = [0; N];
    let prk = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(secret);
    prk.expand(info, Len(N)).unwrap().fill(&mut out).unwrap();
    out
}

/// What a browser does with a push.
fn opened(got: &Got) -> Value {
    let (salt, rest) = got.body.split_at(16);
    assert_eq!(rest[..5], [0, 0, 16, 0, 65]);
    let (theirs, sealed) = rest[5..].split_at(65);
    let ours = browser().public_key().to_encoded_point(false);
    let key = PublicKey::from_sec1_bytes(theirs).unwrap();
    let shared = ecdh::diffie_hellman(browser().to_nonzero_scalar(), key.as_affine());
    let info = [b"WebPush: info\0".as_slice(), ours.as_bytes(), theirs];
    let ikm: [u8; 32] = derive(&AUTH, shared.raw_secret_bytes(), &info);
    let key: [u8; 16] = derive(salt, &ikm, &[b"Content-Encoding: aes128gcm\0"]);
    let nonce: [u8; 12] = derive(salt, &ikm, &[b"Content-Encoding: nonce\0"]);
    let key = aead::UnboundKey::new(&aead::AES_128_GCM, &key).unwrap();
    let mut sealed = sealed.to_vec();
    let nonce = aead::Nonce::assume_unique_for_key(nonce);
    let plain = aead::LessSafeKey::new(key).open_in_place(nonce, aead::Aad::empty(), &mut sealed);
    let (last, text) = plain.unwrap().split_last().unwrap();
    assert_eq!(*last, 2);
    Value::from_json(std::str::from_utf8(text).unwrap()).unwrap()
}

struct Phone {
    world: World,
    registry: Arc<LocalRegistry>,
    users: Arc<Users>,
    server: Server,
}

impl Phone {
    async fn new() -> Self {
        let world = World::new();
        world.make("g", &["al", "bo", "cy"]).await;
        let phone = Self {
            world,
            registry: Arc::new(LocalRegistry::new()),
            users: Arc::default(),
            server: Server::new(Does::Says(201)).await,
        };
        // What was said before it ran for the first time is pushed to nobody.
        phone.follow().await;
        phone
    }

    async fn fact(&self, table: FactTable, who: &str, key: &str, value: String) {
        let put = Put {
            key: FactKey::new(table, who, key),
            to: Some((value, None)),
            was: Was::Any,
        };
        let place = put.key.place().unwrap();
        self.world
            .commit(place.as_str(), vec![Write::Put(put)])
            .await;
    }

    async fn subscribe(&self, who: &str, target: &PushTarget) {
        self.fact(FactTable::PushTarget, who, "phone", target.to_json())
            .await;
    }

    async fn is_subscribed(&self, who: &str) -> bool {
        let key = FactKey::new(FactTable::PushTarget, who, "phone");
        let found = self.world.store.facts(&FactQuery::One(key)).await.unwrap();
        !found.is_empty()
    }

    /// Follows until everything has been told.
    async fn follow(&self) {
        let settings = FollowSettings {
            every: Duration::from_millis(20),
            lease: Duration::from_millis(100),
            ..FollowSettings::default()
        };
        let follower = self.world.follower("one", self.sink()).settings(settings);
        self.world
            .follow(follower, Duration::from_millis(1_500))
            .await;
    }

    fn sink(&self) -> Arc<dyn Sink> {
        let allow = Allow {
            private: true,
            plain: true,
        };
        let clock = Arc::clone(&self.world.clock) as Arc<dyn Clock>;
        let key = VapidKey::parse(SERVER, "mailto:ops@a.example").unwrap();
        let web = WebPush::new(key, Reach::new(allow).unwrap(), Arc::clone(&clock));
        let registry = Arc::clone(&self.registry) as Arc<dyn Registry>;
        let users = Arc::clone(&self.users) as Arc<dyn Directory>;
        let settings = PushSettings::default();
        let pusher = Pusher::new(self.world.store(), registry, users, clock, settings);
        Arc::new(pusher.way("web", Arc::new(web)))
    }
}

#[tokio::test]
async fn who_is_away_is_pushed_to_and_only_their_browser_can_read_it() {
    let phone = Phone::new().await;
    let target = subscription(&phone.server.url("/push/1"), true);
    for who in ["al", "bo"] {
        phone.subscribe(who, &target).await;
    }
    phone.world.say("g", "al", "first").await;
    phone.world.say("g", "al", "second").await;
    phone.follow().await;
    // One push a conversation, and none to the sender.
    let got = phone.server.got();
    assert_eq!(got.len(), 1, "{got:?}");
    let note = opened(&got[0]);
    for (field, value) in [
        ("text", "second"),
        ("from", "al"),
        ("title", "g"),
        ("conv", "g"),
    ] {
        assert_eq!(note.get(field).and_then(Value::as_text), Some(value));
    }
    assert_eq!(got[0].header("content-encoding"), Some("aes128gcm"));
    assert_eq!(got[0].header("ttl"), Some("86400"));
    assert_eq!(got[0].header("urgency"), Some("normal"));
    assert_eq!(got[0].header("topic").map(str::len), Some(32));
    let authorization = got[0].header("authorization").unwrap();
    assert!(authorization.starts_with("vapid t="), "{authorization}");
    assert!(!String::from_utf8_lossy(&got[0].body).contains("second"));
}

#[tokio::test]
async fn who_is_here_has_read_it_or_muted_it_is_not_pushed_to() {
    let phone = Phone::new().await;
    let target = subscription(&phone.server.url("/"), false);
    for who in ["bo", "cy"] {
        phone.subscribe(who, &target).await;
    }
    let node = NodeId::new("n").unwrap();
    let lease = phone.registry.enter(&node).await.unwrap();
    let route = Route {
        user: user("bo"),
        device: DeviceId::new("d").unwrap(),
        node,
        epoch: lease.epoch,
        conn: ConnectionId(1),
    };
    phone.registry.put(route.clone()).await.unwrap();
    let until = (super::kit::START_MS + 1_000).to_string();
    phone.fact(FactTable::PushMute, "cy", "g", until).await;
    phone.world.say("g", "al", "quiet").await;
    phone.follow().await;
    assert!(phone.server.got().is_empty());
    // The mute is over, and the other one has gone.
    phone.registry.remove(&route).await.unwrap();
    phone.world.clock.jump(2_000);
    phone.world.say("g", "al", "secret").await;
    phone.follow().await;
    let got = phone.server.got();
    assert_eq!(got.len(), 2);
    // Whoever wants no text gets none.
    assert!(
        !opened(&got[0]).to_json().contains("secret"),
        "{:?}",
        opened(&got[0])
    );
    // What was said long ago is pushed to nobody.
    phone.world.say("g", "al", "old").await;
    phone.world.clock.jump(25 * 3_600_000);
    phone.follow().await;
    assert_eq!(phone.server.got().len(), 2);
}

#[tokio::test]
async fn who_is_banned_is_told_nothing() {
    let phone = Phone::new().await;
    let target = subscription(&phone.server.url("/"), true);
    for who in ["bo", "cy"] {
        phone.subscribe(who, &target).await;
    }
    phone.users.ban("bo");
    phone.world.say("g", "al", "secret").await;
    phone.follow().await;
    assert_eq!(phone.server.got().len(), 1);
    assert!(phone.is_subscribed("bo").await);
}

#[tokio::test]
async fn a_subscription_that_is_no_more_is_forgotten() {
    let phone = Phone::new().await;
    let good = subscription(&phone.server.url("/"), true);
    for (status, is_forgotten) in [
        (201, false),
        (400, false),
        (503, false),
        (404, true),
        (410, true),
    ] {
        phone.server.does(Does::Says(status));
        phone.subscribe("bo", &good).await;
        phone.world.say("g", "al", "x").await;
        phone.follow().await;
        assert_eq!(!phone.is_subscribed("bo").await, is_forgotten, "{status}");
    }
    // A key that is no point of the curve.
    let mut bad = good.clone();
    let key = BASE64.encode([4; 65]);
    bad.data = Value::object([
        ("endpoint", Value::from(phone.server.url("/"))),
        ("p256dh", key.into()),
        ("auth", BASE64.encode(AUTH).into()),
    ]);
    assert_eq!(bad.check(), Ok(()));
    phone.subscribe("bo", &bad).await;
    let before = phone.server.got().len();
    phone.world.say("g", "al", "x").await;
    phone.follow().await;
    assert!(!phone.is_subscribed("bo").await);
    assert_eq!(phone.server.got().len(), before);
}
