//! One call: what the settings let it take along.

use http::HeaderMap;
use kest_core::error::{PropagationError, PropagationErrorKind};
use kest_core::get_active_cache;
use kest_core::lineage::{Outgoing, get_current_passport};

use super::Outbound;
use super::headers::{self, Credentials};
use super::hosts::Target;
use super::returned::Joining;
use crate::{Parcel, Wire};

/// What is known of a call when it is made.
#[derive(Debug)]
pub(crate) struct Call {
    outbound: Outbound,
    outgoing: Outgoing,
    /// Whether it is made in a scope, so that something can come back.
    in_scope: bool,
    wire: Wire,
}

/// What is to be written, and where its answer goes.
#[derive(Debug)]
pub(crate) struct Plan {
    wire: Wire,
    parcel: Parcel,
    others: Vec<String>,
    joining: Option<Joining>,
}

impl Call {
    /// Takes lineage, identity context and token of the calling code.
    pub(crate) fn capture(outbound: &Outbound) -> Self {
        let cached = || match get_active_cache() {
            Some(cache) => Wire::builder().cache(cache).build(),
            None => Wire::default(),
        };
        Self {
            outbound: outbound.clone(),
            outgoing: Outgoing::capture(),
            in_scope: get_current_passport().is_some(),
            wire: outbound.settings.wire.clone().unwrap_or_else(cached),
        }
    }

    /// Takes out of the headers what the host may not have, and says what is to be written.
    pub(crate) fn plan(self, target: &Target, headers: &mut HeaderMap) -> Result<Plan, PropagationError> {
        let settings = &self.outbound.settings;
        headers::take_ours_away(headers);
        if target.is_nowhere() {
            return Err(PropagationError::new(
                PropagationErrorKind::HostNotNamed,
                "the request's URI names no host, and the call was not made; give it one with scheme and host, or say \
                 where the client goes with `OutboundLayer::to_origin`",
            ));
        }
        let named = self.outbound.may_have_lineage(target);
        if !named && settings.refuse_unnamed {
            return Err(PropagationError::new(
                PropagationErrorKind::HostNotNamed,
                format!(
                    "`{target}` is not named as a host that may receive lineage, and the call was not made; name it \
                     with `.host(…)`"
                ),
            ));
        }
        let token = self.token(target, headers)?;
        if !named {
            if self.in_scope {
                tracing::debug!(target: "kest", host = %target, "the call goes without lineage: the host is not named");
            }
            let others =
                if headers::may_have_ours(headers) { headers::take_baggage(headers)? } else { Vec::new() };
            return Ok(Plan { wire: self.wire, parcel: Parcel::new(), others, joining: None });
        }
        let mut others = headers::take_baggage(headers)?;
        others.extend(headers::inject(headers).filter(|written| !others.contains(written)));
        let mut parcel = Parcel::from(&self.outgoing);
        if settings.jwt_in_baggage && token == Token::MayGo {
            parcel.jwt = self.outgoing.jwt().cloned();
        }
        let asks = self.in_scope && settings.returned.is_some();
        if asks {
            headers::ask(headers);
        }
        let wire = self.wire.clone();
        let joining = asks.then(|| Joining::new(self.outbound, self.outgoing, self.wire, target.clone()));
        Ok(Plan { wire, parcel, others, joining })
    }

    /// The `Authorization` header: the token where it may go and there are no other credentials, and never elsewhere.
    fn token(&self, target: &Target, headers: &mut HeaderMap) -> Result<Token, PropagationError> {
        let Some(jwt) = self.outgoing.jwt() else { return Ok(Token::Stays) };
        let settings = &self.outbound.settings;
        let there = headers::credentials(headers, jwt);
        if !self.outbound.may_have_jwt(target) {
            if let Credentials::Token = there {
                tracing::warn!(
                    target: "kest",
                    host = %target,
                    "the bearer token was taken out of the request: the host is not named for it (`.jwt_host(…)`)"
                );
                headers::take_token_away(headers);
            }
            return Ok(Token::Stays);
        }
        if !target.is_private() && !settings.jwt_over_plain_http {
            return match there {
                Credentials::Others => Ok(Token::Stays),
                Credentials::None | Credentials::Token => Err(PropagationError::new(
                    PropagationErrorKind::HostNotNamed,
                    format!(
                        "the bearer token would go to `{target}` in the clear, and the call was not made; use `https`, \
                         or say `.jwt_over_plain_http()`"
                    ),
                )),
            };
        }
        if let Credentials::None = there {
            headers::put_token(headers, jwt)?;
        }
        Ok(Token::MayGo)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    MayGo,
    Stays,
}

impl Plan {
    /// Writes the `baggage` header.
    pub(crate) async fn write(self, headers: &mut HeaderMap) -> Result<Option<Joining>, PropagationError> {
        let others: Vec<&str> = self.others.iter().map(String::as_str).collect();
        let value = self.wire.write(&self.parcel, &others).await?;
        headers::put_baggage(headers, &value)?;
        Ok(self.joining)
    }

    /// [`Self::write`] where blocking is fine.
    #[cfg(feature = "grpc")]
    pub(crate) fn write_blocking(self, headers: &mut HeaderMap) -> Result<(), PropagationError> {
        let others: Vec<&str> = self.others.iter().map(String::as_str).collect();
        let value = self.wire.write_blocking(&self.parcel, &others)?;
        headers::put_baggage(headers, &value)
    }
}
