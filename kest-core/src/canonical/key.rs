//! Map keys: strings, and what serde_json writes as one.

use serde::ser::{Impossible, Serialize, Serializer};

use super::CanonicalError;

/// Makes a member name of a key. Floats and anything with parts are refused.
pub(super) struct KeySerializer;

type Never = Impossible<String, CanonicalError>;

const REFUSED: CanonicalError = CanonicalError::NonStringKey;

/// Keys whose decimal or literal spelling is the name.
macro_rules! spelled {
    ($($method:ident: $type:ty),+ $(,)?) => {$(
        fn $method(self, v: $type) -> Result<String, CanonicalError> {
            Ok(v.to_string())
        }
    )+};
}

impl Serializer for KeySerializer {
    type Ok = String;
    type Error = CanonicalError;
    type SerializeSeq = Never;
    type SerializeTuple = Never;
    type SerializeTupleStruct = Never;
    type SerializeTupleVariant = Never;
    type SerializeMap = Never;
    type SerializeStruct = Never;
    type SerializeStructVariant = Never;

    spelled! {
        serialize_bool: bool,
        serialize_i8: i8,
        serialize_i16: i16,
        serialize_i32: i32,
        serialize_i64: i64,
        serialize_i128: i128,
        serialize_u8: u8,
        serialize_u16: u16,
        serialize_u32: u32,
        serialize_u64: u64,
        serialize_u128: u128,
        serialize_char: char,
        serialize_str: &str,
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
    ) -> Result<String, CanonicalError> {
        Ok(variant.to_owned())
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<String, CanonicalError> {
        value.serialize(self)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<String, CanonicalError> {
        value.serialize(self)
    }

    fn serialize_f32(self, _: f32) -> Result<String, CanonicalError> {
        Err(REFUSED)
    }

    fn serialize_f64(self, _: f64) -> Result<String, CanonicalError> {
        Err(REFUSED)
    }

    fn serialize_bytes(self, _: &[u8]) -> Result<String, CanonicalError> {
        Err(REFUSED)
    }

    fn serialize_none(self) -> Result<String, CanonicalError> {
        Err(REFUSED)
    }

    fn serialize_unit(self) -> Result<String, CanonicalError> {
        Err(REFUSED)
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<String, CanonicalError> {
        Err(REFUSED)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<String, CanonicalError> {
        Err(REFUSED)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Never, CanonicalError> {
        Err(REFUSED)
    }

    fn serialize_tuple(self, _: usize) -> Result<Never, CanonicalError> {
        Err(REFUSED)
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Never, CanonicalError> {
        Err(REFUSED)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Never, CanonicalError> {
        Err(REFUSED)
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Never, CanonicalError> {
        Err(REFUSED)
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Never, CanonicalError> {
        Err(REFUSED)
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Never, CanonicalError> {
        Err(REFUSED)
    }
}
