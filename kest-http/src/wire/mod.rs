//! How a lineage looks on the wire: members of a W3C `baggage` header. Spec §12.
//!
//! A passport goes in one of three tiers, the first that fits: `kest.passport` (the JSON array), `kest.passport_z`
//! (the same, compressed) or under [`WireBuilder::dense`] `kest.passport_d` (its entries without what they share),
//! `kest.claim_check` (where it is kept). All of them are read. Beside it stand `kest.chain_tip` (the hashes of its
//! tips, oldest first, joined with `.`), `kest.user`, `kest.agent`, `kest.task` and `kest.jwt`. Values are
//! percent-encoded; members of others stay as they are.
//!
//! What comes in is read strictly, and nothing of it is believed: [`Arrived`] holds an unverified lineage and hearsay.
//!
//! # The Python package
//!
//! `kest` 0.3.0 for Python reads one `baggage` header, splits it at commas and undoes no escapes, so that it
//! understands [`WireBuilder::always_compressed`] and nothing else; it splits `kest.chain_tip` at commas, so that of
//! several tips it makes one parent that nobody knows. What it sends is not encoded, and may hold tiers of an older
//! state beside the right one: [`WireBuilder::accept_python_form`].

mod baggage;
mod dense;
mod entries;
mod kept;
mod pack;
mod parcel;
mod read;
mod settings;
mod write;

use kest_core::error::{PropagationError, PropagationErrorKind};

pub(crate) use self::baggage::{foreign_member, without_private};
pub use self::parcel::{Arrived, Parcel};
pub use self::settings::{Wire, WireBuilder};

impl Wire {
    /// The value of a `baggage` header: the members of `parcel`, and those of `others`, the values of the `baggage`
    /// headers that other propagators wrote. Members of `others` that begin `kest.` are left out. Empty when there is
    /// nothing to send.
    ///
    /// # Errors
    /// When it would be larger than a limit, needs a claim check that cannot be had, or `others` is no baggage.
    pub async fn write(&self, parcel: &Parcel, others: &[&str]) -> Result<String, PropagationError> {
        let draft = write::draft(&self.settings, parcel, others)?;
        if let Some(claim) = &draft.claim {
            claim.cache.put_async(&claim.id, &claim.passport, self.settings.claim_ttl).await?;
        }
        Ok(draft.header)
    }

    /// [`Self::write`] where blocking is fine. Only a claim check makes it block.
    ///
    /// # Errors
    /// See [`Self::write`].
    pub fn write_blocking(&self, parcel: &Parcel, others: &[&str]) -> Result<String, PropagationError> {
        let draft = write::draft(&self.settings, parcel, others)?;
        if let Some(claim) = &draft.claim {
            claim.cache.put(&claim.id, &claim.passport, self.settings.claim_ttl)?;
        }
        Ok(draft.header)
    }

    /// What arrived in the `baggage` headers of a message: all of them, in their order.
    ///
    /// # Errors
    /// When they say something that is no lineage, or is larger than a limit, or a claim check cannot be redeemed.
    /// It is never an empty lineage.
    pub async fn read(&self, headers: &[&[u8]]) -> Result<Arrived, PropagationError> {
        let reading = read::open(&self.settings, headers)?;
        let Some(due) = reading.claim(&self.settings)? else { return Ok(reading.arrived) };
        let kept = due.cache.get_async(&due.claim).await?;
        reading.redeem(&self.settings, kept)
    }

    /// [`Self::read`] where blocking is fine. Only a claim check makes it block.
    ///
    /// # Errors
    /// See [`Self::read`].
    pub fn read_blocking(&self, headers: &[&[u8]]) -> Result<Arrived, PropagationError> {
        let reading = read::open(&self.settings, headers)?;
        let Some(due) = reading.claim(&self.settings)? else { return Ok(reading.arrived) };
        let kept = due.cache.get(&due.claim)?;
        reading.redeem(&self.settings, kept)
    }
}

fn malformed(message: impl Into<String>) -> PropagationError {
    PropagationError::new(PropagationErrorKind::Malformed, message)
}

fn too_large(message: impl Into<String>) -> PropagationError {
    PropagationError::new(PropagationErrorKind::TooLarge, message)
}
