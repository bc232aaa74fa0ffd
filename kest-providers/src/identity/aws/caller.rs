//! Who STS says the caller is.

use std::sync::Arc;

use kest_core::error::{IdentityError, IdentityErrorKind};
use kest_core::text::Quoted;

/// The caller's ARN, and what other ARNs are made of.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Caller {
    pub(super) arn: Arc<str>,
    pub(super) partition: String,
    pub(super) account: String,
}

impl Caller {
    /// Reads an answer of `GetCallerIdentity`: `arn:<partition>:<iam or sts>::<account>:<resource>`.
    pub(super) fn read(arn: Option<&str>, account: Option<&str>) -> Result<Self, IdentityError> {
        let Some(arn) = arn else { return Err(strange("no ARN")) };
        let caller = Self::parse(arn).ok_or_else(|| strange(&format!("{} as an ARN", Quoted(arn))))?;
        match account {
            Some(account) if account == caller.account => Ok(caller),
            Some(other) => {
                Err(strange(&format!("the ARN {} and another account {}", Quoted(arn), Quoted(other))))
            }
            None => Err(strange("no account")),
        }
    }

    fn parse(arn: &str) -> Option<Self> {
        let mut parts = arn.splitn(6, ':');
        if parts.next()? != "arn" {
            return None;
        }
        let (partition, service, region, account, resource) =
            (parts.next()?, parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let letters = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let fits = partition.starts_with("aws")
            && partition.chars().all(letters)
            && matches!(service, "iam" | "sts")
            && region.is_empty()
            && account.len() == 12
            && account.chars().all(|c| c.is_ascii_digit())
            && !resource.is_empty()
            && resource.chars().all(|c| c.is_ascii_graphic())
            && arn.len() <= 2_048;
        fits.then(|| Self { arn: arn.into(), partition: partition.to_owned(), account: account.to_owned() })
    }
}

fn strange(what: &str) -> IdentityError {
    let message =
        format!("STS answered `GetCallerIdentity` with {what}; check the endpoint that is configured for it");
    IdentityError::new(IdentityErrorKind::Untrusted, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_sts_gives() {
        for (arn, partition) in [
            ("arn:aws:iam::123456789012:user/path/alice", "aws"),
            ("arn:aws:sts::123456789012:assumed-role/payments/i-0abc:1", "aws"),
            ("arn:aws-us-gov:sts::123456789012:federated-user/bob", "aws-us-gov"),
            ("arn:aws-cn:iam::123456789012:root", "aws-cn"),
        ] {
            let caller = Caller::read(Some(arn), Some("123456789012")).unwrap();
            assert_eq!(
                (&*caller.arn, &*caller.partition, &*caller.account),
                (arn, partition, "123456789012")
            );
        }
    }

    #[test]
    fn refuses_everything_else() {
        let good = "arn:aws:iam::123456789012:user/alice";
        assert!(Caller::read(Some(good), Some("123456789012")).is_ok());
        for (arn, account) in [
            (None, Some("123456789012")),
            (Some(good), None),
            (Some(good), Some("123456789013")),
            (Some(""), Some("")),
            (Some("arn:aws:iam::123456789012"), Some("123456789012")),
            (Some("arn:aws:iam::123456789012:"), Some("123456789012")),
            (Some("arn:aws:iam:eu-west-1:123456789012:user/a"), Some("123456789012")),
            (Some("arn:aws:s3::123456789012:user/a"), Some("123456789012")),
            (Some("arn:other:iam::123456789012:user/a"), Some("123456789012")),
            (Some("arn:aws:iam::12345678901:user/a"), Some("12345678901")),
            (Some("arn:aws:iam::12345678901x:user/a"), Some("12345678901x")),
            (Some("arn:aws:iam::123456789012:user/a b"), Some("123456789012")),
            (Some("arn:aws:iam::123456789012:user/a\n"), Some("123456789012")),
            (Some("urn:aws:iam::123456789012:user/a"), Some("123456789012")),
        ] {
            let error = Caller::read(arn, account).unwrap_err();
            assert_eq!(error.kind(), IdentityErrorKind::Untrusted, "{arn:?}");
        }
    }
}
