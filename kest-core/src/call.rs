//! One call of a protected function: what the attribute fixed when it was compiled ([`CallSpec`]),
//! and what its expressions gave this time ([`Invocation`]). Spec §7.

use std::borrow::Cow;
use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

use crate::canonical;
use crate::error::{ConfigurationError, ConfigurationErrorKind, Error};
use crate::identity::IdentityProvider;
use crate::policy::PolicyEngine;
use crate::trust::TrustEvaluator;

/// What the attribute fixed when the function was compiled.
#[derive(Debug)]
pub struct CallSpec {
    /// Name of the operation: `operation = "…"`, else the function's name.
    pub operation: &'static str,
    /// Name of the span: `kest.verified.` and the operation.
    pub span: &'static str,
    /// `module_path!()::fn`: what deviations are scoped by.
    pub function: &'static str,
    /// Literal policy names, in order.
    pub policies: &'static [&'static str],
    /// Classification of the entry.
    pub classification: &'static str,
    /// Literal source type.
    pub source_type: Option<&'static str>,
    /// Literal taints to add.
    pub added_taints: &'static [&'static str],
    /// Literal taints to remove.
    pub removed_taints: &'static [&'static str],
    /// Literal trust override, 0–100.
    pub trust_override: Option<u8>,
    /// Whether the function is a declared sanitiser.
    pub sanitizer: bool,
    /// Literal labels, unique by name.
    pub labels: &'static [(&'static str, &'static str)],
    /// The `kest.toml` that was in force at compile time, for the error of a run without one.
    pub config_seen: Option<&'static str>,
}

/// One invocation: the [`CallSpec`] and the values of the attribute's expressions.
///
/// Owned and `Send`: what the expressions borrowed ends with the statement that builds it.
/// The first value that cannot be carried is kept as the error of the call.
#[derive(Debug)]
pub struct Invocation {
    pub(crate) call: &'static CallSpec,
    pub(crate) operation: Option<Cow<'static, str>>,
    pub(crate) classification: Option<Cow<'static, str>>,
    pub(crate) policies: Option<Vec<String>>,
    pub(crate) source_type: Option<String>,
    pub(crate) added_taints: Option<Vec<String>>,
    pub(crate) removed_taints: Option<Vec<String>>,
    pub(crate) trust_override: Option<u8>,
    pub(crate) labels: Vec<(Cow<'static, str>, String)>,
    pub(crate) user: Option<Value>,
    pub(crate) agent: Option<Value>,
    pub(crate) task: Option<Value>,
    pub(crate) resource_id: Option<String>,
    pub(crate) resource_attr: Option<Value>,
    pub(crate) inputs: Option<serde_json::Map<String, Value>>,
    pub(crate) engine: Option<Arc<dyn PolicyEngine>>,
    pub(crate) identity: Option<Arc<dyn IdentityProvider>>,
    pub(crate) trust_evaluator: Option<Arc<dyn TrustEvaluator>>,
    pub(crate) error: Option<Box<Error>>,
}

/// A value an attribute may carry: anything that implements [`serde::Serialize`].
///
/// `null` (so also `Option::None`) counts as not given.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be recorded: it does not implement `serde::Serialize`",
    label = "not a value Kest can record",
    note = "if this is a future, add `.await`; if it is a function, call it"
)]
pub trait Attribute {
    /// The JSON value, or why JCS cannot carry it.
    ///
    /// # Errors
    /// See [`canonical::to_value`].
    fn to_value(&self) -> Result<Value, canonical::CanonicalError>;
}

#[diagnostic::do_not_recommend]
impl<T: Serialize + ?Sized> Attribute for T {
    fn to_value(&self) -> Result<Value, canonical::CanonicalError> {
        canonical::to_value(self)
    }
}

/// One name or several: what `policy = unchecked(…)` and run-time taint lists accept.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a name or a list of names",
    label = "expected a string or a list of strings"
)]
pub trait Names {
    /// The names, in order.
    fn into_names(self) -> Vec<String>;
}

impl Names for &str {
    fn into_names(self) -> Vec<String> {
        vec![self.to_owned()]
    }
}

impl Names for String {
    fn into_names(self) -> Vec<String> {
        vec![self]
    }
}

impl Names for &String {
    fn into_names(self) -> Vec<String> {
        vec![self.clone()]
    }
}

impl<S: AsRef<str>> Names for Vec<S> {
    fn into_names(self) -> Vec<String> {
        self.iter().map(|s| s.as_ref().to_owned()).collect()
    }
}

impl<S: AsRef<str>> Names for &[S] {
    fn into_names(self) -> Vec<String> {
        self.iter().map(|s| s.as_ref().to_owned()).collect()
    }
}

impl<S: AsRef<str>, const N: usize> Names for [S; N] {
    fn into_names(self) -> Vec<String> {
        self.iter().map(|s| s.as_ref().to_owned()).collect()
    }
}

impl<S: AsRef<str>, const N: usize> Names for &[S; N] {
    fn into_names(self) -> Vec<String> {
        self.iter().map(|s| s.as_ref().to_owned()).collect()
    }
}

impl Invocation {
    /// An invocation in which every expression is still to be set.
    #[must_use]
    pub fn new(call: &'static CallSpec) -> Self {
        Self {
            call,
            operation: None,
            classification: None,
            policies: None,
            source_type: None,
            added_taints: None,
            removed_taints: None,
            trust_override: None,
            labels: Vec::new(),
            user: None,
            agent: None,
            task: None,
            resource_id: None,
            resource_attr: None,
            inputs: None,
            engine: None,
            identity: None,
            trust_evaluator: None,
            error: None,
        }
    }

    /// `operation = expr`.
    #[must_use]
    pub fn operation(mut self, operation: impl Into<String>) -> Self {
        self.operation = Some(Cow::Owned(operation.into()));
        self
    }

    /// `classification = expr`.
    #[must_use]
    pub fn classification(mut self, classification: impl Into<String>) -> Self {
        self.classification = Some(Cow::Owned(classification.into()));
        self
    }

    /// `policy = unchecked(expr)`: names known at run time only.
    #[must_use]
    pub fn policies(mut self, names: impl Names) -> Self {
        self.policies = Some(names.into_names());
        self
    }

    /// `source_type = expr`.
    #[must_use]
    pub fn source_type(mut self, source: impl Into<String>) -> Self {
        self.source_type = Some(source.into());
        self
    }

    /// `added_taints = expr`.
    #[must_use]
    pub fn added_taints(mut self, taints: impl Names) -> Self {
        self.added_taints = Some(taints.into_names());
        self
    }

    /// `removed_taints = expr`.
    #[must_use]
    pub fn removed_taints(mut self, taints: impl Names) -> Self {
        self.removed_taints = Some(taints.into_names());
        self
    }

    /// `trust_override = expr`; outside 0–100 is the error of the call, never clamped.
    #[must_use]
    pub fn trust_override(mut self, score: impl TryInto<u8> + std::fmt::Display + Copy) -> Self {
        match score.try_into() {
            Ok(value) if value <= 100 => self.trust_override = Some(value),
            Ok(_) | Err(_) => self.fail(ConfigurationError::new(
                ConfigurationErrorKind::TrustOverride,
                format!("trust_override `{score}` is outside 0 to 100; give a score in that range"),
            )),
        }
        self
    }

    /// `labels = {"name": expr}`.
    #[must_use]
    pub fn label(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.labels.push((Cow::Borrowed(name), value.into()));
        self
    }

    /// `user = expr`.
    #[must_use]
    pub fn user<T: Attribute + ?Sized>(mut self, value: &T) -> Self {
        self.user = self.take("user", value);
        self
    }

    /// `agent = expr`.
    #[must_use]
    pub fn agent<T: Attribute + ?Sized>(mut self, value: &T) -> Self {
        self.agent = self.take("agent", value);
        self
    }

    /// `task = expr`.
    #[must_use]
    pub fn task<T: Attribute + ?Sized>(mut self, value: &T) -> Self {
        self.task = self.take("task", value);
        self
    }

    /// `resource_id = expr`: a string, a number or a boolean.
    #[must_use]
    pub fn resource_id<T: Attribute + ?Sized>(mut self, value: &T) -> Self {
        self.resource_id = match self.take("resource_id", value) {
            None => None,
            Some(Value::String(id)) => Some(id),
            Some(Value::Number(id)) => Some(id.to_string()),
            Some(Value::Bool(id)) => Some(id.to_string()),
            Some(other @ (Value::Null | Value::Array(_) | Value::Object(_))) => {
                self.fail(ConfigurationError::new(
                    ConfigurationErrorKind::Attribute,
                    format!(
                        "resource_id is `{other}`, not a string or a number; \
                         name one resource, and put its attributes in resource_attr"
                    ),
                ));
                None
            }
        };
        self
    }

    /// `resource_attr = expr`.
    #[must_use]
    pub fn resource_attr<T: Attribute + ?Sized>(mut self, value: &T) -> Self {
        self.resource_attr = self.take("resource_attr", value);
        self
    }

    /// One argument named by `hash_input(…)`.
    #[must_use]
    pub fn input<T: Attribute + ?Sized>(mut self, name: &'static str, value: &T) -> Self {
        match value.to_value() {
            Ok(value) => {
                self.inputs.get_or_insert_default().insert(name.to_owned(), value);
            }
            Err(error) => self.fail(error.in_attribute("hash_input", name)),
        }
        self
    }

    /// `engine = expr`: judges the function tier of this call alone (spec §11).
    #[must_use]
    pub fn engine(mut self, engine: impl PolicyEngine + 'static) -> Self {
        self.engine = Some(Arc::new(engine));
        self
    }

    /// `identity = expr`.
    #[must_use]
    pub fn identity(mut self, identity: impl IdentityProvider + 'static) -> Self {
        self.identity = Some(Arc::new(identity));
        self
    }

    /// `trust_evaluator = expr`.
    #[must_use]
    pub fn trust_evaluator(mut self, evaluator: impl TrustEvaluator + 'static) -> Self {
        self.trust_evaluator = Some(Arc::new(evaluator));
        self
    }

    /// `kest.verified.<operation>`.
    pub(crate) fn span_name(&self) -> Cow<'static, str> {
        match &self.operation {
            Some(operation) => Cow::Owned(format!("kest.verified.{operation}")),
            None => Cow::Borrowed(self.call.span),
        }
    }

    fn take<T: Attribute + ?Sized>(&mut self, name: &str, value: &T) -> Option<Value> {
        match value.to_value() {
            Ok(Value::Null) => None,
            Ok(value) => Some(value),
            Err(error) => {
                self.fail(error.in_attribute("attribute", name));
                None
            }
        }
    }

    fn fail(&mut self, error: impl Into<Error>) {
        if self.error.is_none() {
            self.error = Some(Box::new(error.into()));
        }
    }
}

/// A return type that can say no: `Result<T, E>` with `E: From<kest::Error>`. Spec §7.
#[diagnostic::on_unimplemented(
    message = "`#[kest_verified]` cannot deny a call that returns `{Self}`",
    label = "not a `Result<T, E>` with `E: From<kest::Error>`",
    note = "return a `Result`, or give `on_denied = |error| …` that makes this type from the error"
)]
pub trait Denied: Sized {
    /// What the caller gets instead of the function's own value.
    fn denied(error: Error) -> Self;
    /// Whether the function itself failed.
    fn is_error(&self) -> bool;
}

impl<T, E: FromError> Denied for Result<T, E> {
    fn denied(error: Error) -> Self {
        Err(E::from_error(error))
    }

    fn is_error(&self) -> bool {
        self.is_err()
    }
}

/// An error type that can carry a [`Error`]: everything with `From<kest::Error>`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot carry a denial: it does not implement `From<kest::Error>`",
    label = "implement `From<kest::Error>` for this error type",
    note = "or give `on_denied = |error| …` in the attribute"
)]
pub trait FromError {
    /// The error as the function's own.
    fn from_error(error: Error) -> Self;
}

#[diagnostic::do_not_recommend]
impl<E: From<Error>> FromError for E {
    fn from_error(error: Error) -> Self {
        error.into()
    }
}

/// A return value that `record_output` can hash: `Result<T, E>` with `T: Serialize`. Spec §6.
#[diagnostic::on_unimplemented(
    message = "`record_output` cannot record `{Self}`",
    label = "not a `Result<T, E>` with `T: serde::Serialize`",
    note = "derive `serde::Serialize` for the value, or leave `record_output` away"
)]
pub trait Recorded {
    /// The `Ok` value; `None` when the function failed.
    ///
    /// # Errors
    /// When JCS cannot carry the value.
    fn recorded(&self) -> Result<Option<Value>, canonical::CanonicalError>;
}

impl<T: Attribute, E> Recorded for Result<T, E> {
    fn recorded(&self) -> Result<Option<Value>, canonical::CanonicalError> {
        match self {
            Ok(value) => value.to_value().map(Some),
            Err(_) => Ok(None),
        }
    }
}
