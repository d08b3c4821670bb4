//! The settings in force: what was given, else the defaults, checked.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use im_node::auth::JwtAlgorithm;
use im_node::{Retention, Settings as NodeSettings, WriteTo};
use im_store_sql::{Synchronous, redacted};

use crate::cluster::Cluster;
use crate::error::ServerError;
use crate::given::Given;
use crate::hot::HotTier;
use crate::media::Place;
use crate::out::Out;
use crate::secret::Secret;

/// Where it listens when nobody says.
const LISTEN: &str = "127.0.0.1:8080";
/// Where the messages are when nobody says.
pub(crate) const STORE: &str = "sqlite://imkit.db";

/// What tokens are checked with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Key {
    /// A secret, for HS256 and the like.
    Secret(Secret),
    /// A PEM file, for the algorithms with a public key.
    PublicFile(PathBuf),
}

/// The settings in force.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) listen: String,
    /// `None` in a demo that was given none: a folder of its own, gone with it.
    pub(crate) store: Option<String>,
    /// In place of the store; none: there is one database.
    pub(crate) shards: Vec<String>,
    pub(crate) synchronous: Synchronous,
    /// `None`: nothing is sealed.
    pub(crate) seal_keys: Option<PathBuf>,
    pub(crate) algorithm: JwtAlgorithm,
    pub(crate) key: Key,
    /// `None`: any.
    pub(crate) allowed_origins: Option<Vec<String>>,
    pub(crate) connections_max: usize,
    /// `None`: as many as cores.
    pub(crate) threads: Option<usize>,
    pub(crate) hot: Option<HotTier>,
    pub(crate) cluster: Cluster,
    pub(crate) media: Place,
    pub(crate) bus_prefix: String,
    pub(crate) node: NodeSettings,
    pub(crate) out: Out,
}

impl Settings {
    /// Settings from what was given.
    ///
    /// # Errors
    /// When a setting makes no sense or, outside a demo, is not safe.
    pub(crate) fn new(given: Given, demo: bool) -> Result<Self, ServerError> {
        let hot = HotTier::new(given.hot.as_deref(), given.durability.as_deref())?;
        let shards = shards(&given)?;
        let first = given.store.clone().or_else(|| shards.first().cloned());
        let store = first.or_else(|| (!demo).then(|| STORE.to_owned()));
        let cluster = Cluster::new(&given, store.as_deref())?;
        let algorithm = algorithm(given.jwt_algorithm.as_deref())?;
        let key = key(&given, algorithm, demo)?;
        let mut node = node(&given)?;
        let out = Out::new(&given)?;
        node.push_key = out.push_key();
        let media = Place::new(given.media.as_deref(), demo)?;
        let threads = at_least_1("threads", given.threads)?;
        let connections_max = at_least_1("connections_max", given.connections_max)?;
        Ok(Self {
            listen: given.listen.unwrap_or_else(|| LISTEN.to_owned()),
            store,
            hot,
            shards,
            cluster,
            seal_keys: given.seal_keys,
            media,
            synchronous: synchronous(given.synchronous.as_deref())?,
            algorithm,
            key,
            allowed_origins: given.allowed_origins.map(|list| list.0),
            connections_max: connections_max.unwrap_or(im_transport_ws::CONNECTIONS_MAX),
            threads,
            bus_prefix: given.bus_prefix.unwrap_or_else(|| "im".to_owned()),
            node,
            out,
        })
    }
}

fn shards(given: &Given) -> Result<Vec<String>, ServerError> {
    let Some(shards) = &given.shards else {
        return Ok(Vec::new());
    };
    if given.store.is_some() {
        let what = "the databases are all named here: leave --store out";
        return Err(ServerError::setting("shards", what));
    }
    if shards.0.is_empty() {
        return Err(ServerError::setting("shards", "names no database"));
    }
    Ok(shards.0.clone())
}

fn at_least_1(field: &str, given: Option<usize>) -> Result<Option<usize>, ServerError> {
    if given == Some(0) {
        return Err(ServerError::setting(field, "must be at least 1"));
    }
    Ok(given)
}

fn synchronous(given: Option<&str>) -> Result<Synchronous, ServerError> {
    match given {
        None | Some("full") => Ok(Synchronous::Full),
        Some("normal") => Ok(Synchronous::Normal),
        Some("off") => Ok(Synchronous::Off),
        Some(_) => Err(ServerError::setting(
            "synchronous",
            "must be full, normal or off",
        )),
    }
}

fn algorithm(given: Option<&str>) -> Result<JwtAlgorithm, ServerError> {
    let Some(name) = given else {
        return Ok(JwtAlgorithm::default());
    };
    name.parse().map_err(|error: im_node::auth::JwtError| {
        ServerError::setting("jwt_algorithm", format!("{name}: {error}"))
    })
}

const fn has_secret(algorithm: JwtAlgorithm) -> bool {
    matches!(
        algorithm,
        JwtAlgorithm::HS256 | JwtAlgorithm::HS384 | JwtAlgorithm::HS512
    )
}

fn key(given: &Given, algorithm: JwtAlgorithm, demo: bool) -> Result<Key, ServerError> {
    let secret = Secret::given(given.jwt_secret.clone(), given.jwt_secret_file.as_deref())?;
    if !has_secret(algorithm) {
        if demo {
            let what = "a demo mints its tokens itself, so it needs HS256";
            return Err(ServerError::setting("jwt_algorithm", what));
        }
        if secret.is_some() {
            let what = format!("{algorithm} has a public key and no secret");
            return Err(ServerError::setting("jwt_secret", what));
        }
        return given
            .jwt_public_key_file
            .clone()
            .map(Key::PublicFile)
            .ok_or_else(|| {
                let what = format!("is needed: {algorithm} is checked with a public key");
                ServerError::setting("jwt_public_key_file", what)
            });
    }
    if given.jwt_public_key_file.is_some() {
        let what = format!("{algorithm} has a secret and no public key: --jwt-algorithm?");
        return Err(ServerError::setting("jwt_public_key_file", what));
    }
    match secret {
        Some(secret) if demo => Ok(Key::Secret(secret)),
        Some(secret) => secret.check().map(|()| Key::Secret(secret)),
        None if demo => Ok(Key::Secret(Secret::random())),
        None => Err(ServerError::setting(
            "jwt_secret",
            "a secret is needed to check tokens: set IMKIT_JWT_SECRET or --jwt-secret-file, or \
             look around with --demo. Make one with: head -c 32 /dev/urandom | base64",
        )),
    }
}

fn node(given: &Given) -> Result<NodeSettings, ServerError> {
    let mut node = NodeSettings::default();
    macro_rules! set {
        ($($name:ident),+ => $limits:expr) => { $(if let Some(given) = given.$name {
            $limits.$name = given;
        })+ };
    }
    set!(frame_bytes, page_bytes, text_chars, window => node.limits);
    set!(ack_ms, sends_per_s, dedupe_ms => node.limits);
    set!(reads_per_s, writes_per_s, searches_per_s, uploads_per_s => node.rates);
    set!(asks_per_minute => node.rates);
    set!(lanes => node);
    if let (None, Some(shards)) = (given.lanes, &given.shards) {
        node.lanes = shards.0.len().max(1);
    }
    if let Some(name) = &given.node {
        node.node = name.clone();
    }
    let ms = |given: Option<u64>, default| given.map_or(default, Duration::from_millis);
    node.hello = ms(given.hello_ms, node.hello);
    node.heartbeat = ms(given.heartbeat_ms, node.heartbeat);
    node.drain = ms(given.drain_ms, node.drain);
    node.friend_request = ms(given.friend_request_ms, node.friend_request);
    node.write_to = write_to(given.write_to.as_deref())?;
    let changes = &mut node.changes;
    changes.edit_ms = given.edit_ms.or(changes.edit_ms);
    changes.admin_edit_ms = given.admin_edit_ms.or(changes.admin_edit_ms);
    changes.recall_ms = given.recall_ms.or(changes.recall_ms);
    node.retention = retention(given)?;
    let media = &mut node.media;
    media.bytes_max = given.media_bytes.unwrap_or(media.bytes_max);
    media.user_bytes_max = given.media_user_bytes.unwrap_or(media.user_bytes_max);
    media.user_count_max = given.media_user_count.unwrap_or(media.user_count_max);
    node.check()
        .map_err(|error| ServerError::setting(error.field, error.what))?;
    Ok(node)
}

fn write_to(given: Option<&str>) -> Result<WriteTo, ServerError> {
    match given {
        None | Some("anyone") => Ok(WriteTo::Anyone),
        Some("friends") => Ok(WriteTo::Friends),
        Some(_) => Err(ServerError::setting(
            "write_to",
            "must be anyone or friends",
        )),
    }
}

fn retention(given: &Given) -> Result<Retention, ServerError> {
    let days = |field, given: Option<u32>| match given {
        Some(0) => Err(ServerError::setting(field, "must be at least 1")),
        given => Ok(given.map(|days| Duration::from_secs(u64::from(days) * 24 * 3_600))),
    };
    Ok(Retention {
        direct: days("keep_direct_days", given.keep_direct_days)?,
        group: days("keep_group_days", given.keep_group_days)?,
        channel: days("keep_channel_days", given.keep_channel_days)?,
        desk: days("keep_desk_days", given.keep_desk_days)?,
    })
}

/// What of the settings says how long things are kept, and whether they are sealed.
fn kept_lines(settings: &Settings) -> String {
    let mut lines = match &settings.seal_keys {
        Some(path) => format!("seal_keys = {:?}\n", path.display().to_string()),
        None => "# seal_keys: none, and nothing is sealed\n".to_owned(),
    };
    let Retention {
        direct,
        group,
        channel,
        desk,
    } = settings.node.retention;
    for (kind, keep) in [
        ("direct", direct),
        ("group", group),
        ("channel", channel),
        ("desk", desk),
    ] {
        lines.push_str(&match keep {
            Some(keep) => format!("keep_{kind}_days = {}\n", keep.as_secs() / (24 * 3_600)),
            None => format!("# keep_{kind}_days: for ever\n"),
        });
    }
    lines
}

impl Settings {
    /// The store or the shards, as a file would name them.
    fn store_line(&self) -> String {
        if !self.shards.is_empty() {
            let shards: Vec<_> = self.shards.iter().map(|url| redacted(url)).collect();
            return format!("shards = {shards:?}");
        }
        let own = || "(a folder of the demo's own)".to_owned();
        format!(
            "store = {:?}",
            self.store.as_deref().map_or_else(own, redacted)
        )
    }
}

/// What people may do to each other and to what they said, as a file would hold it.
fn people_lines(node: &NodeSettings) -> String {
    let write_to = match node.write_to {
        WriteTo::Anyone => "anyone",
        WriteTo::Friends => "friends",
    };
    let span = |name: &str, ms: Option<u64>| match ms {
        None => format!("# {name}: for ever"),
        Some(ms) => format!("{name} = {ms}"),
    };
    let request = node.friend_request.as_millis();
    [
        format!("write_to = {write_to:?}"),
        span("edit_ms", node.changes.edit_ms),
        span("admin_edit_ms", node.changes.admin_edit_ms),
        span("recall_ms", node.changes.recall_ms),
        format!("friend_request_ms = {request}"),
    ]
    .join("\n")
}

/// The settings as a file would hold them, secrets told by their length only.
impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "listen = {:?}", self.listen)?;
        writeln!(f, "{}", self.store_line())?;
        f.write_str(&kept_lines(self))?;
        let mut text = |key: &str, value: &str| writeln!(f, "{key} = {value:?}");
        let (bus, registry) = self.cluster.shown();
        let (hot, durability) = HotTier::shown(self.hot.as_ref());
        for (key, value) in [("hot", &hot), ("bus", &bus), ("registry", &registry)] {
            text(key, value)?;
        }
        text("bus_prefix", &self.bus_prefix)?;
        text("node", self.node.node.as_str())?;
        text("durability", durability)?;
        text(
            "synchronous",
            &format!("{:?}", self.synchronous).to_lowercase(),
        )?;
        text("jwt_algorithm", self.algorithm.as_str())?;
        match &self.key {
            Key::Secret(secret) => text("jwt_secret", &format!("{secret:?}"))?,
            Key::PublicFile(path) => text("jwt_public_key_file", &path.display().to_string())?,
        }
        match &self.allowed_origins {
            None => writeln!(f, "# allowed_origins: any")?,
            Some(origins) => writeln!(f, "allowed_origins = {origins:?}")?,
        }
        let (node, limits) = (&self.node, &self.node.limits);
        let millis = |span: Duration| span.as_millis();
        writeln!(f, "frame_bytes = {}", limits.frame_bytes)?;
        writeln!(f, "page_bytes = {}", limits.page_bytes)?;
        writeln!(f, "text_chars = {}", limits.text_chars)?;
        writeln!(f, "window = {}", limits.window)?;
        writeln!(f, "ack_ms = {}", limits.ack_ms)?;
        writeln!(f, "hello_ms = {}", millis(node.hello))?;
        writeln!(f, "heartbeat_ms = {}", millis(node.heartbeat))?;
        writeln!(f, "sends_per_s = {}", limits.sends_per_s)?;
        let rates = &node.rates;
        writeln!(f, "reads_per_s = {}", rates.reads_per_s)?;
        writeln!(f, "writes_per_s = {}", rates.writes_per_s)?;
        writeln!(f, "searches_per_s = {}", rates.searches_per_s)?;
        writeln!(f, "uploads_per_s = {}", rates.uploads_per_s)?;
        writeln!(f, "asks_per_minute = {}", rates.asks_per_minute)?;
        write!(f, "{}", self.out)?;
        writeln!(f, "dedupe_ms = {}", limits.dedupe_ms)?;
        writeln!(f, "{}", people_lines(node))?;
        writeln!(f, "media = {:?}", self.media.to_string())?;
        writeln!(f, "media_bytes = {}", node.media.bytes_max)?;
        writeln!(f, "media_user_bytes = {}", node.media.user_bytes_max)?;
        writeln!(f, "media_user_count = {}", node.media.user_count_max)?;
        writeln!(f, "drain_ms = {}", millis(node.drain))?;
        writeln!(f, "connections_max = {}", self.connections_max)?;
        writeln!(f, "lanes = {}", node.lanes)?;
        match self.threads {
            None => writeln!(f, "# threads: one per core"),
            Some(threads) => writeln!(f, "threads = {threads}"),
        }
    }
}
