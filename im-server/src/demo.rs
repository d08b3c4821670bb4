//! The demo: three users, a group and a direct chat, and links to open.

use std::path::{Path, PathBuf};
use std::time::Duration;

use im_core::frame::{ErrorCode, Failure};
use im_core::model::{CmId, ConversationId, Draft, Target, UserId, Value};
use im_node::Node;
use im_node::auth::JwtAuthenticator;

use crate::error::ServerError;
use crate::tokens::mint;

const USERS: [&str; 3] = ["ana", "ben", "cara"];
/// Long enough for any look around.
const TOKEN_TTL: Duration = Duration::from_secs(7 * 24 * 3_600);
/// Who says what to whom, in order.
const TALK: [(&str, Option<&str>, &str); 6] = [
    (
        "ben",
        Some("ana"),
        "Hi Ana, have you seen the plan for Saturday?",
    ),
    ("ana", Some("ben"), "Not yet. Is it in the group?"),
    ("ben", Some("ana"), "Yes, Cara wrote it there."),
    ("cara", None, "Saturday: we meet at nine at the station."),
    ("ben", None, "I bring the sandwiches."),
    (
        "cara",
        None,
        "And a map, please: there is no signal up there.",
    ),
];

/// A folder for a store that is gone with the demo.
#[derive(Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    /// A new folder that only this user reads.
    ///
    /// # Errors
    /// When there is no room for temporary files.
    pub(crate) fn new() -> Result<Self, ServerError> {
        let name = format!("imkit-demo-{}", uuid::Uuid::new_v4().simple());
        let path = std::env::temp_dir().join(name);
        let mut builder = std::fs::DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(&path)?;
        Ok(Self(path))
    }

    /// The URL of the store in it.
    pub(crate) fn store(&self) -> String {
        format!("sqlite://{}", self.0.join("demo.db").display())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What can't be removed is the system's to clean up.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Makes the demo's conversations, unless the store has some of Ana's already.
///
/// # Errors
/// When the service refuses.
pub(crate) async fn fill(node: &Node) -> Result<(), ServerError> {
    let service = node.service();
    let [ana, ben, cara] = USERS.map(user);
    let (ana, ben, cara) = (ana?, ben?, cara?);
    let list = service
        .call(&ana, "conv.list", Value::Object(Vec::new()), None)
        .await?;
    if !matches!(list.get("convs"), Some(Value::Array(convs)) if convs.is_empty()) {
        return Ok(());
    }
    let members: Vec<Value> = [&ben, &ana].map(|user| user.as_str().into()).into();
    let params = Value::object([
        ("title", Value::from("Hiking")),
        ("members", members.into()),
    ]);
    let made = service.call(&cara, "groups.create", params, None).await?;
    let group = made
        .get("conv")
        .and_then(Value::as_text)
        .unwrap_or_default()
        .to_owned();
    let group = ConversationId::new(group).map_err(|_| internal())?;
    for (at, (from, to, text)) in TALK.into_iter().enumerate() {
        let to = match to {
            Some(name) => Target::User(user(name)?),
            None => Target::Conversation(group.clone()),
        };
        let cm_id = CmId::new(format!("demo-{at}")).map_err(|_| internal())?;
        service
            .send(&user(from)?, &Draft::text(cm_id, to, text))
            .await?;
    }
    Ok(())
}

/// What to open and what to type, once the server listens.
///
/// # Errors
/// When no token can be minted.
pub(crate) fn greeting(auth: &JwtAuthenticator, address: &str) -> Result<String, ServerError> {
    let mut text = String::from("imkit demo: open two of these in two tabs of a browser\n\n");
    let mut first = None;
    for name in USERS {
        let token = mint(auth, &user(name)?, TOKEN_TTL, None, &[])?;
        text.push_str(&format!(
            "  {name:<5} http://{address}/?token={token}#{name}\n\n"
        ));
        first.get_or_insert(token);
    }
    text.push_str("Write something in one tab and watch the other. Or ask the API:\n\n");
    let token = first.unwrap_or_default();
    text.push_str(&format!(
        "  curl -H 'Authorization: Bearer {token}' http://{address}/v1/sync\n\n"
    ));
    text.push_str("Ctrl-C ends it.\n");
    Ok(text)
}

fn user(name: &str) -> Result<UserId, ServerError> {
    UserId::new(name).map_err(|_| internal().into())
}

fn internal() -> Failure {
    Failure::new(ErrorCode::Internal, "an internal error")
}
