//! A store that fails when it is told to.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use im_core::model::{ConversationId, Entry, Fact, Member, Stamps, Timestamp, UserId};
use im_core::port::{
    Changed, Commit, Committed, FactQuery, LogQuery, MembershipPage, PortError, PortErrorKind,
    RecordKey, Rejected, Store, View,
};
use parking_lot::Mutex;
use tokio::sync::watch;

/// What goes wrong with a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It fails before anything happens: `Unavailable`.
    FailBefore,
    /// It happens and fails all the same: `Unavailable`, an unknown outcome.
    FailAfter,
    /// It waits until the fault is another one or none, and then goes as that says.
    Hang,
    /// It happens and waits like [`Fault::Hang`] before it answers.
    HangAfter,
    /// It happens after a wait.
    Delay(Duration),
    /// There is no room: `Exhausted`. Set for writes only, it is a full disk.
    Full,
}

/// A [`Store`] around another one, whose writes (`commit`, `enter`) and reads fail as told.
///
/// Calls that hang are in flight: changing the fault lets them go on.
#[derive(Debug)]
pub struct FaultyStore {
    inner: Arc<dyn Store>,
    writes: Switch,
    reads: Switch,
}

impl FaultyStore {
    /// A store that does what `inner` does.
    #[must_use]
    pub fn new(inner: Arc<dyn Store>) -> Self {
        Self {
            inner,
            writes: Switch::new(),
            reads: Switch::new(),
        }
    }

    /// What goes wrong with every write from now on; `None` ends it.
    pub fn set_writes(&self, fault: Option<Fault>) {
        self.writes.set(fault);
    }

    /// What goes wrong with every read from now on; `None` ends it.
    pub fn set_reads(&self, fault: Option<Fault>) {
        self.reads.set(fault);
    }

    /// What goes wrong with the next write, and with no other. With [`Fault::Hang`] and
    /// [`Fault::HangAfter`] it hangs until [`Self::set_writes`] is called.
    pub fn fail_next_write(&self, fault: Fault) {
        *self.writes.next.lock() = Some(fault);
    }

    async fn read<T>(
        &self,
        call: impl Future<Output = Result<T, PortError>> + Send,
    ) -> Result<T, PortError> {
        self.reads.around(call).await.and_then(|answer| answer)
    }
}

#[async_trait]
impl Store for FaultyStore {
    async fn commit(&self, batch: &[Commit]) -> Vec<Result<Committed, Rejected>> {
        match self.writes.around(self.inner.commit(batch)).await {
            Ok(answers) => answers,
            Err(error) => batch.iter().map(|_| Err(error.clone().into())).collect(),
        }
    }

    async fn view(
        &self,
        conv: &ConversationId,
        users: &[UserId],
    ) -> Result<Option<View>, PortError> {
        self.read(self.inner.view(conv, users)).await
    }

    async fn members(
        &self,
        conv: &ConversationId,
        after: Option<&UserId>,
        limit: usize,
    ) -> Result<Vec<Member>, PortError> {
        self.read(self.inner.members(conv, after, limit)).await
    }

    async fn log(&self, conv: &ConversationId, query: LogQuery) -> Result<Vec<Entry>, PortError> {
        self.read(self.inner.log(conv, query)).await
    }

    async fn memberships(
        &self,
        user: &UserId,
        since: &Stamps,
        limit: usize,
        detail: bool,
    ) -> Result<MembershipPage, PortError> {
        let call = self.inner.memberships(user, since, limit, detail);
        self.read(call).await
    }

    async fn changed(&self, since: &Stamps, limit: usize) -> Result<Changed, PortError> {
        self.read(self.inner.changed(since, limit)).await
    }

    async fn record(&self, key: &RecordKey, now: Timestamp) -> Result<Option<String>, PortError> {
        self.read(self.inner.record(key, now)).await
    }

    async fn facts(&self, query: &FactQuery) -> Result<Vec<Fact>, PortError> {
        self.read(self.inner.facts(query)).await
    }
}

#[derive(Debug)]
struct Switch {
    /// Of the next call only.
    next: Mutex<Option<Fault>>,
    /// Of every call; watched by those that hang.
    fault: watch::Sender<Option<Fault>>,
}

impl Switch {
    fn new() -> Self {
        Self {
            next: Mutex::default(),
            fault: watch::Sender::new(None),
        }
    }

    fn set(&self, fault: Option<Fault>) {
        self.fault.send_replace(fault);
    }

    async fn around<T>(&self, call: impl Future<Output = T> + Send) -> Result<T, PortError> {
        let mut seen = self.fault.subscribe();
        let all = *seen.borrow_and_update();
        let mut fault = self.next.lock().take().or(all);
        while fault == Some(Fault::Hang) {
            fault = changed(&mut seen).await;
        }
        let fail = |kind| Err(PortError::new(kind));
        match fault {
            None | Some(Fault::Hang) => Ok(call.await),
            Some(Fault::FailBefore) => fail(PortErrorKind::Unavailable),
            Some(Fault::Full) => fail(PortErrorKind::Exhausted),
            Some(Fault::FailAfter) => {
                call.await;
                fail(PortErrorKind::Unavailable)
            }
            Some(Fault::HangAfter) => {
                let answer = call.await;
                changed(&mut seen).await;
                Ok(answer)
            }
            Some(Fault::Delay(wait)) => {
                tokio::time::sleep(wait).await;
                Ok(call.await)
            }
        }
    }
}

/// The fault after its next change. The sender can't be gone: the caller holds the store.
async fn changed(seen: &mut watch::Receiver<Option<Fault>>) -> Option<Fault> {
    seen.changed().await.ok()?;
    *seen.borrow_and_update()
}
