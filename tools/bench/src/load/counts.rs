//! What a group of connections has seen.

macro_rules! counts {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// What a group of connections has seen.
        #[derive(Clone, Debug, Default)]
        pub(crate) struct Counts {
            $($(#[$doc])* pub(crate) $name: u64,)*
            /// The last refusal's words, or the last close code.
            pub(crate) refusal: String,
        }

        impl Counts {
            /// What was added since.
            pub(crate) fn since(&self, before: &Self) -> Self {
                Self {
                    $($name: self.$name - before.$name,)*
                    refusal: self.refusal.clone(),
                }
            }

            /// Both together.
            pub(crate) fn and(mut self, other: &Self) -> Self {
                $(self.$name += other.$name;)*
                if self.refusal.is_empty() {
                    self.refusal.clone_from(&other.refusal);
                }
                self
            }
        }
    };
}

counts! {
    /// Messages received once open.
    frames,
    /// Bytes received, frame heads included, TLS not.
    bytes,
    /// Marks of posts seen in them.
    comments,
    /// Frames with a mark in them.
    comment_frames,
    /// Bytes of those.
    comment_bytes,
    /// Messages of the kind that the dialect has an eye on.
    noticed,
    /// Receipts `durable`.
    durable,
    /// Receipts `rejected` and messages `error`.
    refused,
    /// Connections that became ready.
    ready,
    /// Connections that ended although nobody here ended them.
    lost,
}
