//! Panics of tasks: a runtime swallows them, and a run must not.

use std::cell::RefCell;
use std::sync::Once;

thread_local! {
    /// `None` while no run watches; the first panic of the run.
    static FIRST: RefCell<Option<Option<String>>> = const { RefCell::new(None) };
}

/// Watches for panics on this thread until its end.
pub(crate) struct Watch(());

/// Begins to watch.
pub(crate) fn watch() -> Watch {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let taken = FIRST.with_borrow_mut(|first| match first {
                Some(first) => {
                    first.get_or_insert_with(|| info.to_string());
                    true
                }
                None => false,
            });
            if !taken {
                before(info);
            }
        }));
    });
    FIRST.set(Some(None));
    Watch(())
}

impl Watch {
    /// Ends it, and gives the first panic.
    pub(crate) fn end(self) -> Option<String> {
        FIRST.take().flatten()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        FIRST.set(None);
    }
}
