//! What goes out: webhooks and pushes, from their settings to what follows the log.

use std::fmt;
use std::io::Write as _;
use std::sync::Arc;

use im_core::model::Seq;
use im_core::port::{Clock, Store};
use im_node::Node;
use im_out::{
    Address, Allow, Endpoint, FollowSettings, Follower, PushSettings, Pusher, Reach, Signer, Sink,
    VapidKey, WebPush, Webhook, dead_letters, replay,
};
use tokio::task::JoinSet;

use crate::cli::WebhooksCommand;
use crate::error::ServerError;
use crate::given::Given;
use crate::settings::Settings;
use crate::store::open_store;

/// The most endpoints.
const WEBHOOKS_MAX: usize = 16;

/// What goes out.
#[derive(Debug, Clone)]
pub(crate) struct Out {
    webhooks: Vec<(String, Endpoint)>,
    vapid: Option<VapidKey>,
    text: bool,
    allow: Allow,
}

impl Out {
    /// Settings from what was given.
    ///
    /// # Errors
    /// When one makes no sense, or needs another.
    pub(crate) fn new(given: &Given) -> Result<Self, ServerError> {
        let private = given.out_private.unwrap_or_default();
        let allow = Allow {
            private,
            plain: private,
        };
        Ok(Self {
            webhooks: webhooks(given, allow)?,
            vapid: vapid(given)?,
            text: given.push_text.unwrap_or(true),
            allow,
        })
    }

    /// What pages subscribe to pushes with.
    pub(crate) fn push_key(&self) -> Option<String> {
        self.vapid.as_ref().map(VapidKey::public)
    }

    /// Starts to follow; what is given ends it when it is dropped.
    ///
    /// # Errors
    /// When TLS can't be set up.
    pub(crate) fn start(&self, node: &Node) -> Result<JoinSet<()>, ServerError> {
        let mut following = JoinSet::new();
        if self.webhooks.is_empty() && self.vapid.is_none() {
            return Ok(following);
        }
        let reach = Reach::new(self.allow);
        let reach = reach.map_err(|error| ServerError::setting("webhooks", error.to_string()))?;
        let (store, registry, clock) = node.ports();
        let holder = format!("{} {}", node.settings().node, uuid::Uuid::new_v4().simple());
        let mut follow = |name: &str, sink: Arc<dyn Sink>| {
            let (store, clock) = (Arc::clone(&store), Arc::clone(&clock));
            let follower = Follower::new(name, &holder, store, clock, sink);
            following.spawn(follower.settings(FollowSettings::default()).run());
        };
        for (name, endpoint) in &self.webhooks {
            let clock: Arc<dyn Clock> = Arc::clone(&clock);
            let webhook = Webhook::new(endpoint.clone(), reach.clone(), clock);
            follow(&follower_name(name), Arc::new(webhook));
        }
        if let Some(key) = &self.vapid {
            let settings = PushSettings {
                text: self.text,
                ..PushSettings::default()
            };
            let web = WebPush::new(key.clone(), reach, Arc::clone(&clock));
            let (store, clock) = (Arc::clone(&store), Arc::clone(&clock));
            let pusher = Pusher::new(store, registry, Arc::new(node.clone()), clock, settings);
            follow("push", Arc::new(pusher.way("web", Arc::new(web))));
        }
        Ok(following)
    }
}

/// The settings as a file would hold them, without secrets and without the paths of addresses,
/// which may hold one.
impl fmt::Display for Out {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, endpoint) in &self.webhooks {
            writeln!(f, "# webhook {name} to {:?}", endpoint.address)?;
        }
        match &self.vapid {
            None => writeln!(f, "# vapid_key: no pushes")?,
            Some(key) => writeln!(f, "# vapid_key: its public key is {}", key.public())?,
        }
        writeln!(f, "push_text = {}", self.text)?;
        writeln!(f, "out_private = {}", self.allow.private)
    }
}

fn follower_name(name: &str) -> String {
    format!("webhook {name}")
}

fn webhooks(given: &Given, allow: Allow) -> Result<Vec<(String, Endpoint)>, ServerError> {
    let Some(list) = &given.webhooks else {
        return Ok(Vec::new());
    };
    let wrong = |what: String| ServerError::setting("webhooks", what);
    if list.0.len() > WEBHOOKS_MAX {
        return Err(wrong(format!("are more than {WEBHOOKS_MAX}")));
    }
    let signer = signer(given)?;
    let mut webhooks: Vec<(String, Endpoint)> = Vec::with_capacity(list.0.len());
    for item in &list.0 {
        let (name, address) = item.split_once('=').unwrap_or(("", item));
        let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if name.is_empty() || name.len() > 32 || !name.chars().all(is_name) {
            let what = "each needs a name of a-z, 0-9 and -: crm=https://crm.example/hook";
            return Err(wrong(what.to_owned()));
        }
        if webhooks.iter().any(|(known, _)| known == name) {
            return Err(wrong(format!("{name} is there twice")));
        }
        let address = Address::parse(address, allow);
        let address = address.map_err(|error| wrong(format!("{name}: {error}")))?;
        let endpoint = Endpoint {
            address,
            signer: signer.clone(),
            events: given.webhook_events.clone().map(|list| list.0),
        };
        webhooks.push((name.to_owned(), endpoint));
    }
    Ok(webhooks)
}

fn signer(given: &Given) -> Result<Signer, ServerError> {
    let secrets = given.webhook_secret.clone().unwrap_or_default().0;
    let wrong = |what: String| ServerError::setting("webhook_secret", what);
    let signer = match secrets.as_slice() {
        [one] => Signer::parse(one, None),
        [one, other] => Signer::parse(one, Some(other)),
        _ => {
            return Err(wrong(
                "one is needed, or two while one replaces the other".to_owned(),
            ));
        }
    };
    signer.map_err(|error| {
        let make = "Make one with: echo whsec_$(head -c 32 /dev/urandom | base64)";
        wrong(format!("{error}. {make}"))
    })
}

fn vapid(given: &Given) -> Result<Option<VapidKey>, ServerError> {
    let Some(key) = &given.vapid_key else {
        return Ok(None);
    };
    let Some(contact) = &given.vapid_contact else {
        let what = "is needed for pushes: mailto:ops@your.example";
        return Err(ServerError::setting("vapid_contact", what));
    };
    let key = VapidKey::parse(key, contact);
    let key = key.map_err(|error| ServerError::setting("vapid_key", error.to_string()))?;
    Ok(Some(key))
}

/// `im-server webhooks …`
///
/// # Errors
/// When the store can't be opened, or does not answer.
pub(crate) fn act(settings: &Settings, command: WebhooksCommand) -> Result<(), ServerError> {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().build()?.block_on(async {
        let url = settings.store.as_deref().unwrap_or_default();
        let opened = open_store(url, settings).await?;
        let said = on(&opened.store(), command).await;
        opened.close().await?;
        Ok(std::io::stdout().write_all(said?.as_bytes())?)
    })
}

async fn on(store: &Arc<dyn Store>, command: WebhooksCommand) -> Result<String, ServerError> {
    match command {
        WebhooksCommand::Dead { name } => {
            let dead = dead_letters(store, &follower_name(&name)).await?;
            let line = |dead: &im_out::Dead| {
                let (conv, seq) = (dead.conv.as_str(), dead.seq.0);
                format!("{conv}  {seq}  {} ms  {}\n", dead.at.0, dead.why)
            };
            Ok(dead.iter().map(line).collect())
        }
        WebhooksCommand::Replay { name, conv, from } => {
            replay(store, &follower_name(&name), &conv, Seq(from)).await?;
            Ok(String::new())
        }
    }
}
