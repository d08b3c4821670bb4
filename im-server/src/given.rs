//! What an operator gives: each setting as a flag, a TOML key and a variable of the same name.

use std::path::Path;
use std::str::FromStr;

use im_core::model::NodeId;
use serde::Deserialize;

use crate::error::ServerError;

/// A list: commas between its items, or a TOML array.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct List(pub(crate) Vec<String>);

impl List {
    fn split(text: &str) -> Self {
        let items = text
            .split(',')
            .map(str::trim)
            .filter(|item| !item.is_empty());
        Self(items.map(str::to_owned).collect())
    }
}

impl FromStr for List {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self::split(text))
    }
}

impl<'de> Deserialize<'de> for List {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Text(String),
            Items(Vec<String>),
        }
        Ok(match Form::deserialize(from)? {
            Form::Text(text) => Self::split(&text),
            Form::Items(items) => Self(items),
        })
    }
}

macro_rules! given {
    ($($(#[doc = $doc:literal])+ $name:ident: $of:ty = $env:literal;)+) => {
        /// What was given of the settings, in one place; what is missing has its default.
        #[derive(Debug, Clone, Default, clap::Args, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub(crate) struct Given {
            $(
                $(#[doc = $doc])+
                // `--help` must not print what a variable holds: one of them is the secret.
                #[arg(long, env = $env, hide_env_values = true, global = true)]
                pub(crate) $name: Option<$of>,
            )+
        }

        impl Given {
            /// This, and where it says nothing, the other.
            pub(crate) fn or(self, other: Self) -> Self {
                Self { $($name: self.$name.or(other.$name),)+ }
            }
        }
    };
}

given! {
    /// Where it listens [default: 127.0.0.1:8080; port 0: the system chooses]
    listen: String = "IMKIT_LISTEN";
    /// The store: sqlite://PATH, made when missing; postgres://USER:PASSWORD@HOST/DATABASE;
    /// mysql://USER:PASSWORD@HOST/DATABASE [default: sqlite://imkit.db]. On a command line every
    /// process of the machine can read a password: the variable or the file is better
    store: String = "IMKIT_STORE";
    /// Several databases in place of one store, with commas between them: each has a part of the
    /// conversations. Their order must stay; one that is added comes last
    shards: List = "IMKIT_SHARDS";
    /// The hot tier before the store: none, redis://… (rediss with TLS), or cluster+redis://… for a
    /// Redis Cluster; the same on all nodes [default: none]
    hot: String = "IMKIT_HOT";
    /// The bus between nodes: local, or SCHEME://USER:PASSWORD@HOST with redis (rediss with TLS),
    /// nats (tls), amqp (amqps: RabbitMQ), kafka (kafkas) or rocketmq (its name server) [default:
    /// local]. Nodes that share one share a database, too
    bus: String = "IMKIT_BUS";
    /// The registry of nodes: local, or redis://… [default: where the bus is, if that is a Redis]
    registry: String = "IMKIT_REGISTRY";
    /// A PEM file with the authorities that are trusted for a bus and a registry with TLS
    /// [default: those of the web]
    bus_ca_file: std::path::PathBuf = "IMKIT_BUS_CA_FILE";
    /// What the names on the bus, in the registry and in the hot tier begin with; the same on all
    /// nodes of a database [default: im]
    bus_prefix: String = "IMKIT_BUS_PREFIX";
    /// The node's own name, of which no other node of a cluster may have the same
    /// [default: node-1]
    node: NodeId = "IMKIT_NODE";
    /// The secret that tokens are signed with, at least 32 bytes. On a command line every process
    /// of the machine can read it: the variable or the file is better
    jwt_secret: String = "IMKIT_JWT_SECRET";
    /// A file that holds the secret (the end of its last line is no part of it)
    jwt_secret_file: std::path::PathBuf = "IMKIT_JWT_SECRET_FILE";
    /// How tokens are signed: HS256, HS384, HS512, RS256, RS384, RS512, PS256, PS384, PS512, ES256,
    /// ES384 or EdDSA [default: HS256]
    jwt_algorithm: String = "IMKIT_JWT_ALGORITHM";
    /// A PEM file with the public key, for the algorithms that have one
    jwt_public_key_file: std::path::PathBuf = "IMKIT_JWT_PUBLIC_KEY_FILE";
    /// When a message counts as sent: committed (the store has it), or cached (the hot tier has it;
    /// what a crash of that loses is lost); the same on all nodes [default: committed]
    durability: String = "IMKIT_DURABILITY";
    /// A file with the keys that seal what people write before it is stored, readable by its owner
    /// alone: im-server seal new-key makes one [default: none, and nothing is sealed]
    seal_keys: std::path::PathBuf = "IMKIT_SEAL_KEYS";
    /// How many days direct conversations keep what was said; the same on all nodes [default: for
    /// ever]
    keep_direct_days: u32 = "IMKIT_KEEP_DIRECT_DAYS";
    /// The same of groups [default: for ever]
    keep_group_days: u32 = "IMKIT_KEEP_GROUP_DAYS";
    /// The same of channels [default: for ever]
    keep_channel_days: u32 = "IMKIT_KEEP_CHANNEL_DAYS";
    /// The same of the service desk [default: for ever]
    keep_desk_days: u32 = "IMKIT_KEEP_DESK_DAYS";
    /// How SQLite reaches the disk: full (a commit survives a power cut), normal (the last ones may
    /// not) or off [default: full]
    synchronous: String = "IMKIT_SYNCHRONOUS";
    /// Origins whose pages may connect, with commas between them [default: any]
    allowed_origins: List = "IMKIT_ALLOWED_ORIGINS";
    /// The largest frame of a client, in bytes [default: 65536]
    frame_bytes: usize = "IMKIT_FRAME_BYTES";
    /// The most bytes of entries in a page [default: 262144]
    page_bytes: usize = "IMKIT_PAGE_BYTES";
    /// The most characters of a text [default: 4000]
    text_chars: usize = "IMKIT_TEXT_CHARS";
    /// The most un-acked entries of a connection [default: 256]
    window: usize = "IMKIT_WINDOW";
    /// How long an entry may stay un-acked, in milliseconds [default: 30000]
    ack_ms: u64 = "IMKIT_ACK_MS";
    /// How long a connection may take to say hello, in milliseconds [default: 5000]
    hello_ms: u64 = "IMKIT_HELLO_MS";
    /// How often the node gives a sign of life, in milliseconds [default: 30000]
    heartbeat_ms: u64 = "IMKIT_HEARTBEAT_MS";
    /// Messages of one user per second [default: 50]
    sends_per_s: u32 = "IMKIT_SENDS_PER_S";
    /// Requests of one user that read, per second [default: 200]
    reads_per_s: u32 = "IMKIT_READS_PER_S";
    /// Requests of one user that write, per second [default: 100]
    writes_per_s: u32 = "IMKIT_WRITES_PER_S";
    /// Searches of one user per second [default: 20]
    searches_per_s: u32 = "IMKIT_SEARCHES_PER_S";
    /// Uploads of one user per second [default: 20]
    uploads_per_s: u32 = "IMKIT_UPLOADS_PER_S";
    /// Requests of one user that reach others unasked (friends, invitations, reports), per minute
    /// [default: 120]
    asks_per_minute: u32 = "IMKIT_ASKS_PER_MINUTE";
    /// Endpoints that are told of every entry, with commas between them, each with a name that
    /// stays: `crm=https://crm.example/hook`
    webhooks: List = "IMKIT_WEBHOOKS";
    /// What webhooks are signed with: whsec_ and 24 to 64 bytes in Base64. Two, with a comma, while
    /// the first replaces the second. Better in the variable or the file than on a command line
    webhook_secret: List = "IMKIT_WEBHOOK_SECRET";
    /// Which events webhooks tell, with commas: message.sent, conversation.* [default: all]
    webhook_events: List = "IMKIT_WEBHOOK_EVENTS";
    /// The private key that pushes are signed with: 32 bytes of P-256 in base64url. Better in the
    /// variable or the file than on a command line
    vapid_key: String = "IMKIT_VAPID_KEY";
    /// Whom a push service may write to about pushes: mailto: or https:
    vapid_contact: String = "IMKIT_VAPID_CONTACT";
    /// Whether pushes hold who said what [default: true]
    push_text: bool = "IMKIT_PUSH_TEXT";
    /// Whether webhooks and pushes may go to addresses that are not public, and without TLS: for
    /// networks of one's own [default: false]
    out_private: bool = "IMKIT_OUT_PRIVATE";
    /// How long a message's own id is recognised, in milliseconds [default: 7 days]
    dedupe_ms: u64 = "IMKIT_DEDUPE_MS";
    /// Who may write to whom: anyone, or friends (to each other) [default: anyone]
    write_to: String = "IMKIT_WRITE_TO";
    /// How long a member may edit what they wrote, in milliseconds; 0: never [default: 2 days]
    edit_ms: u64 = "IMKIT_EDIT_MS";
    /// How long an admin or owner may edit what they wrote, in milliseconds [default: for ever]
    admin_edit_ms: u64 = "IMKIT_ADMIN_EDIT_MS";
    /// How long a member may take back what they wrote, in milliseconds; 0: never. Admins may at
    /// any time [default: 2 days]
    recall_ms: u64 = "IMKIT_RECALL_MS";
    /// How long a request to be friends stands, in milliseconds [default: 7 days]
    friend_request_ms: u64 = "IMKIT_FRIEND_REQUEST_MS";
    /// How long a shutdown may take, in milliseconds [default: 5000]
    drain_ms: u64 = "IMKIT_DRAIN_MS";
    /// The most connections at once; further ones wait [default: 100000]
    connections_max: usize = "IMKIT_CONNECTIONS_MAX";
    /// Where uploads are kept: a folder, s3://BUCKET/PREFIX (with AWS_ACCESS_KEY_ID,
    /// AWS_SECRET_ACCESS_KEY, AWS_REGION and AWS_ENDPOINT_URL), or none. Nodes of one database
    /// share one place [default: imkit-media]
    media: String = "IMKIT_MEDIA";
    /// The most bytes of one upload [default: 104857600]
    media_bytes: u64 = "IMKIT_MEDIA_BYTES";
    /// The most bytes of all uploads of a user [default: 2147483648]
    media_user_bytes: u64 = "IMKIT_MEDIA_USER_BYTES";
    /// The most uploads of a user [default: 10000]
    media_user_count: u64 = "IMKIT_MEDIA_USER_COUNT";
    /// Lanes of group commit: one per independent writer of the store [default: 1]
    lanes: usize = "IMKIT_LANES";
    /// Worker threads [default: one per core]
    threads: usize = "IMKIT_THREADS";
}

impl Given {
    /// Reads a TOML file.
    ///
    /// # Errors
    /// When it can't be read, has a key that there is not, or a value of another type.
    pub(crate) fn from_file(path: &Path) -> Result<Self, ServerError> {
        let bad = |error: config::ConfigError| ServerError::File {
            path: path.to_owned(),
            what: error.to_string(),
        };
        let file = config::File::from(path)
            .format(config::FileFormat::Toml)
            .required(true);
        let read = config::Config::builder()
            .add_source(file)
            .build()
            .map_err(bad)?;
        read.try_deserialize().map_err(bad)
    }
}
