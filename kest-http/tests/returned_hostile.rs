//! What hostile services send back as lineage, and that none of it is joined. Spec §12.
#![cfg(feature = "http")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod outbound_support;

use std::net::SocketAddr;
use std::sync::Arc;

use kest_core::Kest;
use kest_core::error::{PropagationError, PropagationErrorKind};
use kest_core::verify::{Step, VerifyError};
use kest_http::Outbound;
use kest_providers::policy::MockPolicyEngine;
use outbound_support::lab::{Lab, returning};
use outbound_support::{Workload, find, kind, raw, shape};

/// What was refused, and that nothing of it was joined.
async fn refused(lab: &Lab, outbound: &Outbound, service: SocketAddr) -> PropagationError {
    let (answer, passport) = lab.calls(outbound, format!("http://{service}/"), false).await;
    assert_eq!(shape(&passport), "first; last<first");
    let error = *(answer.unwrap_err().downcast::<PropagationError>().unwrap());
    assert!(error.call_was_made(), "{error}");
    error
}

#[tokio::test]
async fn a_lineage_of_another_call_is_refused() {
    let lab = Lab::new();
    // Good entries of the callee itself, of some other call; tolerance for silence is none for this.
    let replayed = returning(&[&lab.stock.header(&["count"]).await]).await;
    let tolerant = lab
        .outbound()
        .callee(replayed.to_string(), "spiffe://kest.test/*")
        .tolerate_unreturned()
        .build()
        .unwrap();
    let error = refused(&lab, &tolerant, replayed).await;
    assert_eq!(error.kind(), PropagationErrorKind::Returned);
    assert!(error.to_string().contains("of another call"), "{error}");
}

#[tokio::test]
async fn a_lineage_that_does_not_verify_is_refused() {
    let lab = Lab::new();
    let stranger = Workload::new("stranger");
    let unknown = returning(&[&stranger.header(&["count"]).await]).await;
    let error = refused(&lab, &lab.known(unknown), unknown).await;
    assert_eq!(error.kind(), PropagationErrorKind::Returned);
    assert!(error.to_string().contains("did not verify"), "{error}");
    // The same name with another key.
    let impostor = returning(&[&Workload::new("stock").header(&["count"]).await]).await;
    assert_eq!(refused(&lab, &lab.known(impostor), impostor).await.kind(), PropagationErrorKind::Returned);
}

#[tokio::test]
async fn an_old_lineage_is_refused() {
    let lab = Lab::new();
    let kest = Kest::builder()
        .identity(Arc::clone(&lab.stock.identity))
        .engine(MockPolicyEngine::allow().without_recording())
        .without_config()
        .dangerous()
        .fixed_clock(1_700_000_000_000)
        .build()
        .unwrap();
    let old = Workload { kest, ..lab.stock.clone() };
    let replayed = returning(&[&old.header(&["count"]).await]).await;
    let error = refused(&lab, &lab.known(replayed), replayed).await;
    assert_eq!(error.kind(), PropagationErrorKind::Returned);
    assert!(error.to_string().contains("did not verify"), "{error}");
    let verify = std::error::Error::source(&error).unwrap().downcast_ref::<VerifyError>().unwrap();
    assert_eq!(verify.step(), Step::Time);
}

#[tokio::test]
async fn what_is_no_lineage_is_refused() {
    let lab = Lab::new();
    let good = lab.stock.header(&["count"]).await;
    let tip = good.split(',').find(|member| member.starts_with("kest.chain_tip=")).unwrap().to_owned();
    let passport = good.split(',').find(|member| member.starts_with("kest.passport")).unwrap().to_owned();
    let bomb = {
        use std::io::Write as _;
        let mut zip = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
        zip.write_all(&vec![b' '; 4 << 20]).unwrap();
        let packed = base64_simd::URL_SAFE_NO_PAD.encode_to_string(zip.finish().unwrap());
        format!("kest.passport_z={packed},{tip}")
    };
    let cut: String = good.chars().take(good.len() / 2).collect();
    for values in [
        vec!["nonsense"],
        vec![""],
        vec!["team=blue"],
        vec![&*cut],
        vec![&*tip],
        vec![&*passport],
        vec![&*good, &*good],
        vec![&*bomb],
        vec!["kest.passport=%5B%5D"],
        vec!["kest.claim_check=f47ac10b-58cc-4372-a567-0e02b2c3d479"],
    ] {
        let service = returning(&values).await;
        let error = refused(&lab, &lab.known(service), service).await;
        let short: Vec<&str> = values.iter().map(|value| value.get(..60).unwrap_or(value)).collect();
        assert_eq!(error.kind(), PropagationErrorKind::Returned, "{short:?}: {error}");
    }
}

#[tokio::test]
async fn a_header_of_ten_megabytes_fails_the_call() {
    let lab = Lab::new();
    let mut answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nkest-lineage: ".to_vec();
    answer.extend(std::iter::repeat_n(b'a', 10 << 20));
    answer.extend(b"\r\n\r\n");
    let service = raw(answer).await;
    let (answer, passport) = lab.calls(&lab.known(service), format!("http://{service}/"), false).await;
    answer.unwrap_err();
    assert_eq!(shape(&passport), "first; last<first");
}

#[tokio::test]
async fn trailers_are_believed_no_more_than_headers() {
    let lab = Lab::new();
    let other = lab.stock.header(&["count"]).await;
    let head =
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: kest-lineage\r\n\r\n4\r\ndone\r\n0\r\n";
    for (trailers, part) in [
        (format!("kest-lineage: {other}\r\n\r\n"), "of another call"),
        (format!("kest-lineage: {other}\r\nkest-lineage: {other}\r\n\r\n"), "cannot be read"),
        ("kest-lineage: nonsense\r\n\r\n".to_owned(), "without lineage"),
        ("x: y\r\n\r\n".to_owned(), "no lineage"),
        ("\r\n".to_owned(), "no lineage"),
    ] {
        let service = raw(format!("{head}{trailers}").into_bytes()).await;
        let (answer, passport) = lab.calls(&lab.known(service), format!("http://{service}/"), false).await;
        let error = answer.unwrap_err();
        assert_eq!(kind(&*error), PropagationErrorKind::Returned, "{part}");
        assert!(find(&*error).to_string().contains(part), "{error}");
        assert_eq!(shape(&passport), "first; last<first");
    }
    // A body that breaks off.
    let broken = raw(head.split("0\r\n").next().unwrap().as_bytes().to_vec()).await;
    let (answer, passport) = lab.calls(&lab.known(broken), format!("http://{broken}/"), false).await;
    answer.unwrap_err();
    assert_eq!(shape(&passport), "first; last<first");
}

#[tokio::test]
async fn lineage_that_was_not_asked_for_is_not_joined() {
    let lab = Lab::new();
    let pushed = returning(&[&lab.stock.header(&["count"]).await]).await;
    let outbound = Outbound::builder().any_host().build().unwrap();
    let (answer, passport) = lab.calls(&outbound, format!("http://{pushed}/"), false).await;
    assert_eq!(answer.unwrap(), "done");
    assert_eq!(shape(&passport), "first; last<first");
}
