//! The adapters that live in memory.

mod store {
    use std::sync::Arc;

    use im_core::port::Store;
    use im_testkit::memory::MemoryStore;

    async fn fresh() -> ((), Arc<dyn Store>) {
        ((), Arc::new(MemoryStore::new()))
    }

    im_testkit::store_suite!(fresh());
}
