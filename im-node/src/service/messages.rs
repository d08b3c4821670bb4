//! Sending and reading without a connection: the same as the frames `send`, `pull` and `sync`.

use im_core::frame::{
    ClientFrame, Codec, DecodeError, ErrorCode, Failure, PullRange, ServerFrame, decode_client,
};
use im_core::model::{Draft, Value};
use im_core::rule::forward::check_own;

use super::params::Params;
use super::table::Call;

/// Reads parameters as the frame of that name.
fn as_frame(
    t: &str,
    params: Params,
    more: &[(&'static str, Value)],
) -> Result<ClientFrame, Failure> {
    let mut fields = vec![("t".into(), Value::from(t))];
    if let Value::Object(given) = params.into_value() {
        fields.extend(given.into_iter().filter(|(key, _)| key != "t"));
    }
    fields.extend(
        more.iter()
            .map(|(key, value)| ((*key).into(), value.clone())),
    );
    let text = Value::object(fields).to_json();
    decode_client(Codec::Json, text.as_bytes()).map_err(|error| match error {
        DecodeError::Bad { error, .. } => Failure::new(ErrorCode::BadFrame, error.to_string()),
        other => Failure::new(ErrorCode::BadFrame, other.to_string()),
    })
}

/// Reads the fields of `send`.
pub(super) fn draft(params: Params) -> Result<Draft, Failure> {
    match as_frame("send", params, &[])? {
        ClientFrame::Send(draft) => {
            check_own(&draft.body)?;
            Ok(draft)
        }
        _ => Err(Failure::new(ErrorCode::Internal, "an internal error")),
    }
}

/// `messages.send`: the fields of `send`; gives those of `sent`.
pub(super) async fn send(call: Call<'_>, params: Params) -> Result<Value, Failure> {
    let draft = draft(params)?;
    let (conv, appended) = call.inner.send_and_wait(&call.caller.user, &draft).await?;
    let sent = ServerFrame::Sent {
        cm_id: draft.cm_id,
        conv,
        seq: appended.seq,
        id: appended.id,
        at: appended.at,
        dup: appended.dup,
    };
    Ok(without_t(sent.to_value()))
}

/// `conv.entries`: the fields of `pull`; gives those of `page`.
pub(super) async fn entries(call: Call<'_>, mut params: Params) -> Result<Value, Failure> {
    // A query string has only texts.
    let mut more = vec![("id", Value::Int(0))];
    for field in ["after", "before", "limit"] {
        more.extend(params.opt_count(field)?.map(|count| (field, count.into())));
    }
    let ClientFrame::Pull(pull) = as_frame("pull", params, &more)? else {
        return Err(Failure::new(ErrorCode::Internal, "an internal error"));
    };
    debug_assert!(matches!(
        pull.range,
        PullRange::After(_) | PullRange::Before(_)
    ));
    let page = call.inner.pull(&call.caller.user, pull).await?;
    let mut value = without_t(ServerFrame::Page(page).to_value());
    value.take("id");
    Ok(value)
}

/// `conv.list`: the fields of `sync`; gives those of `synced`.
pub(super) async fn list(call: Call<'_>, mut params: Params) -> Result<Value, Failure> {
    let since = params.opt_text("since")?;
    let synced = call
        .inner
        .sync(&call.caller.user, since.as_deref(), None)
        .await?;
    Ok(without_t(ServerFrame::Synced(synced).to_value()))
}

pub(super) fn without_t(mut value: Value) -> Value {
    value.take("t");
    value
}
