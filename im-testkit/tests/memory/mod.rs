//! The adapters that live in memory.

mod faulty;
mod tokens;

mod store {
    use std::sync::Arc;

    use im_core::port::Store;
    use im_testkit::memory::MemoryStore;

    async fn fresh() -> ((), Arc<dyn Store>) {
        ((), Arc::new(MemoryStore::new()))
    }

    im_testkit::store_suite!(fresh());
    im_testkit::cold_store_suite!(fresh());
}

mod search {
    use std::sync::Arc;

    use im_core::port::{Search, Store};
    use im_testkit::memory::MemoryStore;

    async fn fresh() -> ((), (Arc<dyn Store>, Arc<dyn Search>)) {
        let store = Arc::new(MemoryStore::new());
        ((), (Arc::clone(&store) as _, store))
    }

    im_testkit::search_suite!(fresh());
}

mod well {
    //! A faulty store with nothing wrong is the store that it wraps.

    use std::sync::Arc;

    use im_core::port::Store;
    use im_testkit::memory::{FaultyStore, MemoryStore};

    async fn fresh() -> ((), Arc<dyn Store>) {
        ((), Arc::new(FaultyStore::new(Arc::new(MemoryStore::new()))))
    }

    im_testkit::store_suite!(fresh());
    im_testkit::cold_store_suite!(fresh());
}

mod blobs {
    use std::sync::Arc;

    use im_core::port::Blobs;
    use im_testkit::memory::MemoryBlobs;

    async fn fresh() -> ((), Arc<dyn Blobs>) {
        ((), Arc::new(MemoryBlobs::new()))
    }

    im_testkit::blobs_suite!(fresh());
}

mod hooks {
    use std::sync::Arc;

    use im_core::port::Hooks;
    use im_testkit::memory::FnHooks;

    async fn accepting() -> ((), Arc<dyn Hooks>) {
        ((), Arc::new(FnHooks::accepting()))
    }

    async fn hiding() -> ((), Arc<dyn Hooks>) {
        ((), Arc::new(FnHooks::hiding()))
    }

    im_testkit::hooks_suite!(accepting());

    mod that_rewrite {
        im_testkit::hooks_suite!(super::hiding());
    }
}

mod directory {
    use std::sync::Arc;

    use im_core::model::UserId;
    use im_core::port::Standing;
    use im_testkit::memory::MemoryDirectory;
    use im_testkit::suite::directory::People;

    async fn fresh() -> ((), People) {
        let directory = MemoryDirectory::new();
        let known = [
            ("al", Standing::Active),
            ("bo", Standing::Banned),
            ("cy", Standing::Unknown),
            ("dy", Standing::Active),
        ];
        let known = known.map(|(id, standing)| (UserId::new(id).unwrap(), standing));
        for (user, standing) in &known {
            directory.set(user, *standing);
        }
        let people = People {
            directory: Arc::new(directory),
            known: known.into(),
        };
        ((), people)
    }

    im_testkit::directory_suite!(fresh());
}
