//! What most kinds of errors are made of.

/// A detail struct: a kind to branch on, a message, and what caused it.
macro_rules! detail {
    ($(#[$doc:meta])* $name:ident, $kind:ident, $variant:ident) => {
        $(#[$doc])*
        pub struct $name {
            kind: $kind,
            message: String,
            source: Option<Box<dyn std::error::Error + Send + Sync>>,
        }

        impl $name {
            /// An error of that kind.
            #[must_use]
            pub fn new(kind: $kind, message: impl Into<String>) -> Self {
                Self { kind, message: message.into(), source: None }
            }

            /// The same error with what caused it.
            #[must_use]
            pub fn with_source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
                self.source = Some(source.into());
                self
            }

            /// What to branch on.
            #[must_use]
            pub fn kind(&self) -> $kind {
                self.kind
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                $crate::text::debug(self, f)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.message)
            }
        }

        impl std::error::Error for $name {
            fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
                self.source.as_deref().map(|s| s as &(dyn std::error::Error + 'static))
            }
        }

        impl From<$name> for $crate::error::Error {
            fn from(error: $name) -> Self {
                Self::$variant(error)
            }
        }
    };
}
