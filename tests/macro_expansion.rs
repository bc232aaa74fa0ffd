//! Every form of function compiles under `#[kest_verified]` without a warning, runs, and is recorded.
//! Spec §7.

#![deny(warnings, clippy::all, clippy::pedantic)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::unused_async,
    clippy::manual_async_fn,
    reason = "tests"
)]

mod desk;

use std::cell::RefCell;
use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};

use desk::{AppError, Desk, Result, allowed_async};
use kest::kest_verified;
use kest::policy::Decision;

// --- Functions ------------------------------------------------------------------------------

#[kest_verified(policy = unchecked("a"), source_type = "system")]
fn opaque(n: u32) -> Result<impl Iterator<Item = u32>> {
    Ok((0..n).map(|x| x * 2))
}

#[kest_verified(policy = unchecked("a"), source_type = "system")]
async fn opaque_async(n: impl Into<u32> + Send) -> Result<impl Iterator<Item = u32>> {
    let n = n.into();
    Ok((0..n).map(|x| x * 2))
}

#[kest_verified(policy = unchecked("a"), source_type = "system", hash_input(a))]
fn longest<'a>(a: &'a str, b: &'a str) -> Result<&'a str> {
    Ok(if a.len() > b.len() { a } else { b })
}

#[kest_verified(policy = unchecked("a"), source_type = "system", hash_input(bytes))]
async fn first(bytes: &mut [u8]) -> Result<&mut u8> {
    bytes.first_mut().ok_or_else(|| AppError::Own("empty".into()))
}

#[kest_verified(policy = unchecked("a"), source_type = "system")]
fn generic<T, const N: usize>(list: [T; N]) -> Result<Vec<T>>
where
    T: Debug + Clone,
{
    Ok(list.to_vec())
}

#[kest_verified(policy = unchecked("a"), source_type = "system", hash_input(a, c))]
async fn patterns((a, _): (u32, u32), [c, ..]: [u32; 3], mut d: u32) -> Result<u32> {
    d += a;
    Ok(d + c)
}

#[kest_verified(policy = unchecked("a"), source_type = "system")]
fn boxed(n: u8) -> Result<Box<dyn Fn() -> u8>> {
    if n > 200 {
        return Ok(Box::new(|| 0));
    }
    Ok(Box::new(move || n))
}

#[kest_verified(policy = unchecked("a"), source_type = "system")]
async fn boxed_async(n: u8) -> Result<Box<dyn Fn() -> u8 + Send>> {
    Ok(Box::new(move || n))
}

#[kest_verified(policy = unchecked("a"), source_type = "system")]
fn recursive(n: u32) -> Result<u32> {
    if n == 0 { Ok(0) } else { Ok(1 + recursive(n - 1)?) }
}

#[kest_verified(policy = unchecked("a"), source_type = "system")]
async fn recursive_async(n: u32) -> Result<u32> {
    if n == 0 { Ok(0) } else { Ok(1 + Box::pin(recursive_async(n - 1)).await?) }
}

#[kest_verified(policy = unchecked("a"), source_type = "system")]
async fn not_send(n: u32) -> Result<u32> {
    let shared = Rc::new(RefCell::new(n));
    tokio::task::yield_now().await;
    *shared.borrow_mut() += 1;
    let value = *shared.borrow();
    Ok(value)
}

#[kest_verified(policy = unchecked("a"), source_type = "system", user = *Rc::new(7_u32))]
async fn send_although_a_value_is_not(n: u32) -> Result<u32> {
    tokio::task::yield_now().await;
    Ok(n)
}

#[kest_verified(policy = unchecked("a"), source_type = "system")]
fn alias() -> anyhow::Result<()> {
    anyhow::bail!("own")
}

#[kest_verified(policy = unchecked("a"), source_type = "system")]
fn panics() -> Result<u32> {
    panic!("body")
}

#[kest_verified(policy = unchecked("a"), source_type = "system", user = || name.clone())]
fn takes(name: String) -> Result<String> {
    #![allow(unused_variables, reason = "an inner attribute stays one of the body")]
    let unused = 1;
    Ok(name)
}

static BYTE: u8 = 1;

/// # Safety
/// `pointer` is valid for reads.
#[kest_verified(policy = unchecked("a"), source_type = "system")]
unsafe fn dangerous(pointer: *const u8) -> Result<u8> {
    Ok(unsafe { *pointer })
}

macro_rules! make {
    ($name:ident, $policy:literal, $user:expr, $ty:ty, $body:block) => {
        #[kest_verified(policy = $policy, source_type = "system", user = $user, agent = $user)]
        fn $name() -> Result<$ty> $body
    };
}
make!(made, "kest/allow_trusted", 1 + 2, u64, { Ok(5) });

fn is_send<T: Send>(value: T) -> T {
    value
}

#[tokio::test]
async fn every_form_of_function_runs_and_is_recorded() {
    let calls = async {
        assert_eq!(opaque(3).unwrap().sum::<u32>(), 6);
        assert_eq!(opaque_async(3_u8).await.unwrap().sum::<u32>(), 6);
        assert_eq!(longest("a", "bb").unwrap(), "bb");
        assert_eq!(*first(&mut [4]).await.unwrap(), 4);
        assert_eq!(generic([1, 2]).unwrap(), [1, 2]);
        assert_eq!(patterns((1, 2), [3, 4, 5], 6).await.unwrap(), 10);
        assert_eq!(boxed(1).unwrap()() + boxed_async(1).await.unwrap()(), 2);
        assert_eq!(recursive(1).unwrap() + is_send(recursive_async(1)).await.unwrap(), 2);
        assert_eq!(not_send(1).await.unwrap(), 2);
        assert_eq!(is_send(send_although_a_value_is_not(1)).await.unwrap(), 1);
        assert_eq!(alias().unwrap_err().to_string(), "own");
        assert!(std::panic::catch_unwind(panics).is_err());
        assert_eq!(takes("ada".into()).unwrap(), "ada");
        assert_eq!(unsafe { dangerous(&raw const BYTE) }.unwrap(), 1);
        assert_eq!(made().unwrap(), 5);
    };
    let ((), desk) = allowed_async(calls).await;
    let names = "opaque opaque_async longest first generic patterns boxed boxed_async recursive recursive \
                 recursive_async recursive_async not_send send_although_a_value_is_not alias panics takes \
                 dangerous made";
    assert_eq!(desk.operations(), names.split_whitespace().collect::<Vec<_>>());
}

// --- Methods, traits, other attributes ------------------------------------------------------

struct Account {
    name: String,
    sum: u32,
}

impl Account {
    #[kest_verified(policy = unchecked("a"), source_type = "system", user = self.name, agent = || self.name.clone())]
    fn add(&mut self, n: u32) -> Result<&mut u32> {
        self.sum += n;
        Ok(&mut self.sum)
    }

    #[kest_verified(policy = unchecked("a"), source_type = "system", user = self.name, hash_input(n))]
    async fn add_later(&mut self, n: u32) -> Result<&mut Self> {
        tokio::task::yield_now().await;
        self.sum += n;
        Ok(self)
    }

    #[kest_verified(policy = unchecked("a"), source_type = "system", user = &self.name)]
    fn close(self) -> Result<u32> {
        Ok(self.sum)
    }

    #[kest_verified(policy = unchecked("a"), source_type = "system")]
    fn open(name: &str) -> Result<Self> {
        Ok(Self { name: name.to_owned(), sum: 0 })
    }
}

trait Native {
    async fn native(&self, n: u32) -> Result<u32>;
}

impl Native for Account {
    #[kest_verified(policy = unchecked("a"), source_type = "system", user = self.name)]
    async fn native(&self, n: u32) -> Result<u32> {
        Ok(self.sum + n)
    }
}

#[async_trait::async_trait]
trait Dynamic: Send + Sync {
    async fn kest_first(&mut self, n: u32) -> Result<u32>;
    async fn instrument_first(&self, n: u32) -> Result<u32>;
    #[kest_verified(policy = unchecked("a"), source_type = "system", hash_input(n))]
    async fn provided(&self, n: u32) -> Result<u32> {
        Ok(n)
    }
}

#[async_trait::async_trait]
impl Dynamic for Account {
    #[kest_verified(policy = unchecked("a"), source_type = "system", user = self.name, hash_input(n))]
    #[tracing::instrument(skip(self))]
    async fn kest_first(&mut self, n: u32) -> Result<u32> {
        tokio::task::yield_now().await;
        self.sum += n;
        Ok(self.sum)
    }

    #[tracing::instrument(skip(self))]
    #[kest_verified(policy = unchecked("a"), source_type = "system", user = self.name)]
    async fn instrument_first(&self, n: u32) -> Result<u32> {
        Ok(self.sum + n)
    }
}

#[tracing::instrument]
#[kest_verified(policy = unchecked("a"), source_type = "system", hash_input(n))]
async fn instrument_outside(n: u32) -> Result<u32> {
    Ok(n)
}

#[kest_verified(policy = unchecked("a"), source_type = "system", hash_input(n))]
#[tracing::instrument]
async fn instrument_inside(n: u32) -> Result<u32> {
    Ok(n)
}

#[tracing::instrument]
#[kest_verified(policy = unchecked("a"), source_type = "system")]
fn instrument_outside_sync(n: u32) -> Result<u32> {
    Ok(n)
}

#[kest_verified(policy = unchecked("a"), source_type = "system")]
#[tracing::instrument]
fn instrument_inside_sync(n: u32) -> Result<u32> {
    Ok(n)
}

#[tokio::test]
async fn methods_traits_and_other_attributes() {
    let calls = async {
        let mut account = Account::open("ada").unwrap();
        *account.add(1).unwrap() += 1;
        account.add_later(1).await.unwrap();
        assert_eq!(account.native(1).await.unwrap(), 4);
        let object: &mut dyn Dynamic = &mut account;
        assert_eq!(is_send(object.kest_first(1)).await.unwrap(), 4);
        assert_eq!(object.instrument_first(1).await.unwrap(), 5);
        assert_eq!(object.provided(1).await.unwrap(), 1);
        assert_eq!(account.close().unwrap(), 4);
        assert_eq!(instrument_outside(1).await.unwrap() + instrument_inside(1).await.unwrap(), 2);
        assert_eq!(instrument_outside_sync(1).unwrap() + instrument_inside_sync(1).unwrap(), 2);
    };
    let ((), desk) = allowed_async(calls).await;
    let names = "open add add_later native kest_first instrument_first provided close instrument_outside \
                 instrument_inside instrument_outside_sync instrument_inside_sync";
    assert_eq!(desk.operations(), names.split_whitespace().collect::<Vec<_>>());
    let signed = desk.signed();
    assert_eq!(signed[4]["labels"]["kest.identity"], r#"{"user":"ada"}"#);
    assert_eq!(signed[4]["metadata"]["function"], "macro_expansion::kest_first");
}

// --- Functions that return a future ---------------------------------------------------------

static RAN: AtomicU32 = AtomicU32::new(0);

type Later<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

#[kest_verified(policy = unchecked("a"), source_type = "system", user = n)]
fn by_hand(n: u32) -> impl Future<Output = Result<u32>> + Send {
    async move {
        RAN.fetch_add(1, Ordering::SeqCst);
        tokio::task::yield_now().await;
        if n == 0 {
            return Ok(1);
        }
        Ok(n + 1)
    }
}

#[kest_verified(policy = unchecked("a"), source_type = "system", hash_input(n))]
fn by_hand_boxed<'a>(n: &'a u32) -> Pin<Box<dyn Future<Output = Result<u32>> + Send + 'a>> {
    let m = n;
    Box::pin(async move {
        RAN.fetch_add(1, Ordering::SeqCst);
        Ok(*m)
    })
}

#[kest_verified(policy = unchecked("a"), source_type = "system", hash_input(n))]
fn by_alias(n: &u32) -> Later<'_, Result<u32>> {
    Box::pin(async move {
        RAN.fetch_add(1, Ordering::SeqCst);
        by_hand(*n).await
    })
}

#[kest_verified(policy = unchecked("a"), source_type = "system", on_denied = |_| 0)]
fn by_alias_of_no_result(n: u32) -> Later<'static, u32> {
    Box::pin(async move {
        RAN.fetch_add(1, Ordering::SeqCst);
        n
    })
}

trait Service {
    type Future: Future<Output = Result<u32>>;
    fn call(&mut self, n: u32) -> Self::Future;
}

impl Service for () {
    type Future = Later<'static, Result<u32>>;
    #[kest_verified(policy = unchecked("a"), source_type = "system", record_output)]
    fn call(&mut self, n: u32) -> Self::Future {
        Box::pin(async move {
            RAN.fetch_add(1, Ordering::SeqCst);
            Ok(n)
        })
    }
}

#[async_trait::async_trait]
trait Form<'t, T: Send + Sync> {
    async fn patterns(&self, (a, _): (u32, u32), _: u8, mut b: u32, t: &'t T) -> Result<&'t T>;

    #[kest_verified(policy = unchecked("a"), source_type = "system", hash_input(n), user = n)]
    async fn given<U: Into<u32> + Send>(self: Box<Self>, n: &str, u: U) -> Result<u32>
    where
        Self: Sized + Send,
    {
        RAN.fetch_add(1, Ordering::SeqCst);
        let n: u32 = n.parse()?;
        Ok(n + u.into())
    }
}

#[async_trait::async_trait]
impl<'t, T: Send + Sync + 't> Form<'t, T> for Vec<u32> {
    #[kest_verified(policy = unchecked("a"), source_type = "system", user = self.len())]
    async fn patterns(&self, (a, _): (u32, u32), _: u8, mut b: u32, t: &'t T) -> Result<&'t T> {
        RAN.fetch_add(1, Ordering::SeqCst);
        b += a;
        if b == self[0] {
            return Ok(t);
        }
        Err(AppError::Own(b.to_string()))
    }
}

#[async_trait::async_trait(?Send)]
trait Local {
    #[kest_verified(policy = unchecked("a"), source_type = "system")]
    async fn local(n: Rc<u32>) -> Result<u32> {
        RAN.fetch_add(1, Ordering::SeqCst);
        Ok(*n)
    }
}
impl Local for () {}

#[tokio::test]
async fn a_future_is_verified_when_it_runs_and_not_a_line_of_it_before() {
    let calls = async || {
        drop((by_hand(1), by_hand_boxed(&1), by_alias(&1), by_alias_of_no_result(1), ().call(1)));
        [
            is_send(by_hand(0)).await,
            by_hand_boxed(&1).await,
            is_send(by_alias(&1)).await,
            Ok(by_alias_of_no_result(1).await),
            ().call(1).await,
            vec![3].patterns((1, 2), 0, 2, &1).await.copied(),
            is_send(<Vec<u32> as Form<'_, u32>>::given(Box::default(), "1", 1_u8)).await,
            <() as Local>::local(Rc::new(1)).await,
        ]
    };
    let (desk, kest) = Desk::new(Decision::deny());
    let denied = kest.scope(calls()).await;
    assert!(denied.iter().all(|result| match result {
        Ok(n) => *n == 0,
        Err(error) => error.is_denied(),
    }));
    assert_eq!(desk.asked.lock().unwrap().len(), denied.len());
    assert_eq!(RAN.load(Ordering::SeqCst), 0);

    let (results, desk) = allowed_async(calls()).await;
    assert_eq!(results.map(Result::unwrap), [1, 1, 2, 1, 1, 1, 2, 1]);
    let names = "by_hand by_hand_boxed by_alias by_hand by_alias_of_no_result call call patterns given local";
    assert_eq!(desk.operations(), names.split_whitespace().collect::<Vec<_>>());
    assert_eq!(RAN.load(Ordering::SeqCst), 9);
}

// --- Size -----------------------------------------------------------------------------------

macro_rules! nest {
    ($($outer:ident => $inner:expr,)*) => {$(
        #[kest_verified(policy = unchecked("a"), source_type = "system")]
        async fn $outer() -> Result<u32> {
            $inner.await
        }
    )*};
}
nest! { one => two(), two => three(), three => four(), four => five(), five => six(), six => leaf(), }

async fn leaf() -> Result<u32> {
    tokio::task::yield_now().await;
    Ok(6)
}

#[tokio::test]
async fn futures_stay_small_when_nested() {
    let size = size_of_val(&one());
    assert!(size < 4096, "six levels take {size} bytes");
    assert!(size < 8 * size_of_val(&six()), "grows faster than the depth: {size}");
    let (value, desk) = allowed_async(one()).await;
    assert_eq!(value.unwrap(), 6);
    assert_eq!(desk.operations(), ["one", "two", "three", "four", "five", "six"]);
}
