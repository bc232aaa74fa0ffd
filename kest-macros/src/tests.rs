#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::path::PathBuf;

use quote::quote;

use super::*;

/// The expansion of an attribute that passes, or the messages of one that does not.
fn run(attribute: TokenStream, item: TokenStream) -> Result<String, Vec<String>> {
    let mut errors = Errors::default();
    let args = args::parse(attribute, &mut errors);
    let function: Function = match syn::parse2(item) {
        Ok(function) => function,
        Err(error) => {
            errors.add(error);
            return Err(errors.messages());
        }
    };
    let catalog = Catalog::load(&fixture()).unwrap();
    let call = validate::validate(args, &function, Some(catalog), &mut errors);
    if errors.is_empty() { Ok(expand::expand(&function, &call).to_string()) } else { Err(errors.messages()) }
}

/// A catalog of this crate's own: no file is read but this one.
fn fixture() -> Environment {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/fixture");
    Environment {
        manifest_dir: dir.clone(),
        config: Some(dir.join("kest.toml").to_str().unwrap().to_owned()),
    }
}

fn messages(attribute: TokenStream) -> Vec<String> {
    run(
        attribute,
        quote!(
            fn f(id: u32) -> Result<(), Error> {
                Ok(())
            }
        ),
    )
    .unwrap_err()
}

fn expansion(attribute: TokenStream, item: TokenStream) -> String {
    run(attribute, item).unwrap()
}

#[test]
fn literals_are_static_and_expressions_are_set_in_order() {
    let text = expansion(
        quote!(
            policy = ["a/b", "c"], task = t(), origin = "system", user = u, operation = "op", labels = {"k": "v", "l": l},
            added_taints = ["x"], removed_taints = r, trust_override = 80, sanitizer, agent = || a(), crate = other::kest,
        ),
        quote!(
            fn f(id: u32) -> Result<(), Error> {
                Ok(())
            }
        ),
    );
    for part in [
        "policies : & [\"a/b\" , \"c\"]",
        "operation : \"op\"",
        "classification : \"sanitizer\"",
        "source_type : :: core :: option :: Option :: Some (\"system\")",
        "added_taints : & [\"x\"]",
        "removed_taints : & []",
        "trust_override : :: core :: option :: Option :: Some (80u8)",
        "sanitizer : true",
        "labels : & [(\"k\" , \"v\")]",
        "src/fixture/kest.toml\") , } ; other :: kest",
        ". task (& (t ())) . user (& (u)) . label (\"l\" , l) . removed_taints (r) . agent (& ((| | a ()) ()))",
        "other :: kest :: __private",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    assert!(!text.contains(":: kest :: __private :: Call") || text.contains("other :: kest"), "{text}");
}

#[test]
fn everything_read_is_tracked() {
    let text = expansion(
        quote!(policy = "a/b"),
        quote!(
            fn f() -> Result<(), Error> {
                Ok(())
            }
        ),
    );
    assert!(text.contains(":: core :: option_env ! (\"KEST_CONFIG\")"));
    assert!(text.contains(":: core :: include_bytes ! (\"") && text.contains("src/fixture/kest.toml\")"));
}

#[test]
fn shapes() {
    let policy = || quote!(policy = "a/b");
    let of = |item| expansion(policy(), item);
    assert!(
        of(quote!(
            fn f() -> R {
                x
            }
        ))
        .contains("run_in_scope :: < R > (__kest_live")
    );
    assert!(
        of(quote!(
            async fn f() -> R {
                x
            }
        ))
        .contains("in_scope (__kest_live")
    );
    let boxed = of(quote!(
        fn f<'a>(&'a self) -> Pin<Box<dyn Future<Output = R> + Send + 'a>> {
            Box::pin(async move { x })
        }
    ));
    assert!(boxed.contains("{ Box :: pin (async move { const _"), "{boxed}");
    let by_hand = of(quote!(
        fn f(x: u8) -> impl Future<Output = R> {
            let y = x;
            async move { y }
        }
    ));
    assert!(by_hand.contains("{ let y = x ; async move { const _"), "{by_hand}");
    let alias = of(quote!(
        fn f() -> Later<R> {
            Box::pin(async move { x })
        }
    ));
    assert!(alias.contains("{ Box :: pin (async move { const _"), "{alias}");
    assert!(
        alias.contains("None :: < < Later < R > as :: core :: future :: Future > :: Output >"),
        "{alias}"
    );
    let recorded = expansion(
        quote!(policy = "a/b", record_output),
        quote!(
            async fn f() -> R {
                x
            }
        ),
    );
    assert!(recorded.contains("in_scope_recorded (__kest_live"));
}

/// The message that a function with the body `{ $($body)* }` gets; none when it passes.
macro_rules! refusal {
    ($output:ty, $($body:tt)*) => {
        run(quote!(policy = "a/b"), quote!(fn f(&self, n: u8, (a, b): (u8, u8)) -> $output { $($body)* }))
            .err()
            .unwrap_or_default()
            .concat()
    };
}

#[test]
fn before_a_future_nothing_runs() {
    macro_rules! refused {
        ($({ $($body:tt)* })*) => {$(
            for message in [
                refusal!(Pin<Box<dyn Future<Output = R>>>, $($body)* Box::pin(async move { n })),
                refusal!(Alias<R>, $($body)* Box::pin(async move { n })),
                refusal!(impl Future<Output = R>, $($body)* async move { n }),
            ] {
                assert!(message.starts_with("this would run before"), "{} gives {message}", stringify!($($body)*));
            }
        )*};
    }
    refused! {
        { charge(); }
        { if n == 0 { return Box::pin(async { 0 }); } }
        { return Box::pin(async { 0 }); }
        { let m = n + 1; }
        { let m = n.clone(); }
        { let m = charge(); }
        { let m = elsewhere; }
        { let m = module::n; }
        { let m: &str = n; }
        { let m = &*n; }
        { let m = { n }; }
        { let Some(m) = n else { return Box::pin(async { 0 }) }; }
        { let m; }
        { charge!(); }
        { fn pin() {} }
        { n; }
    }
    for passed in [
        refusal!(Alias<R>, let n = n; let mut m = n; let (c, _) = b; let d = c; let this = self; Box::pin(async move { d })),
        refusal!(impl Future<Output = R>, async move {
            charge();
            if n == 0 {
                return 0;
            }
            n
        }),
    ] {
        assert_eq!(passed, "");
    }
}

#[test]
fn a_future_that_is_not_found_is_refused() {
    for message in [
        refusal!(BoxFuture<'static, R>, later()),
        refusal!(BoxFuture<'static, R>, self.),
        refusal!(BoxFuture<'static, R>, (Box::pin(async { n }))),
        refusal!(
            BoxFuture<'static, R>,
            #[cfg(feature = "x")]
            Box::pin(async { n })
        ),
        refusal!(BoxFuture<'static, R>, Box::pin(async { n });),
        refusal!(Alias<R>, if n == 0 { Box::pin(async { 0 }) } else { later() }),
        refusal!(Alias<R>, if n == 0 { later() } else { Box::pin(async { 0 }) }),
        refusal!(
            Alias<R>,
            match n {
                0 => later(),
                _ => {
                    Box::pin(async { 0 })
                }
            }
        ),
        refusal!(Alias<R>, return Box::pin(async { n });),
        refusal!(Alias<R>, async { n }.boxed()),
        refusal!(Alias<R>, unsafe { Box::pin(async { n }) as _ }),
        refusal!(Alias<R>, Box::pin((async { n }))),
    ] {
        assert!(message.starts_with("the returned future was not found"), "{message}");
    }
    assert!(refusal!(impl Later, async { n }).starts_with("what the future gives is not written here"));
    assert_eq!(refusal!(Alias<R>, later()), "");
    assert_eq!(refusal!(Result<impl Future<Output = R>, E>, Ok(async { n })), "");
}

#[test]
fn impl_trait_is_left_to_inference() {
    let text = expansion(
        quote!(policy = "a/b"),
        quote!(
            fn f() -> Result<(impl Iterator<Item = u8>, [Box<u8>; 2]), E> {
                x
            }
        ),
    );
    assert!(text.contains("run_in_scope :: < Result < (_ , [Box < u8 > ; 2]) , E > >"), "{text}");
}

#[test]
fn a_body_that_does_not_parse_is_passed_on() {
    let text = expansion(quote!(policy = "a/b"), quote!(fn f() -> R { self. }));
    assert!(text.contains("self ."));
}

#[test]
fn commas_in_values_do_not_end_them() {
    let text = expansion(
        quote!(policy = "a/b", user = f::<A, B>(|a, b, c| (a, b)), on_denied = |e| g(e, 1)),
        quote!(
            fn f() -> R {
                x
            }
        ),
    );
    assert!(text.contains(". user (& (f :: < A , B > (| a , b , c | (a , b))))"), "{text}");
}

#[test]
fn reading_goes_on_after_an_error() {
    assert_eq!(
        messages(
            quote!(policy = "a/b", user = 1 +, agent = g::<A, B>(%), sanitizer = true, "x", trust_override = 101)
        ),
        [
            "expected an expression",
            "expected an expression",
            "`sanitizer` is a flag: write `sanitizer` alone, or leave it away",
            "`trust_override` is a score from 0 to 100; found `101`",
        ]
    );
}

#[test]
fn what_is_no_argument() {
    assert_eq!(messages(quote!("a/b")).first().unwrap(), "expected the name of an argument, found `\"a/b\"`");
    assert_eq!(messages(quote!(policy = "a/b", user = 1 +)), ["the value of `user` is not complete"]);
    assert_eq!(
        messages(quote!(policy = "a/b" user = 1, agnt = 2)),
        ["expected `,` before `user`", "unknown argument `agnt`; did you mean `agent`?",]
    );
}

#[test]
fn a_missing_policy_is_not_reported_beside_a_misspelt_one() {
    assert_eq!(messages(quote!(polici = "a/b")), ["unknown argument `polici`; did you mean `policy`?"]);
    assert_eq!(messages(quote!(policy =)).len(), 1);
    assert!(messages(quote!()).concat().starts_with("no policy is named"));
}

#[test]
fn without_its_catalog_an_attribute_never_passes() {
    let environment = Environment { manifest_dir: PathBuf::from("/"), config: Some("gone.toml".into()) };
    let item = quote!(
        fn f() -> R {
            x
        }
    );
    let text = verified(quote!(policy = unchecked(x)), item.clone(), Ok(environment)).to_string();
    assert!(text.starts_with(":: core :: compile_error") && text.ends_with(&item.to_string()), "{text}");
}
