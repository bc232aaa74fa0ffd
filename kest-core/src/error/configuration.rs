//! Of configurations and attributes.

/// Kinds of [`ConfigurationError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ConfigurationErrorKind {
    /// No `Kest` is configured.
    MissingKest,
    /// No identity provider is configured.
    MissingIdentity,
    /// No policy engine is configured.
    MissingEngine,
    /// `kest.toml` is absent although the code was compiled with one.
    MissingConfig,
    /// `kest.toml` cannot be read or has wrong content.
    ConfigFile,
    /// A source type is not known.
    UnknownSource,
    /// A source type cannot be registered.
    SourceRegistration,
    /// A root may not claim this source in its scope.
    RootSource,
    /// A trust override is out of range.
    TrustOverride,
    /// A policy list is empty or a name is not one.
    PolicyNames,
    /// A taint is empty or too long, there are too many, or one is removed without being a sanitiser.
    Taints,
    /// A label's name is reserved or repeated.
    Labels,
    /// An attribute value has the wrong type or is too large.
    Attribute,
    /// The global `Kest` is set already.
    AlreadyConfigured,
    /// A layer of a service or of a client has a setting that cannot be used.
    Layer,
    /// The audit sink that the configuration names cannot be opened.
    Audit,
}

detail!(
    /// Wrong or missing configuration, or a wrong attribute value.
    ConfigurationError,
    ConfigurationErrorKind,
    Configuration
);
