//! From headers to what arrived.

use std::sync::Arc;

use kest_core::claim::{ClaimCache, ClaimId};
use kest_core::error::{PropagationError, PropagationErrorKind};
use kest_core::lineage::Jwt;
use kest_core::verify::UnverifiedPassport;

use super::baggage::{self, Key, Raw};
use super::entries::{self, ChainTip};
use super::settings::{Accepted, Settings};
use super::{Arrived, dense, malformed, pack, too_large};

/// What the headers say; the lineage may still have to be fetched.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) arrived: Arrived,
    due: Option<(ClaimId, ChainTip)>,
}

/// What is to be redeemed, and where.
pub(super) struct Due<'a> {
    pub(super) claim: ClaimId,
    pub(super) cache: &'a dyn ClaimCache,
}

impl Reading {
    /// The claim to redeem, and where.
    ///
    /// # Errors
    /// When there is nothing to redeem it at.
    pub(super) fn claim<'a>(&self, settings: &'a Settings) -> Result<Option<Due<'a>>, PropagationError> {
        match (&self.due, &settings.cache) {
            (None, _) => Ok(None),
            (Some((claim, _)), Some(cache)) => Ok(Some(Due { claim: claim.clone(), cache: &**cache })),
            (Some(_), None) => Err(PropagationError::new(
                PropagationErrorKind::NoSharedCache,
                "a claim check came, and there is no cache to redeem it at; give `Wire::builder().cache(…)` the one \
                 that the sender uses",
            )),
        }
    }

    /// The same with what the cache gave.
    ///
    /// # Errors
    /// When it gave nothing, or no lineage with these tips.
    pub(super) fn redeem(
        mut self,
        settings: &Settings,
        kept: Option<Arc<str>>,
    ) -> Result<Arrived, PropagationError> {
        let Some((_, tip)) = self.due else { return Ok(self.arrived) };
        let Some(text) = kept else {
            return Err(PropagationError::new(
                PropagationErrorKind::ClaimNotFound,
                "the claim check that came refers to nothing that the cache holds: its time was over, or sender and \
                 receiver use different caches",
            ));
        };
        let passport = passport(&text, settings)?;
        tip.check(&passport)?;
        self.arrived.lineage = Some(passport);
        Ok(self.arrived)
    }
}

/// Reads the headers.
///
/// # Errors
/// See [`super::Wire::read`].
pub(super) fn open(settings: &Settings, headers: &[&[u8]]) -> Result<Reading, PropagationError> {
    let found = Found::of(settings, headers)?;
    let (user, agent, task) = (found.user, found.agent, found.task);
    let mut arrived = Arrived { lineage: None, user, agent, task, jwt: found.jwt.map(Jwt::new) };
    let Some(tip) = found.chain_tip else {
        let tiers = [
            (Key::Passport, &found.passport),
            (Key::PassportZ, &found.passport_z),
            (Key::PassportD, &found.passport_d),
            (Key::ClaimCheck, &found.claim_check),
        ];
        return match tiers.into_iter().find(|(_, value)| value.is_some()) {
            None => Ok(Reading { arrived, due: None }),
            Some((key, _)) => Err(malformed(format!("`{}` came without `kest.chain_tip`", key.name()))),
        };
    };
    let tip: ChainTip = tip.parse()?;
    let mut due = None;
    match (found.passport, found.passport_z, found.passport_d, found.claim_check) {
        (None, None, None, None) => return Err(malformed("`kest.chain_tip` came without a passport")),
        (Some(text), None, None, None) => arrived.lineage = Some(passport(&text, settings)?),
        (None, Some(packed), None, None) => {
            let text = pack::unpacked(&packed, settings.inflated_bytes)?;
            arrived.lineage = Some(passport(&text, settings)?);
        }
        (None, None, Some(dense), None) => {
            let entries = dense::unpacked(&dense, settings.inflated_bytes, settings.entries)?;
            arrived.lineage = Some(entries::of(entries)?);
        }
        (None, None, None, Some(claim)) => due = Some((claim.parse()?, tip.clone())),
        (plain, packed, dense, claim) => match (settings.accepted, dense) {
            // The Python package, whose stale tiers are put up with, writes no dense one.
            (Accepted::Standard, _) | (Accepted::PythonToo, Some(_)) => {
                return Err(malformed(
                    "more than one of `kest.passport`, `kest.passport_z`, `kest.passport_d` and `kest.claim_check` \
                     came; which of them is stale cannot be known",
                ));
            }
            (Accepted::PythonToo, None) => {
                arrived.lineage = fresh(plain, packed, &tip, settings)?;
                match (&arrived.lineage, claim) {
                    (Some(_), _) => {}
                    (None, Some(claim)) => due = Some((claim.parse()?, tip.clone())),
                    (None, None) => {
                        return Err(malformed(
                            "`kest.chain_tip` names the end of none of the passports that came",
                        ));
                    }
                }
            }
        },
    }
    if let Some(passport) = &arrived.lineage {
        tip.check(passport)?;
    }
    Ok(Reading { arrived, due })
}

/// Of several tiers the one that the tip belongs to. The Python package leaves older ones in place.
fn fresh(
    plain: Option<String>,
    packed: Option<String>,
    tip: &ChainTip,
    settings: &Settings,
) -> Result<Option<UnverifiedPassport>, PropagationError> {
    let packed = packed.map(|packed| pack::unpacked(&packed, settings.inflated_bytes)).transpose()?;
    for text in [plain, packed].into_iter().flatten() {
        let passport = passport(&text, settings)?;
        if tip.ends(&passport) {
            return Ok(Some(passport));
        }
    }
    Ok(None)
}

fn passport(text: &str, settings: &Settings) -> Result<UnverifiedPassport, PropagationError> {
    let limit = settings.inflated_bytes;
    if text.len() > limit {
        return Err(too_large(format!(
            "the passport that came has {} bytes, more than the {limit} of `inflated_bytes`",
            text.len()
        )));
    }
    entries::passport(text, settings.entries)
}

/// Our members, each at most once.
#[derive(Debug, Default)]
struct Found {
    passport: Option<String>,
    passport_z: Option<String>,
    passport_d: Option<String>,
    claim_check: Option<String>,
    chain_tip: Option<String>,
    user: Option<String>,
    agent: Option<String>,
    task: Option<String>,
    jwt: Option<String>,
}

impl Found {
    fn of(settings: &Settings, headers: &[&[u8]]) -> Result<Self, PropagationError> {
        // Several headers are one with commas between them (RFC 9110 §5.3).
        let bytes =
            headers.iter().map(|header| header.len().saturating_add(1)).sum::<usize>().saturating_sub(1);
        if bytes > settings.header_bytes {
            return Err(too_large(format!(
                "`baggage` has {bytes} bytes, more than the {} of `header_bytes`",
                settings.header_bytes
            )));
        }
        let mut found = Self::default();
        let mut count = 0_usize;
        for header in headers {
            let members = match settings.accepted {
                Accepted::Standard => baggage::members(header),
                Accepted::PythonToo => baggage::members_with_brackets(header),
            };
            count += members.len();
            if count > settings.members {
                return Err(too_large(format!(
                    "`baggage` has more than the {} members of `members`",
                    settings.members
                )));
            }
            for member in members {
                let Some(raw) = Raw::of(member)? else { continue };
                let value = match settings.accepted {
                    Accepted::Standard => raw.standard()?,
                    Accepted::PythonToo => raw.unescaped()?,
                };
                if found.slot(raw.key).replace(value).is_some() {
                    return Err(malformed(format!(
                        "`{}` came more than once; which of them is right cannot be known",
                        raw.key.name()
                    )));
                }
            }
        }
        Ok(found)
    }

    fn slot(&mut self, key: Key) -> &mut Option<String> {
        match key {
            Key::Passport => &mut self.passport,
            Key::PassportZ => &mut self.passport_z,
            Key::PassportD => &mut self.passport_d,
            Key::ClaimCheck => &mut self.claim_check,
            Key::ChainTip => &mut self.chain_tip,
            Key::User => &mut self.user,
            Key::Agent => &mut self.agent,
            Key::Task => &mut self.task,
            Key::Jwt => &mut self.jwt,
        }
    }
}
