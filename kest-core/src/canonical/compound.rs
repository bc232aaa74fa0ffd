//! Sequences and objects on their way to a [`Value`].

use serde::ser::{self, Serialize};
use serde_json::{Map, Value};

use super::key::KeySerializer;
use super::ser::{ValueSerializer, out_of_range};
use super::{CanonicalError, MAX_INTEGER, insert_new, parse_strict};

/// The names under which serde_json passes its own types through any serializer, with `arbitrary_precision`
/// and `raw_value`: a struct of one field that holds JSON text.
pub(super) const PRIVATE_NUMBER: &str = "$serde_json::private::Number";
pub(super) const PRIVATE_RAW: &str = "$serde_json::private::RawValue";

/// A sequence under construction.
pub(super) struct Items {
    items: Vec<Value>,
    inner: ValueSerializer,
    variant: Option<&'static str>,
}

impl Items {
    pub(super) fn new(capacity: usize, inner: ValueSerializer, variant: Option<&'static str>) -> Self {
        Self { items: Vec::with_capacity(capacity), inner, variant }
    }

    fn push<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), CanonicalError> {
        self.items.push(value.serialize(self.inner)?);
        Ok(())
    }

    fn done(self) -> Value {
        tagged(self.variant, Value::Array(self.items))
    }
}

/// serde's four sequence traits differ in names only.
macro_rules! serialize_items {
    ($($trait:ident :: $method:ident),+) => {$(
        impl ser::$trait for Items {
            type Ok = Value;
            type Error = CanonicalError;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), CanonicalError> {
                self.push(value)
            }

            fn end(self) -> Result<Value, CanonicalError> {
                Ok(self.done())
            }
        }
    )+};
}

serialize_items!(
    SerializeSeq::serialize_element,
    SerializeTuple::serialize_element,
    SerializeTupleStruct::serialize_field,
    SerializeTupleVariant::serialize_field
);

/// An object under construction.
pub(super) struct Members {
    members: Map<String, Value>,
    key: Option<String>,
    inner: ValueSerializer,
    variant: Option<&'static str>,
}

impl Members {
    pub(super) fn new(inner: ValueSerializer, variant: Option<&'static str>) -> Self {
        Self { members: Map::new(), key: None, inner, variant }
    }

    fn insert<T: Serialize + ?Sized>(&mut self, name: String, value: &T) -> Result<(), CanonicalError> {
        insert_new(&mut self.members, name, value.serialize(self.inner)?)
    }

    fn done(self) -> Value {
        tagged(self.variant, Value::Object(self.members))
    }
}

impl ser::SerializeMap for Members {
    type Ok = Value;
    type Error = CanonicalError;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), CanonicalError> {
        self.key = Some(key.serialize(KeySerializer)?);
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), CanonicalError> {
        match self.key.take() {
            Some(name) => self.insert(name, value),
            None => Err(CanonicalError::Custom("a map value was serialized before its key".to_owned())),
        }
    }

    fn end(self) -> Result<Value, CanonicalError> {
        match self.key {
            Some(name) => {
                Err(CanonicalError::Custom(format!("map key `{name}` was serialized without a value")))
            }
            None => Ok(self.done()),
        }
    }
}

impl ser::SerializeStructVariant for Members {
    type Ok = Value;
    type Error = CanonicalError;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        name: &'static str,
        value: &T,
    ) -> Result<(), CanonicalError> {
        self.insert(name.to_owned(), value)
    }

    fn end(self) -> Result<Value, CanonicalError> {
        Ok(self.done())
    }
}

/// A struct under construction, or one of serde_json's own types on its way through.
pub(super) enum StructMembers {
    Plain(Members),
    Text { outer: ValueSerializer, text: Option<String> },
}

impl StructMembers {
    pub(super) fn text(outer: ValueSerializer) -> Self {
        Self::Text { outer, text: None }
    }
}

impl ser::SerializeStruct for StructMembers {
    type Ok = Value;
    type Error = CanonicalError;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        name: &'static str,
        value: &T,
    ) -> Result<(), CanonicalError> {
        match self {
            Self::Plain(members) => members.insert(name.to_owned(), value),
            Self::Text { text, .. } => {
                *text = Some(value.serialize(KeySerializer)?);
                Ok(())
            }
        }
    }

    fn end(self) -> Result<Value, CanonicalError> {
        match self {
            Self::Plain(members) => Ok(members.done()),
            Self::Text { outer, text } => json_text(outer, &text.unwrap_or_default()),
        }
    }
}

/// The value of JSON text, refusing what the serializer would refuse of the same value.
fn json_text(outer: ValueSerializer, text: &str) -> Result<Value, CanonicalError> {
    match parse_strict(text.as_bytes())? {
        Value::Number(number) => {
            let integer = !text.contains(['.', 'e', 'E']);
            let past = number.as_f64().is_none_or(|double| double.abs() > MAX_INTEGER as f64)
                || number.as_u64().is_some_and(|n| n > MAX_INTEGER)
                || number.as_i64().is_some_and(|n| n.unsigned_abs() > MAX_INTEGER);
            if integer && past { Err(out_of_range(text)) } else { Ok(Value::Number(number)) }
        }
        value @ (Value::Null | Value::Bool(_) | Value::String(_) | Value::Array(_) | Value::Object(_)) => {
            value.serialize(outer)
        }
    }
}

pub(super) fn tagged(variant: Option<&'static str>, value: Value) -> Value {
    match variant {
        Some(name) => Value::Object(Map::from_iter([(name.to_owned(), value)])),
        None => value,
    }
}
