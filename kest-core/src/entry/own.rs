//! What only own entries must get right: deviations, the span context and `metadata`.

use super::read::{Result, is_hex, nullable, uuid_v7};
use super::{Completion, DenialRecord, DeviationRecord, EntryError, Metadata, PolicyContext};
use crate::canonical::{CanonicalReader, Kind};

pub(super) fn deviations(text: &str) -> Result<Vec<DeviationRecord>> {
    let mut json = CanonicalReader::from_text(text);
    let mut all = Vec::new();
    json.begin_array()?;
    while json.next_element()? {
        let (mut policy, mut tier, mut reason, mut approver) = (None, None, None, None);
        json.begin_object()?;
        while let Some(name) = json.next_key()? {
            match &*name {
                "approver" => approver = Some(nullable(&mut json)?),
                "policy" => policy = Some(json.string()?.into()),
                "reason" => reason = Some(nullable(&mut json)?),
                "tier" => tier = Some(json.string()?.into()),
                other => {
                    return Err(EntryError::Unknown { member: format!("policy_context.deviations.{other}") });
                }
            }
        }
        match (policy, tier, reason, approver) {
            (Some(policy), Some(tier), Some(reason), Some(approver)) => {
                all.push(DeviationRecord { policy, tier, reason, approver });
            }
            _ => {
                let problem = "has a deviation without its policy, tier, reason or approver";
                return Err(EntryError::Malformed { member: "policy_context", problem });
            }
        }
    }
    Ok(all)
}

pub(super) fn span_context(text: &str) -> Result<()> {
    let mut json = CanonicalReader::from_text(text);
    let (mut span, mut trace) = (false, false);
    json.begin_object()?;
    while let Some(name) = json.next_key()? {
        let value = json.string()?;
        match &*name {
            "span_id" => span = is_hex(&value, 16),
            "trace_id" => trace = is_hex(&value, 32),
            other => return Err(EntryError::Unknown { member: format!("otel_context.{other}") }),
        }
    }
    if text == "{}" || (span && trace) {
        Ok(())
    } else {
        Err(EntryError::Malformed { member: "otel_context", problem: "lacks a span id or a trace id in hex" })
    }
}

pub(super) fn metadata(text: &str, classification: &str) -> Result<Metadata> {
    let malformed = |problem| EntryError::Malformed { member: "metadata", problem };
    let mut json = CanonicalReader::from_text(text);
    let (mut function, mut policies, mut trust) = (None, None, None);
    let (mut completes, mut outcome, mut denied) = (None, None, None);
    json.begin_object()?;
    while let Some(name) = json.next_key()? {
        match &*name {
            "completes" => completes = Some(uuid_v7(&json.string()?)?),
            "denied" => denied = Some(denial(&mut json)?),
            "function" => function = Some(json.string()?.into()),
            "outcome" => outcome = Some(json.string()?.into()),
            "policies" => policies = Some(digests(&mut json)?),
            "trust" => trust = Some(own_trust(&mut json)?),
            other => return Err(EntryError::Unknown { member: format!("metadata.{other}") }),
        }
    }
    let completion = match (classification, completes, outcome) {
        ("completion", Some(completes), Some(outcome)) => Some(Completion { completes, outcome }),
        ("completion", _, _) => return Err(malformed("does not say what is completed, and how it ended")),
        (_, None, None) => None,
        (_, _, _) => return Err(malformed("completes something in an entry that is no `completion`")),
    };
    match (classification, &denied) {
        ("denial", None) => return Err(malformed("does not say which policy denied")),
        ("denial", Some(_)) | (_, None) => {}
        (_, Some(_)) => return Err(malformed("has a denial in an entry that is no `denial`")),
    }
    let (source_type, trust_override, model) =
        trust.ok_or(EntryError::Missing { member: "metadata.trust" })?;
    Ok(Metadata {
        function: function.ok_or(EntryError::Missing { member: "metadata.function" })?,
        source_type,
        trust_override,
        model,
        policies: policies.ok_or(EntryError::Missing { member: "metadata.policies" })?,
        completion,
        denied,
    })
}

fn denial(json: &mut CanonicalReader<'_>) -> Result<DenialRecord> {
    let (mut policy, mut reason, mut tier) = (None, None, None);
    json.begin_object()?;
    while let Some(name) = json.next_key()? {
        match &*name {
            "policy" => policy = Some(json.string()?.into()),
            "reason" => reason = Some(nullable(json)?),
            "tier" => tier = Some(json.string()?.into()),
            other => return Err(EntryError::Unknown { member: format!("metadata.denied.{other}") }),
        }
    }
    match (policy, reason, tier) {
        (Some(policy), Some(reason), Some(tier)) => Ok(DenialRecord { policy, tier, reason }),
        _ => Err(EntryError::Malformed {
            member: "metadata",
            problem: "lacks the policy, reason or tier of its denial",
        }),
    }
}

/// What Kest signs beside a call decides nothing: it only carries on what its parents have.
pub(super) fn plain_side_entry(
    metadata: &Metadata,
    taints: bool,
    context: Option<&PolicyContext>,
) -> Result<()> {
    let malformed = |member, problem| Err(EntryError::Malformed { member, problem });
    if metadata.trust_override.is_some() || metadata.source_type.is_some() || !metadata.policies.is_empty() {
        return malformed("metadata", "of a completion or snapshot has trust or policies of its own");
    }
    if metadata.completion.as_ref().is_some_and(|it| !matches!(&*it.outcome, "ok" | "error")) {
        return malformed("metadata", "names an outcome other than `ok` and `error`");
    }
    if taints {
        return malformed("taints", "of a completion or snapshot are not only those of its parents");
    }
    let plain = PolicyContext::default();
    if context.is_some_and(|context| *context != plain) {
        return malformed("policy_context", "of a completion or snapshot is not empty");
    }
    Ok(())
}

fn digests(json: &mut CanonicalReader<'_>) -> Result<Vec<(Box<str>, Box<str>)>> {
    let mut all = Vec::new();
    json.begin_object()?;
    while let Some(name) = json.next_key()? {
        all.push((name.into(), json.string()?.into()));
    }
    Ok(all)
}

type Trust = (Option<Box<str>>, Option<u8>, Box<str>);

fn own_trust(json: &mut CanonicalReader<'_>) -> Result<Trust> {
    let (mut source, mut score, mut model) = (None, None, None);
    json.begin_object()?;
    while let Some(name) = json.next_key()? {
        match &*name {
            "model" => model = Some(json.string()?.into()),
            "override" if json.peek()? == Kind::Null => score = Some(json.null().map(|()| None)?),
            "override" => {
                let found = json.unsigned()?;
                let value = u8::try_from(found).ok().filter(|score| *score <= 100);
                score = Some(Some(value.ok_or(EntryError::TrustScore { found })?));
            }
            "source_type" => source = Some(nullable(json)?),
            other => return Err(EntryError::Unknown { member: format!("metadata.trust.{other}") }),
        }
    }
    match (source, score, model) {
        (Some(source), Some(score), Some(model)) => Ok((source, score, model)),
        _ => Err(EntryError::Malformed {
            member: "metadata",
            problem: "lacks the source type, override or model of its trust",
        }),
    }
}
