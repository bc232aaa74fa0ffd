//! What JCS cannot carry, each refused by name on the way out.

use std::collections::{BTreeMap, HashMap};

use kest_core::canonical::{CanonicalError, MAX_DEPTH, to_string, to_value, to_vec, write_value};
use serde::ser::{SerializeMap, SerializeStruct};
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

#[derive(Serialize)]
struct Outer<T> {
    name: &'static str,
    inner: Option<Inner<T>>,
}

#[derive(Serialize)]
struct Inner<T> {
    readings: Vec<T>,
}

fn nested<T>(value: T) -> Outer<T> {
    Outer { name: "n", inner: Some(Inner { readings: vec![value] }) }
}

fn out_of_range(value: impl ToString) -> Result<Value, CanonicalError> {
    Err(CanonicalError::IntegerOutOfRange { value: value.to_string() })
}

#[test]
fn nan_in_a_nested_struct_is_refused() {
    assert_eq!(to_value(&nested(f64::NAN)), Err(CanonicalError::NotANumber));
    assert_eq!(to_value(&nested(f32::NAN)), Err(CanonicalError::NotANumber));
    assert_eq!(to_vec(&nested(f64::NAN)), Err(CanonicalError::NotANumber));
}

#[test]
fn infinity_in_a_nested_struct_is_refused() {
    assert_eq!(to_value(&nested(f64::INFINITY)), Err(CanonicalError::Infinite));
    assert_eq!(to_string(&nested(f32::NEG_INFINITY)), Err(CanonicalError::Infinite));
}

#[test]
fn integers_beyond_2_53_are_refused() {
    const EDGE: i64 = 1 << 53;
    for n in [EDGE, -EDGE] {
        assert_eq!(to_string(&nested(n)).unwrap(), format!(r#"{{"inner":{{"readings":[{n}]}},"name":"n"}}"#));
        assert_eq!(to_string(&i128::from(n)).unwrap(), n.to_string());
    }
    assert_eq!(to_string(&(EDGE as u128)).unwrap(), EDGE.to_string());
    for n in [EDGE + 1, -EDGE - 1, i64::MAX, i64::MIN] {
        assert_eq!(to_value(&nested(n)), out_of_range(n));
        assert_eq!(to_value(&i128::from(n)), out_of_range(n));
    }
    for n in [EDGE as u64 + 1, u64::MAX] {
        assert_eq!(to_value(&nested(n)), out_of_range(n));
        assert_eq!(to_value(&u128::from(n)), out_of_range(n));
    }
    assert_eq!(to_value(&i128::MIN), out_of_range(i128::MIN));
    assert_eq!(to_value(&u128::MAX), out_of_range(u128::MAX));
}

#[test]
fn integers_beyond_2_53_in_a_value_are_refused_by_the_writer() {
    const EDGE: u64 = 1 << 53;
    for value in [json!([EDGE]), json!({"n": -(EDGE as i64)})] {
        write_value(&mut Vec::new(), &value).unwrap();
        to_value(&value).unwrap();
    }
    for number in [json!(EDGE + 1), json!(u64::MAX), json!(-(EDGE as i64) - 1), json!(i64::MIN)] {
        let value = json!({"deep": [number]});
        let refused = CanonicalError::IntegerOutOfRange { value: number.to_string() };
        assert_eq!(write_value(&mut Vec::new(), &value), Err(refused.clone()));
        assert_eq!(to_value(&value), Err(refused));
    }
}

#[test]
fn floats_are_what_they_are() {
    assert_eq!(to_string(&1e17).unwrap(), "100000000000000000");
    assert_eq!(to_string(&-0.0).unwrap(), "0");
    assert_eq!(to_string(&0.1_f32).unwrap(), "0.10000000149011612");
}

struct Twice;

impl Serialize for Twice {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("kept", &1)?;
        map.serialize_entry("other", &2)?;
        map.serialize_entry("kept", &1)?;
        map.end()
    }
}

#[derive(Serialize)]
struct Flattened {
    name: u8,
    #[serde(flatten)]
    rest: BTreeMap<&'static str, u8>,
}

#[derive(Serialize)]
struct SpelledAlike {
    keys: HashMap<Key, u8>,
}

#[derive(Serialize, PartialEq, Eq, Hash)]
#[serde(untagged)]
enum Key {
    Text(&'static str),
    Number(u8),
}

#[test]
fn duplicate_keys_are_refused() {
    let twice = |name: &str| Err(CanonicalError::DuplicateMember { name: name.to_owned() });
    assert_eq!(to_value(&[Twice]), twice("kept"));
    assert_eq!(to_value(&Flattened { name: 1, rest: BTreeMap::from([("name", 2)]) }), twice("name"));
    let keys = HashMap::from([(Key::Text("7"), 1), (Key::Number(7), 2)]);
    assert_eq!(to_value(&SpelledAlike { keys }), twice("7"));
}

#[test]
fn keys_that_are_not_strings_are_refused() {
    let refused = Err(CanonicalError::NonStringKey);
    assert_eq!(to_value(&BTreeMap::from([(vec!["a"], 1)])), refused);
    assert_eq!(to_value(&BTreeMap::from([((1, 2), 1)])), refused);
    assert_eq!(to_value(&BTreeMap::from([((), 1)])), refused);
    assert_eq!(to_value(&BTreeMap::from([(None::<&str>, 1)])), refused);
    assert_eq!(to_value(&BTreeMap::from([(BTreeMap::from([("a", 1)]), 1)])), refused);
    assert_eq!(to_value(&FloatKey), refused);
}

struct FloatKey;

impl Serialize for FloatKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map([(0.5, 1)])
    }
}

#[test]
fn keys_with_one_spelling_become_strings() {
    assert_eq!(to_string(&BTreeMap::from([(10, 'a'), (9, 'b')])).unwrap(), r#"{"10":"a","9":"b"}"#);
    assert_eq!(to_string(&BTreeMap::from([(true, 1), (false, 0)])).unwrap(), r#"{"false":0,"true":1}"#);
    assert_eq!(to_string(&BTreeMap::from([('x', 1)])).unwrap(), r#"{"x":1}"#);
    assert_eq!(to_string(&BTreeMap::from([(Some("some"), 1)])).unwrap(), r#"{"some":1}"#);
    assert_eq!(to_string(&BTreeMap::from([(u64::MAX, 1)])).unwrap(), r#"{"18446744073709551615":1}"#);
}

#[derive(Serialize)]
struct Unit;

#[derive(Serialize)]
struct Pair(u8, char);

#[derive(Serialize)]
enum Shape {
    Nothing,
    One(i8),
    Two(u16, i32),
    Named { z: f32, a: Option<()> },
}

/// Whatever can be carried has the value `serde_json` gives it.
#[test]
fn the_data_model_is_that_of_serde_json() {
    fn same<T: Serialize>(value: &T) {
        assert_eq!(to_value(value).unwrap(), serde_json::to_value(value).unwrap());
    }
    same(&nested(1_i16));
    same(&Unit);
    same(&Pair(1, 'x'));
    same(&[Shape::Nothing, Shape::One(-1), Shape::Two(1, -2), Shape::Named { z: 0.5, a: None }]);
    same(&(1_u8, "s", [true], Some(1.5), ()));
    same(&std::ffi::CString::new("bytes").unwrap());
    same(&HashMap::from([("a", vec![BTreeMap::from([("b", 1)])])]));
    same(&json!({"a": [null, true, -1, 1.5, "x", {}]}));
    same(&format_args!("{}-{}", 1, 2));
}

#[test]
fn an_error_of_the_type_itself_is_passed_on() {
    struct Fails;
    impl Serialize for Fails {
        fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("no such luck"))
        }
    }
    assert_eq!(to_value(&[Fails]), Err(CanonicalError::Custom("no such luck".to_owned())));
    let poisoned = std::sync::Mutex::new(1);
    let _ = std::thread::scope(|scope| {
        scope
            .spawn(|| {
                let _guard = poisoned.lock();
                std::panic::resume_unwind(Box::new(()));
            })
            .join()
    });
    assert!(matches!(to_value(&poisoned), Err(CanonicalError::Custom(_))));
}

/// serde_json's features `arbitrary_precision` and `raw_value` pass JSON text through any serializer this
/// way.
struct JsonText(&'static str, &'static str);

impl Serialize for JsonText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut outer = serializer.serialize_struct(self.0, 1)?;
        outer.serialize_field(self.0, self.1)?;
        outer.end()
    }
}

#[test]
fn json_text_inside_a_value_is_held_to_the_same_rules() {
    const NUMBER: &str = "$serde_json::private::Number";
    const RAW: &str = "$serde_json::private::RawValue";
    for (kind, text, expected) in [
        (NUMBER, "12", "12"),
        (NUMBER, "1e17", "100000000000000000"),
        (NUMBER, "-9007199254740992", "-9007199254740992"),
        (RAW, r#"{"b":1.0, "a":[ ]}"#, r#"{"a":[],"b":1}"#),
    ] {
        assert_eq!(to_string(&JsonText(kind, text)).unwrap(), expected);
    }
    for text in ["9007199254740993", "-9007199254740993", "100000000000000000000000"] {
        assert_eq!(to_value(&JsonText(NUMBER, text)), out_of_range(text));
        assert_eq!(to_value(&JsonText(RAW, text)), out_of_range(text));
    }
    assert_eq!(to_value(&JsonText(RAW, "[18446744073709551615]")), out_of_range(u64::MAX));
    assert!(matches!(
        to_value(&JsonText(RAW, r#"{"a":1,"a":1}"#)),
        Err(CanonicalError::DuplicateMember { .. })
    ));
    assert!(matches!(to_value(&JsonText(NUMBER, "")), Err(CanonicalError::Syntax { .. })));
    let mut deep: Value = json!([]);
    for _ in 1..MAX_DEPTH {
        deep = json!([deep]);
    }
    to_value(&deep).unwrap();
    assert_eq!(to_value(&[JsonText(RAW, "[1]")]).unwrap(), json!([[1]]));
}

/// A list of so many arrays in one another, made while it is serialised.
struct Arrays(usize);

impl Serialize for Arrays {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            0 => serializer.serialize_unit(),
            left => serializer.collect_seq([Arrays(left - 1)]),
        }
    }
}

#[derive(Serialize)]
enum Tree {
    Leaf,
    Newtype(Box<Tree>),
    Tuple(Box<Tree>, ()),
    Struct { next: Box<Tree> },
}

struct Wraps(usize);

impl Serialize for Wraps {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            0 => serializer.serialize_unit(),
            left if left % 2 == 0 => serializer.serialize_some(&Wraps(left - 1)),
            left => serializer.serialize_newtype_struct("Wraps", &Wraps(left - 1)),
        }
    }
}

#[test]
fn deep_nesting_is_refused_by_both_writers() {
    let deepest = to_value(&Arrays(MAX_DEPTH)).unwrap();
    assert_eq!(
        to_string(&deepest).unwrap(),
        format!("{}null{}", "[".repeat(MAX_DEPTH), "]".repeat(MAX_DEPTH))
    );
    assert_eq!(to_value(&Arrays(MAX_DEPTH + 1)), Err(CanonicalError::TooDeep));
    assert_eq!(to_value(&Arrays(100_000)), Err(CanonicalError::TooDeep));
    assert_eq!(to_value(&Wraps(100_000)), Err(CanonicalError::TooDeep));
    assert_eq!(to_value(&Wraps(100)), Ok(Value::Null));

    for deeper in [json!([deepest]), json!({"a": deepest})] {
        assert_eq!(write_value(&mut Vec::new(), &deeper), Err(CanonicalError::TooDeep));
        assert_eq!(to_value(&deeper), Err(CanonicalError::TooDeep));
    }
}

#[test]
fn an_enum_counts_the_object_that_names_its_variant() {
    type Grow = (usize, fn(Box<Tree>) -> Tree);
    let kinds: [Grow; 3] =
        [(1, Tree::Newtype), (2, |next| Tree::Tuple(next, ())), (2, |next| Tree::Struct { next })];
    for (levels, grow) in kinds {
        let tree = |turns: usize| (0..turns).fold(Tree::Leaf, |tree, _| grow(Box::new(tree)));
        let fits = to_value(&tree(MAX_DEPTH / levels)).unwrap();
        write_value(&mut Vec::new(), &fits).unwrap();
        assert_eq!(to_value(&tree(MAX_DEPTH / levels + 1)), Err(CanonicalError::TooDeep));
    }
}

#[test]
fn messages_name_the_value_and_the_fix() {
    let message = |error: CanonicalError| error.to_string();
    assert_eq!(
        message(to_value(&u64::MAX).unwrap_err()),
        "integer `18446744073709551615` is beyond ±2^53, where canonical JSON would round it; pass it as a string"
    );
    assert_eq!(message(to_value(&Twice).unwrap_err()), "member `kept` stands twice in one object; keep one");
    let as_error: Box<dyn std::error::Error + Send + Sync> = Box::new(CanonicalError::TooDeep);
    assert_eq!(as_error.to_string(), "nesting deeper than 128 levels; flatten the value");
}
