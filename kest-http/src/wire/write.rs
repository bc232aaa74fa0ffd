//! From a parcel to a header.

use std::sync::Arc;

use kest_core::canonical;
use kest_core::claim::{ClaimCache, ClaimId};
use kest_core::error::{PropagationError, PropagationErrorKind};
use kest_core::text::Quoted;
use serde_json::Value;

use super::baggage::{self, Key};
use super::entries::ChainTip;
use super::kept::Form;
use super::settings::{Packed, Plain, Settings};
use super::{Parcel, dense, malformed, pack, too_large};

/// The header, and what must be kept before it may be sent.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) header: String,
    pub(super) claim: Option<Claim>,
}

#[derive(Debug)]
pub(super) struct Claim {
    pub(super) id: ClaimId,
    pub(super) cache: Arc<dyn ClaimCache>,
    pub(super) passport: String,
}

/// Writes the header. The claim check, if there is one, refers to nothing yet.
///
/// # Errors
/// See [`super::Wire::write`].
pub(super) fn draft(
    settings: &Settings,
    parcel: &Parcel,
    others: &[&str],
) -> Result<Draft, PropagationError> {
    let foreign = baggage::foreign(others, settings.header_bytes)?;
    let mut members = Members::default();
    let passport = text(settings, parcel)?;
    if passport.is_some() {
        members.add(Key::ChainTip, &ChainTip::of(&parcel.passport).to_wire());
    }
    for (key, value) in [(Key::User, &parcel.user), (Key::Agent, &parcel.agent), (Key::Task, &parcel.task)] {
        if let Some(value) = identity(key, value.as_ref())? {
            members.add(key, &value);
        }
    }
    if let Some(jwt) = &parcel.jwt {
        members.add(Key::Jwt, jwt.reveal());
    }
    members.0.extend(foreign.into_iter().map(str::to_owned));
    let Some(passport) = passport else {
        members.check(settings)?;
        return Ok(Draft { header: members.header(), claim: None });
    };
    // Before anything is kept or compressed: whether the smallest tier fits.
    let id = ClaimId::random();
    members.put_first(Key::ClaimCheck, &id.to_wire());
    members.check(settings)?;
    members.take_first();
    match tier(settings, parcel, &passport, &members)? {
        Tier::Inline(key, value) => {
            members.put_first(key, &value);
            Ok(Draft { header: members.header(), claim: None })
        }
        Tier::Check(cache) => {
            members.put_first(Key::ClaimCheck, &id.to_wire());
            let claim = Claim { id, cache, passport };
            Ok(Draft { header: members.header(), claim: Some(claim) })
        }
    }
}

/// The passport as JSON; none where nothing has been recorded.
fn text(settings: &Settings, parcel: &Parcel) -> Result<Option<String>, PropagationError> {
    if parcel.passport.is_empty() {
        return Ok(None);
    }
    let entries = parcel.passport.len();
    if entries > settings.entries {
        return Err(too_large(format!(
            "the lineage has {entries} entries, more than the {} of `entries` that receivers take; raise it on both \
             sides, or begin a new lineage",
            settings.entries
        )));
    }
    let text = parcel.passport.serialize();
    if text.len() > settings.inflated_bytes {
        return Err(too_large(format!(
            "the lineage has {} bytes, more than the {} of `inflated_bytes` that receivers take; raise it on both \
             sides, or begin a new lineage",
            text.len(),
            settings.inflated_bytes
        )));
    }
    Ok(Some(text))
}

/// A string as it is, anything else as canonical JSON.
fn identity(key: Key, value: Option<&Value>) -> Result<Option<String>, PropagationError> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(other) => canonical::to_string(other).map(Some).map_err(|error| {
            malformed(format!("`{}` cannot be written as canonical JSON", key.name())).with_source(error)
        }),
    }
}

enum Tier {
    Inline(Key, String),
    Check(Arc<dyn ClaimCache>),
}

/// The first tier whose value is within the threshold and has room beside the other members.
fn tier(
    settings: &Settings,
    parcel: &Parcel,
    passport: &str,
    others: &Members,
) -> Result<Tier, PropagationError> {
    let fits = |key: Key, value: &str| {
        let member = key.name().len() + 1 + value.len();
        let comma = usize::from(!others.0.is_empty());
        value.len() <= settings.tier_bytes && others.bytes() + comma + member <= settings.header_bytes
    };
    match settings.plain {
        // Encoding only adds to it.
        Plain::WhenItFits if passport.len() <= settings.tier_bytes => {
            let value = baggage::encoded(passport);
            if fits(Key::Passport, &value) {
                return Ok(Tier::Inline(Key::Passport, value));
            }
        }
        Plain::WhenItFits | Plain::Never => {}
    }
    if let Some(cache) = settings.cache.as_ref().filter(|cache| cache.is_shared())
        && signatures(passport) > settings.tier_bytes
    {
        return Ok(Tier::Check(Arc::clone(cache)));
    }
    let key = match settings.packed {
        Packed::Zlib => Key::PassportZ,
        Packed::Dense => Key::PassportD,
    };
    let pack = || match settings.packed {
        Packed::Zlib => pack::packed(passport),
        Packed::Dense => {
            let entries = parcel.passport.entries();
            dense::packed(entries.iter().map(|entry| entry.jws()))
        }
    };
    let bytes = match settings.kept.form(settings.packed, passport, settings.tier_bytes, pack)? {
        Form::Value(value) if fits(key, &value) => return Ok(Tier::Inline(key, value.as_ref().to_owned())),
        Form::Value(value) => value.len(),
        Form::TooLong(bytes) => bytes,
    };
    match &settings.cache {
        Some(cache) if cache.is_shared() => Ok(Tier::Check(Arc::clone(cache))),
        cache => {
            let (lacking, sharing) = match cache {
                None => ("there is no cache for a claim check", ""),
                Some(_) => (
                    "the cache for claim checks is not declared shared, and receivers elsewhere cannot read it",
                    "say `MemoryCache::new().shared_in_process()` where all receivers are in this process, or ",
                ),
            };
            let (packed, denser) = match settings.packed {
                Packed::Zlib => {
                    ("compressed", ", or pack it closer (`.dense()`), if all receivers are this library")
                }
                Packed::Dense => ("in the dense form", ""),
            };
            Err(PropagationError::new(
                PropagationErrorKind::NoSharedCache,
                format!(
                    "the lineage does not fit into a header: {} bytes {packed}, with {} of other members, where \
                     `tier_bytes` is {} and `header_bytes` {}; and {lacking}; {sharing}give \
                     `Kest::builder().cache(…)` or `Wire::builder().cache(…)` one that the receivers read too, such \
                     as `RedisCache`, or raise these limits on both sides{denser}",
                    bytes,
                    others.bytes(),
                    settings.tier_bytes,
                    settings.header_bytes
                ),
            ))
        }
    }
}

/// Characters of the signatures in the JSON text of a passport. No tier is smaller: nothing packs signatures, and packing
/// all of a long lineage to find that out takes milliseconds.
fn signatures(passport: &str) -> usize {
    let signature =
        |jws: &str| jws.rsplit('.').next().map_or(0, |tail| tail.trim_end_matches(['"', ']']).len());
    passport.split(',').map(signature).sum()
}

/// The members in their order, each as it stands in the header.
#[derive(Default)]
struct Members(Vec<String>);

impl Members {
    fn add(&mut self, key: Key, value: &str) {
        self.0.push(format!("{}={}", key.name(), baggage::encoded(value)));
    }

    /// Puts a value in front that has no need of escapes any more.
    fn put_first(&mut self, key: Key, encoded: &str) {
        self.0.insert(0, format!("{}={encoded}", key.name()));
    }

    fn take_first(&mut self) {
        self.0.remove(0);
    }

    fn bytes(&self) -> usize {
        self.0.iter().map(|member| member.len() + 1).sum::<usize>().saturating_sub(1)
    }

    fn header(&self) -> String {
        self.0.join(",")
    }

    /// Whether they are within the limits. Nothing of what others wrote is left out to make them so.
    fn check(&self, settings: &Settings) -> Result<(), PropagationError> {
        if self.0.len() > settings.members {
            return Err(too_large(format!(
                "`baggage` would have {} members, more than the {} of `members`; send fewer along",
                self.0.len(),
                settings.members
            )));
        }
        if self.bytes() <= settings.header_bytes {
            return Ok(());
        }
        let largest = self.0.iter().max_by_key(|member| member.len()).map_or("", String::as_str);
        Err(too_large(format!(
            "`baggage` would have {} bytes, more than the {} of `header_bytes`; the largest member is {} with {} \
             bytes",
            self.bytes(),
            settings.header_bytes,
            Quoted(baggage::key_of(largest)),
            largest.len()
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_alone_are_counted() {
        assert_eq!(signatures(r#"["aaaa.bbbb.cc"]"#), 2);
        assert_eq!(signatures(r#"["aaaa.bbbb.cc","aaaa.bbbb.ddd","a.b."]"#), 5);
    }
}
