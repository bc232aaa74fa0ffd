//! From any [`Serialize`] to a [`Value`], in one pass that refuses what JCS cannot carry.
//!
//! `serde_json::to_value` makes `null` of NaN and lets a later duplicate member win, so it cannot be used
//! here.

use std::fmt::Display;

use serde::ser::{self, Serialize};
use serde_json::{Number, Value};

use super::compound::{Items, Members, PRIVATE_NUMBER, PRIVATE_RAW, StructMembers, tagged};
use super::{CanonicalError, MAX_INTEGER, deeper};

/// The JSON value of `value`, by the same data model as `serde_json::to_value`, if JCS can carry it.
///
/// A float is taken as the double it is, an `f32` widened; an integral float beyond 2^53 is therefore fine.
/// Integers, booleans and characters as map keys are written as strings.
///
/// # Errors
///
/// [`CanonicalError::NotANumber`], [`CanonicalError::Infinite`], [`CanonicalError::IntegerOutOfRange`],
/// [`CanonicalError::NonStringKey`], [`CanonicalError::DuplicateMember`], [`CanonicalError::TooDeep`], and
/// [`CanonicalError::Custom`] for an error of `value` itself.
pub fn to_value<T: Serialize + ?Sized>(value: &T) -> Result<Value, CanonicalError> {
    value.serialize(ValueSerializer { depth: 0, wraps: 0 })
}

/// How many `Some`s and newtypes may be open at once; they add no level to the JSON but do to the stack.
const MAX_WRAPS: usize = 1024;

#[derive(Clone, Copy)]
pub(super) struct ValueSerializer {
    depth: usize,
    wraps: usize,
}

impl ValueSerializer {
    fn inside(self) -> Result<Self, CanonicalError> {
        Ok(Self { depth: deeper(self.depth)?, ..self })
    }

    fn wrapped(self) -> Result<Self, CanonicalError> {
        if self.wraps < MAX_WRAPS {
            Ok(Self { wraps: self.wraps + 1, ..self })
        } else {
            Err(CanonicalError::TooDeep)
        }
    }

    fn items(self, len: usize, variant: Option<&'static str>) -> Result<Items, CanonicalError> {
        // The length is the caller's claim, not yet a fact.
        Ok(Items::new(len.min(1024), self.inside()?, variant))
    }

    fn members(self, variant: Option<&'static str>) -> Result<Members, CanonicalError> {
        Ok(Members::new(self.inside()?, variant))
    }
}

impl ser::Serializer for ValueSerializer {
    type Ok = Value;
    type Error = CanonicalError;
    type SerializeSeq = Items;
    type SerializeTuple = Items;
    type SerializeTupleStruct = Items;
    type SerializeTupleVariant = Items;
    type SerializeMap = Members;
    type SerializeStruct = StructMembers;
    type SerializeStructVariant = Members;

    fn serialize_bool(self, v: bool) -> Result<Value, CanonicalError> {
        Ok(Value::Bool(v))
    }

    fn serialize_i8(self, v: i8) -> Result<Value, CanonicalError> {
        Ok(Value::from(v))
    }

    fn serialize_i16(self, v: i16) -> Result<Value, CanonicalError> {
        Ok(Value::from(v))
    }

    fn serialize_i32(self, v: i32) -> Result<Value, CanonicalError> {
        Ok(Value::from(v))
    }

    fn serialize_i64(self, v: i64) -> Result<Value, CanonicalError> {
        if v.unsigned_abs() <= MAX_INTEGER { Ok(Value::from(v)) } else { Err(out_of_range(v)) }
    }

    fn serialize_i128(self, v: i128) -> Result<Value, CanonicalError> {
        i64::try_from(v).map_err(|_| out_of_range(v)).and_then(|v| self.serialize_i64(v))
    }

    fn serialize_u8(self, v: u8) -> Result<Value, CanonicalError> {
        Ok(Value::from(v))
    }

    fn serialize_u16(self, v: u16) -> Result<Value, CanonicalError> {
        Ok(Value::from(v))
    }

    fn serialize_u32(self, v: u32) -> Result<Value, CanonicalError> {
        Ok(Value::from(v))
    }

    fn serialize_u64(self, v: u64) -> Result<Value, CanonicalError> {
        if v <= MAX_INTEGER { Ok(Value::from(v)) } else { Err(out_of_range(v)) }
    }

    fn serialize_u128(self, v: u128) -> Result<Value, CanonicalError> {
        u64::try_from(v).map_err(|_| out_of_range(v)).and_then(|v| self.serialize_u64(v))
    }

    fn serialize_f32(self, v: f32) -> Result<Value, CanonicalError> {
        self.serialize_f64(f64::from(v))
    }

    fn serialize_f64(self, v: f64) -> Result<Value, CanonicalError> {
        if v.is_nan() {
            return Err(CanonicalError::NotANumber);
        }
        Number::from_f64(v).map(Value::Number).ok_or(CanonicalError::Infinite)
    }

    fn serialize_char(self, v: char) -> Result<Value, CanonicalError> {
        Ok(Value::String(v.to_string()))
    }

    fn serialize_str(self, v: &str) -> Result<Value, CanonicalError> {
        Ok(Value::String(v.to_owned()))
    }

    fn serialize_bytes(self, v: &[u8]) -> Result<Value, CanonicalError> {
        self.inside()?;
        Ok(Value::Array(v.iter().map(|&byte| Value::from(byte)).collect()))
    }

    fn serialize_none(self) -> Result<Value, CanonicalError> {
        Ok(Value::Null)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<Value, CanonicalError> {
        value.serialize(self.wrapped()?)
    }

    fn serialize_unit(self) -> Result<Value, CanonicalError> {
        Ok(Value::Null)
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<Value, CanonicalError> {
        Ok(Value::Null)
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
    ) -> Result<Value, CanonicalError> {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<Value, CanonicalError> {
        value.serialize(self.wrapped()?)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<Value, CanonicalError> {
        Ok(tagged(Some(variant), value.serialize(self.inside()?)?))
    }

    fn serialize_seq(self, len: Option<usize>) -> Result<Items, CanonicalError> {
        self.items(len.unwrap_or(0), None)
    }

    fn serialize_tuple(self, len: usize) -> Result<Items, CanonicalError> {
        self.items(len, None)
    }

    fn serialize_tuple_struct(self, _: &'static str, len: usize) -> Result<Items, CanonicalError> {
        self.items(len, None)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Items, CanonicalError> {
        self.inside()?.items(len, Some(variant))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Members, CanonicalError> {
        self.members(None)
    }

    fn serialize_struct(self, name: &'static str, _: usize) -> Result<StructMembers, CanonicalError> {
        match name {
            PRIVATE_NUMBER | PRIVATE_RAW => Ok(StructMembers::text(self)),
            _ => self.members(None).map(StructMembers::Plain),
        }
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Members, CanonicalError> {
        self.inside()?.members(Some(variant))
    }
}

pub(super) fn out_of_range(value: impl Display) -> CanonicalError {
    CanonicalError::IntegerOutOfRange { value: value.to_string() }
}
