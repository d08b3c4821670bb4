//! Blocks: one user wants nothing from another.

use im_core::frame::{ErrorCode, Failure};
use im_core::model::{Value, direct_id};
use im_core::port::Write;

use super::params::Params;
use super::table::Call;

pub(super) async fn add(call: Call<'_>, params: Params) -> Result<Value, Failure> {
    set(call, params, true).await
}

pub(super) async fn remove(call: Call<'_>, params: Params) -> Result<Value, Failure> {
    set(call, params, false).await
}

async fn set(call: Call<'_>, mut params: Params, on: bool) -> Result<Value, Failure> {
    let other = params.user("user")?;
    let user = call.caller.user.clone();
    if other == user {
        return Err(Failure::new(
            ErrorCode::Conflict,
            "nobody blocks themselves",
        ));
    }
    let conv = direct_id(&user, &other);
    let writes = vec![Write::Block { user, other, on }];
    let value = Value::Object(Vec::new());
    let value = call.commit(conv.clone(), writes, value).await?;
    call.inner.forget_barrier(conv);
    call.inner.watch_anew(&call.caller.user);
    Ok(value)
}
