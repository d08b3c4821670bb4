//! Uploads and blobs, but for their bytes: those come and go by the transport.

use im_core::frame::{ErrorCode, Failure};
use im_core::model::{
    Blob, BlobId, BlobState, ConversationId, Fact, FactTable, Upload, UploadState, Value,
};
use im_core::port::{ObjectKey, Signed};

use super::params::{Params, bad};
use super::table::Call;
use crate::appender::port_failure;
use crate::media::{NewUpload, no_blob, upload_key};

/// Uploads given at once.
const UPLOADS_PAGE: usize = 50;
/// How long a URL to upload to is good: at most this, and half of what an upload may take.
const PUT_TTL_MAX: std::time::Duration = std::time::Duration::from_secs(3_600);

fn blob_id(params: &mut Params) -> Result<BlobId, Failure> {
    let text = params.text("blob")?;
    BlobId::parse(&text).ok_or_else(no_blob)
}

fn opt_conv(params: &mut Params) -> Result<Option<ConversationId>, Failure> {
    let text = params.opt_text("conv")?;
    let id = text.map(|text| text.parse::<ConversationId>()).transpose();
    id.map_err(|error| bad("conv", &error.to_string()))
}

/// `media.create`: begins an upload. With `by_url` it goes to the storage itself, to the URL in
/// the answer, and `media.finish` tells that it is there.
pub(super) async fn create(call: Call<'_>, mut params: Params) -> Result<Value, Failure> {
    let size = params.opt_count("size")?;
    let new = NewUpload {
        size: size.ok_or_else(|| bad("size", "is missing"))?,
        name: params.opt_text("name")?.unwrap_or_default(),
        said: params.opt_text("mime")?,
        sha256: params.opt_text("sha256")?,
        by_url: params.flag("by_url")?,
    };
    let inner = call.inner;
    let blobs = &inner.media()?.ports.blobs;
    let (id, upload) = inner.new_upload(new)?;
    let mut fields = vec![
        ("blob", Value::from(id.to_string())),
        ("name", upload.name.as_str().into()),
    ];
    if upload.by_url {
        let ttl = (inner.settings.media.upload / 2).min(PUT_TTL_MAX);
        let signed = blobs.sign(&ObjectKey::by_url(id), Signed::Put, ttl).await;
        let url = signed.map_err(|error| port_failure(&error))?;
        let none = || Failure::new(ErrorCode::Unsupported, "this storage signs no URLs");
        fields.push(("url", url.ok_or_else(none)?.into()));
    }
    let value = Value::object(fields);
    let record = call.record(&value);
    let user = &call.caller.user;
    let done = inner.take_room(user, id, &upload, record.as_ref()).await?;
    Ok(match done {
        Some(json) => Value::from_json(&json).unwrap_or(Value::Null),
        None => value,
    })
}

/// `media.finish`: an upload by URL is there.
pub(super) async fn finish(call: Call<'_>, mut params: Params) -> Result<Value, Failure> {
    let id = blob_id(&mut params)?;
    let blob = call.inner.finish(&call.caller.user, id).await?;
    Ok(shown(id, &blob))
}

/// `media.get`: what is known of a blob, to those who may read it; of an upload that is none yet,
/// how far it has come, to its user.
pub(super) async fn get(call: Call<'_>, mut params: Params) -> Result<Value, Failure> {
    let id = blob_id(&mut params)?;
    let conv = opt_conv(&mut params)?;
    let user = &call.caller.user;
    match call.inner.readable(user, id, conv.as_ref()).await {
        Ok(blob) => Ok(shown(id, &blob)),
        Err(refused) => {
            let own = call.inner.fact(&upload_key(user, id)).await?;
            own.as_ref().and_then(line).ok_or(refused)
        }
    }
}

/// `media.link`: a URL by which the caller may read a blob for a short time.
pub(super) async fn link(call: Call<'_>, mut params: Params) -> Result<Value, Failure> {
    let id = blob_id(&mut params)?;
    let conv = opt_conv(&mut params)?;
    let user = &call.caller.user;
    let url = call.inner.link(user, id, conv.as_ref()).await?;
    let none = || Failure::new(ErrorCode::Unsupported, "this storage signs no URLs");
    let url = url.ok_or_else(none)?;
    Ok(Value::object([("url", Value::from(url))]))
}

/// `media.list`: the caller's uploads, in the order of their ids.
pub(super) async fn list(call: Call<'_>, mut params: Params) -> Result<Value, Failure> {
    call.inner.media()?;
    let after = params.opt_text("after")?;
    let table = (FactTable::Upload, "uploads");
    call.page(table, after, UPLOADS_PAGE, line).await
}

/// `media.remove`: ends an upload, or removes a blob that no message names.
pub(super) async fn remove(call: Call<'_>, mut params: Params) -> Result<Value, Failure> {
    let id = blob_id(&mut params)?;
    let user = &call.caller.user;
    call.inner.remove_upload(user, id).await?;
    Ok(Value::Object(Vec::new()))
}

/// `media.usage`: what the caller's uploads take, and may take.
pub(super) async fn usage(call: Call<'_>, _: Params) -> Result<Value, Failure> {
    call.inner.media()?;
    let usage = call.inner.usage(&call.caller.user).await?;
    let settings = &call.inner.settings.media;
    Ok(Value::object([
        ("bytes", Value::from(usage.bytes)),
        ("bytes_max", settings.user_bytes_max.into()),
        ("count", usage.count.into()),
        ("count_max", settings.user_count_max.into()),
    ]))
}

fn shown(id: BlobId, blob: &Blob) -> Value {
    let state = match blob.state {
        BlobState::Good => "good",
        BlobState::Quarantined(_) => "quarantined",
        BlobState::Gone => "gone",
    };
    let mut fields = blob.found.fields();
    fields.extend([
        ("blob", Value::from(id.to_string())),
        ("state", state.into()),
        ("size", blob.size.into()),
        ("name", blob.name.as_str().into()),
        ("sha256", blob.sha256.as_str().into()),
        ("has_thumb", blob.found.thumb.is_some().into()),
    ]);
    Value::object(fields)
}

/// An upload as its user sees it.
fn line(fact: &Fact) -> Option<Value> {
    let upload = Upload::read(&fact.value)?;
    let (state, why) = match &upload.state {
        UploadState::Open => ("open", None),
        UploadState::Done => ("done", None),
        UploadState::Refused(why) => ("refused", Some(why.as_str())),
    };
    let mut fields = vec![
        ("blob", Value::from(fact.key.key.as_str())),
        ("state", state.into()),
        ("size", upload.size.into()),
        ("offset", upload.offset().into()),
        ("name", upload.name.as_str().into()),
    ];
    fields.extend(why.map(|why| ("why", why.into())));
    Some(Value::object(fields))
}
