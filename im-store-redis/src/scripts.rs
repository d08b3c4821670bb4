//! Scripts that Redis runs.

/// Makes `Scripts` of the files in `lua/` beside the caller, by their names, each with
/// `lua/shared.lua` before it.
macro_rules! scripts {
    ($($name:ident)+) => {
        #[derive(Debug)]
        pub(super) struct Scripts {
            $(pub(super) $name: redis::Script,)+
        }

        impl Scripts {
            pub(super) fn new() -> Self {
                Self {
                    $($name: redis::Script::new(concat!(
                        include_str!("lua/shared.lua"),
                        include_str!(concat!("lua/", stringify!($name), ".lua"))
                    )),)+
                }
            }
        }
    };
}

pub(crate) use scripts;
