//! What the readers take and what they refuse.

use std::borrow::Cow;

use kest_core::canonical::{
    CanonicalError, CanonicalReader, Kind, MAX_DEPTH, parse_canonical, parse_strict, to_string,
};
use serde_json::json;

/// A text, and the offset and kind of what is wrong with it.
fn refused(text: &str) -> CanonicalError {
    let error = parse_canonical(text.as_bytes()).expect_err(text);
    let mut reader = CanonicalReader::from_text(text);
    let skipped = reader.skip_value().and_then(|()| reader.finish());
    assert_eq!(skipped, Err(error.clone()), "skipping checks what reading checks: {text}");
    error
}

#[test]
fn json_in_another_form_is_refused() {
    for (text, offset) in [
        (" 1", 0),
        ("1 ", 1),
        ("[1, 2]", 3),
        ("[ ]", 1),
        ("{ }", 1),
        ("{\"a\" :1}", 4),
        ("{\"a\": 1}", 5),
        ("{\"a\":1 }", 6),
        ("{\"a\":1, \"b\":1}", 7),
        ("[1\n]", 2),
        ("1\t", 1),
        (r#"{"b":1,"a":1}"#, 7),
        (r#"{"":1,"a":{"10":1,"1":1}}"#, 18),
        ("{\"\u{fb33}\":1,\"\u{1f600}\":1}", 9),
        (r#""\u0041""#, 1),
        (r#""\/""#, 1),
        (r#""\u000a""#, 1),
        (r#""\u0022""#, 1),
        (r#""\u005c""#, 1),
        (r#""\u001F""#, 1),
        (r#""\u007f""#, 1),
        (r#""ab\u00e9""#, 3),
        (r#""\ud83d\ude00""#, 1),
        (r#"{"\u0061":1}"#, 2),
        ("[1,1.0]", 3),
    ] {
        let error = refused(text);
        assert!(
            matches!(error, CanonicalError::NotCanonical { offset: at, .. } if at == offset),
            "{text}: {error:?}"
        );
    }
}

#[test]
fn duplicate_members_are_refused_by_both_parsers() {
    let twice = |name: &str| CanonicalError::DuplicateMember { name: name.to_owned() };
    assert_eq!(refused(r#"{"a":1,"a":1}"#), twice("a"));
    assert_eq!(refused(r#"[{"":1,"\n":{},"\n":2}]"#), twice("\n"));
    for (text, name) in [
        (r#"{"a":1,"a":1}"#, "a"),
        (r#"{"a":1,"b":2,"\u0061":3}"#, "a"),
        (r#"{ "x" : [ { "kid" : 1, "alg" : 2, "kid" : 3 } ] }"#, "kid"),
        (r#"{"😀":1,"\ud83d\ude00":1}"#, "😀"),
    ] {
        assert_eq!(parse_strict(text.as_bytes()), Err(twice(name)), "{text}");
    }
}

#[test]
fn what_is_not_json_is_refused_by_both_parsers() {
    for text in [
        "",
        "{",
        "[",
        "]",
        "}",
        "[1",
        "[1,",
        "[1,]",
        "[,1]",
        "[1 2]",
        "[1}",
        "{]",
        "{\"a\"",
        "{\"a\":",
        "{\"a\":1",
        "{\"a\":1,",
        "{\"a\":1,}",
        "{,}",
        "{a:1}",
        "{1:1}",
        "{\"a\"1}",
        "{\"a\":}",
        "{'a':1}",
        "tru",
        "True",
        "nul",
        "nulll",
        "truefalse",
        "false1",
        "\"",
        "\"a",
        "\"\\",
        "\"\\\"",
        "\"\\x41\"",
        "\"\\u12\"",
        "\"\\u+123\"",
        "\"\\u00\u{e9}9\"",
        "\"a\nb\"",
        "\"\u{0}\"",
        "1 1",
        "1,",
        "\"a\"\"b\"",
        "[1][2]",
        "{}{}",
        "/*c*/1",
        "1//c",
        "\u{feff}1",
        "\u{a0}1",
        "1\u{b}",
        "[1,,2]",
        "{\"a\":1,,\"b\":1}",
        "\"\\ud800\"",
        "\"\\udc00\"",
        "\"\\ud800\\ud800\"",
        "\"\\ud800x\"",
        "\"\\ud83d\\n\"",
        "\"\\ude00\\ud83d\"",
    ] {
        let canonical = refused(text);
        let white = text.starts_with("1 ") || text == "[1 2]";
        assert!(matches!(canonical, CanonicalError::Syntax { .. }) || white, "{text}: {canonical:?}");
        let strict = parse_strict(text.as_bytes()).expect_err(text);
        assert!(matches!(strict, CanonicalError::Syntax { .. }), "{text}: {strict:?}");
        assert!(serde_json::from_str::<serde_json::Value>(text).is_err(), "{text}");
    }
}

#[test]
fn bytes_that_are_not_utf8_are_refused_by_both_parsers() {
    for bytes in
        [&b"\"\xff\""[..], b"\"\xc0\x80\"", b"\"\xed\xa0\x80\"", b"\"\xf4\x90\x80\x80\"", b"\"\xe2\x82\""]
    {
        let error = CanonicalError::Syntax { offset: 1, what: "bytes that are not UTF-8" };
        assert_eq!(parse_canonical(bytes), Err(error.clone()));
        assert_eq!(parse_strict(bytes), Err(error.clone()));
        assert_eq!(CanonicalReader::new(bytes).unwrap_err(), error);
    }
}

#[test]
fn deep_nesting_is_refused_by_both_parsers() {
    let arrays = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    let objects = |levels: usize| format!("{}1{}", r#"{"a":"#.repeat(levels), "}".repeat(levels));
    for nest in [arrays, objects] {
        let text = nest(MAX_DEPTH);
        let value = parse_canonical(text.as_bytes()).unwrap();
        assert_eq!(parse_strict(text.as_bytes()).unwrap(), value);
        assert_eq!(to_string(&value).unwrap(), text);
        for levels in [MAX_DEPTH + 1, 100_000] {
            let text = nest(levels);
            assert_eq!(refused(&text), CanonicalError::TooDeep);
            assert_eq!(parse_strict(text.as_bytes()), Err(CanonicalError::TooDeep));
        }
    }
    // Depth is what is open, not what was.
    let wide = format!("[{}]", vec![arrays(MAX_DEPTH - 1); 3].join(","));
    assert_eq!(to_string(&parse_canonical(wide.as_bytes()).unwrap()).unwrap(), wide);
    parse_strict(wide.as_bytes()).unwrap();
}

#[test]
fn the_strict_parser_takes_any_spelling() {
    let text =
        " \r\n\t{ \"b\" : [ 1.50 , -0.0 , true , null ] , \"\\u0061\\/\" : \"\\ud83D\\uDE00\\b\\f\" } \n";
    assert_eq!(
        parse_strict(text.as_bytes()).unwrap(),
        json!({"b": [1.5, -0.0, true, null], "a/": "\u{1f600}\u{8}\u{c}"})
    );
}

#[test]
fn a_document_is_read_step_by_step() {
    let text =
        r#"{"a":[],"b":[true,false,null],"c":"plain","d":"esc\n","e\t":9007199254740992,"f":-1.5,"g":{}}"#;
    let mut reader = CanonicalReader::new(text.as_bytes()).unwrap();
    let key = |reader: &mut CanonicalReader<'_>| reader.next_key().unwrap().unwrap().into_owned();
    assert_eq!(reader.peek(), Ok(Kind::Object));
    reader.begin_object().unwrap();
    assert_eq!(key(&mut reader), "a");
    assert_eq!(reader.peek(), Ok(Kind::Array));
    reader.begin_array().unwrap();
    assert!(!reader.next_element().unwrap());
    assert_eq!(key(&mut reader), "b");
    reader.begin_array().unwrap();
    assert!(reader.next_element().unwrap());
    assert_eq!(reader.peek(), Ok(Kind::Bool));
    assert!(reader.boolean().unwrap());
    assert!(reader.next_element().unwrap());
    assert!(!reader.boolean().unwrap());
    assert!(reader.next_element().unwrap());
    assert_eq!(reader.peek(), Ok(Kind::Null));
    reader.null().unwrap();
    assert!(!reader.next_element().unwrap());
    assert_eq!(key(&mut reader), "c");
    assert_eq!(reader.peek(), Ok(Kind::String));
    assert!(matches!(reader.string(), Ok(Cow::Borrowed("plain"))));
    assert_eq!(key(&mut reader), "d");
    assert!(matches!(reader.string(), Ok(Cow::Owned(content)) if content == "esc\n"));
    assert_eq!(key(&mut reader), "e\t");
    assert_eq!(reader.peek(), Ok(Kind::Number));
    assert_eq!(reader.unsigned(), Ok(1 << 53));
    assert_eq!(key(&mut reader), "f");
    assert_eq!(reader.number().unwrap().as_f64(), Some(-1.5));
    assert_eq!(key(&mut reader), "g");
    assert_eq!(reader.value().unwrap(), json!({}));
    assert_eq!(reader.next_key(), Ok(None));
    assert_eq!(reader.offset(), text.len());
    reader.finish().unwrap();
}

#[test]
fn the_wrong_kind_of_value_is_named_and_stays_unread() {
    let mut reader = CanonicalReader::from_text(r#"["text",-1,1.5,100000000000000000,7]"#);
    assert_eq!(
        reader.begin_object(),
        Err(CanonicalError::Unexpected { offset: 0, expected: "an object", found: Kind::Array })
    );
    reader.begin_array().unwrap();
    reader.next_element().unwrap();
    let error = reader.unsigned().unwrap_err();
    assert_eq!(error.to_string(), "expected an integer of 0 to 2^53 at byte 1, found a string");
    for error in
        [reader.null().unwrap_err(), reader.boolean().unwrap_err(), reader.begin_array().unwrap_err()]
    {
        assert!(
            matches!(error, CanonicalError::Unexpected { offset: 1, found: Kind::String, .. }),
            "{error:?}"
        );
    }
    assert_eq!(reader.string().unwrap(), "text");
    for _ in 0..3 {
        reader.next_element().unwrap();
        assert!(matches!(reader.unsigned(), Err(CanonicalError::Unexpected { found: Kind::Number, .. })));
        assert!(matches!(reader.string(), Err(CanonicalError::Unexpected { found: Kind::Number, .. })));
        reader.number().unwrap();
    }
    reader.next_element().unwrap();
    assert_eq!(reader.unsigned(), Ok(7));
    assert_eq!(reader.next_element(), Ok(false));
    reader.finish().unwrap();
}

fn out_of_turn<T: std::fmt::Debug>(result: Result<T, CanonicalError>) {
    assert!(matches!(result, Err(CanonicalError::OutOfTurn { .. })), "{result:?}");
}

/// However it is called, the reader steps over nothing: text it would have refused never reaches `finish`.
#[test]
fn calls_out_of_turn_are_refused() {
    let mut reader = CanonicalReader::from_text(r#"["a""b"]"#);
    out_of_turn(reader.next_key());
    out_of_turn(reader.next_element());
    out_of_turn(reader.clone().finish());
    reader.begin_array().unwrap();
    out_of_turn(reader.string());
    out_of_turn(reader.peek());
    out_of_turn(reader.next_key());
    out_of_turn(reader.clone().finish());
    assert_eq!(reader.next_element(), Ok(true));
    out_of_turn(reader.next_element());
    reader.string().unwrap();
    out_of_turn(reader.string());
    assert!(matches!(reader.next_element(), Err(CanonicalError::Syntax { offset: 4, .. })));
    assert!(matches!(reader.next_element(), Err(CanonicalError::Syntax { offset: 4, .. })));
    out_of_turn(reader.value());
    out_of_turn(reader.finish());

    let mut reader = CanonicalReader::from_text(r#"{"a":1,"b":2}"#);
    reader.begin_object().unwrap();
    out_of_turn(reader.value());
    out_of_turn(reader.next_element());
    reader.next_key().unwrap();
    out_of_turn(reader.next_key());
    reader.skip_value().unwrap();
    out_of_turn(reader.skip_value());
    reader.next_key().unwrap();
    reader.skip_value().unwrap();
    assert_eq!(reader.next_key(), Ok(None));
    out_of_turn(reader.next_key());
    out_of_turn(reader.peek());
    reader.finish().unwrap();
}

/// After a refusal the reader refuses on: a caller that drops an error gets no further.
#[test]
fn an_error_is_not_stepped_over() {
    for text in
        [r#"{"b":1,"a":1}"#, r#"{"b":1,"b":1}"#, r#"{"b":1,"c" :1}"#, r#"{"b":1,}"#, r#"{"b":1,"\u0063":1}"#]
    {
        let mut reader = CanonicalReader::from_text(text);
        reader.begin_object().unwrap();
        reader.next_key().unwrap();
        reader.skip_value().unwrap();
        for _ in 0..3 {
            reader.next_key().unwrap_err();
            reader.skip_value().unwrap_err();
            reader.next_element().unwrap_err();
        }
        reader.finish().unwrap_err();
    }
}
