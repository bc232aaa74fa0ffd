//! Settings of an identity.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use kest_core::error::{IdentityError, IdentityErrorKind};

use super::OidcIdentity;
use super::claims::{Audience, DEFAULT_AUDIENCE, DEFAULT_LEEWAY};
use super::failure::Failure;
use super::issuers::{checked_leeway, place, refused};
use super::source::TokenSource;
use super::state::{Keys, Settings, Shared};
use crate::http::root_certificates;
use crate::jwks::{Issuer, Limits, Remote};

/// Settings of an [`OidcIdentity`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build`"]
pub struct OidcIdentityBuilder {
    source: Option<TokenSource>,
    issuer: IssuerSetting,
    jwks_uri: Option<String>,
    audience: Option<Audience>,
    leeway: Duration,
    timeout: Duration,
    roots: Vec<u8>,
}

#[derive(Clone, Debug)]
enum IssuerSetting {
    Unsaid,
    Named(String),
    FromToken,
}

impl OidcIdentityBuilder {
    pub(super) fn new() -> Self {
        Self {
            source: None,
            issuer: IssuerSetting::Unsaid,
            jwks_uri: None,
            audience: None,
            leeway: DEFAULT_LEEWAY,
            timeout: Limits::default().timeout,
            roots: Vec::new(),
        }
    }

    /// The settings that the environment names.
    pub(super) fn from_vars(variable: &dyn Fn(&str) -> Option<OsString>) -> Result<Self, IdentityError> {
        const PATH: &str = "KEST_OIDC_TOKEN_PATH";
        let path = match variable(PATH) {
            Some(path) if !path.is_empty() => PathBuf::from(path),
            Some(_) => return Err(refused(format!("`{PATH}` is empty; set it to the token's file"))),
            None => {
                let message =
                    format!("`{PATH}` is not set; set it to the file with the OpenID Connect token");
                return Err(IdentityError::new(IdentityErrorKind::Missing, message));
            }
        };
        let text = |name: &str| match variable(name).map(OsString::into_string) {
            None => Ok(None),
            Some(Ok(value)) if !value.trim().is_empty() => Ok(Some(value)),
            Some(_) => Err(refused(format!("`{name}` is empty or no text; set it, or unset it"))),
        };
        let builder = Self::new().token_path(path);
        let builder = match text("KEST_OIDC_ISSUER")? {
            Some(issuer) => {
                Issuer::parse(&issuer).map_err(|error| refused(format!("`KEST_OIDC_ISSUER`: {error}")))?;
                builder.issuer(issuer)
            }
            None => builder.issuer_from_token(),
        };
        Ok(match text("KEST_OIDC_AUDIENCE")? {
            Some(audience) => builder.audience(audience),
            None => builder,
        })
    }

    /// The file that the platform keeps the token in.
    pub fn token_path(mut self, path: impl Into<PathBuf>) -> Self {
        self.source = Some(TokenSource::File(Arc::new(path.into())));
        self
    }

    /// The environment variable that the token is in. What is put into it later is read too.
    pub fn token_env(mut self, name: impl Into<Arc<str>>) -> Self {
        self.source = Some(TokenSource::Variable(name.into()));
        self
    }

    /// Whose token it must be, exactly as its `iss` says it: `https`, or `http` to this machine.
    pub fn issuer(mut self, issuer: impl Into<String>) -> Self {
        self.issuer = IssuerSetting::Named(issuer.into());
        self
    }

    /// Takes the issuer that the first token names. Entries carry it, and verifiers believe only those they know; but
    /// whoever can write the token decides which server is asked for keys.
    pub fn issuer_from_token(mut self) -> Self {
        self.issuer = IssuerSetting::FromToken;
        self
    }

    /// Where the issuer's keys are, if its discovery document cannot be asked.
    pub fn jwks_uri(mut self, url: impl Into<String>) -> Self {
        self.jwks_uri = Some(url.into());
        self
    }

    /// For whom the token must be (`aud`); `kest` by default. Said several times, one of them is enough.
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        let name = audience.into().into_boxed_str();
        match &mut self.audience {
            Some(Audience::Named(names)) => names.push(name),
            Some(Audience::Any) | None => self.audience = Some(Audience::Named(vec![name])),
        }
        self
    }

    /// Accepts a token for any audience: also one that was meant for another service, which could then use it here.
    pub fn any_audience(mut self) -> Self {
        self.audience = Some(Audience::Any);
        self
    }

    /// How far the issuer's clock and this one may differ; 30 seconds by default, 5 minutes at most.
    pub fn leeway(mut self, leeway: Duration) -> Self {
        self.leeway = leeway;
        self
    }

    /// How long reading the token's file may take, and asking the issuer for its keys; 5 seconds each by default.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Certificate authorities in PEM, believed for the issuer's server beside those of the system.
    pub fn root_certificates_pem(mut self, pem: &[u8]) -> Self {
        self.roots.extend_from_slice(pem);
        self.roots.push(b'\n');
        self
    }

    /// The identity, with a new key. Nothing is read or fetched yet.
    ///
    /// # Errors
    /// When the place of the token or its issuer is not said, or a setting cannot be used.
    pub fn build(self) -> Result<OidcIdentity, IdentityError> {
        let source = match self.source {
            Some(TokenSource::Variable(name)) if name.is_empty() || name.contains(['=', '\0']) => {
                return Err(refused("the variable of an OpenID Connect token has no name; give it one"));
            }
            Some(source) => source,
            None => return Err(refused("say where the token is: `.token_path(…)` or `.token_env(…)`")),
        };
        let leeway = checked_leeway(self.leeway)?;
        let roots = match self.roots.is_empty() {
            true => Vec::new(),
            false => root_certificates(&self.roots).map_err(Failure::from)?,
        };
        let audience = self.audience.unwrap_or_else(|| Audience::Named(vec![DEFAULT_AUDIENCE.into()]));
        if matches!(&audience, Audience::Named(names) if names.iter().any(|name| name.is_empty())) {
            return Err(refused("an audience is empty; name it, or say `.any_audience()`"));
        }
        let limits = Limits { timeout: self.timeout, ..Limits::default() };
        let issuer = match (self.issuer, self.jwks_uri) {
            (IssuerSetting::Named(name), uri) => {
                let place = place(&name, uri.as_deref()).map_err(Failure::from)?;
                Some(Keys { issuer: name, remote: Remote::new(place, limits, roots.clone()) })
            }
            (IssuerSetting::FromToken, None) => None,
            (IssuerSetting::FromToken, Some(_)) => {
                return Err(refused(
                    "keys from one `jwks_uri` cannot speak for every issuer; name it with `.issuer(…)`",
                ));
            }
            (IssuerSetting::Unsaid, _) => {
                return Err(refused("say whose token it is: `.issuer(…)`, or `.issuer_from_token()`"));
            }
        };
        let settings = Settings { source, issuer, timeout: self.timeout, roots, audience, leeway };
        Ok(OidcIdentity { shared: Arc::new(Shared::new(settings)?) })
    }
}

#[cfg(test)]
mod tests {
    use super::super::claims::LONGEST_LEEWAY;
    use super::*;

    fn vars<'v>(vars: &'v [(&str, &str)]) -> impl Fn(&str) -> Option<OsString> + 'v {
        |name| vars.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(value))
    }

    fn built(set: &[(&str, &str)]) -> Result<OidcIdentity, IdentityError> {
        OidcIdentityBuilder::from_vars(&vars(set))?.build()
    }

    #[test]
    fn the_environment_names_the_file_the_issuer_and_the_audience() {
        let path = ("KEST_OIDC_TOKEN_PATH", "/var/run/secrets/oidc-token");
        let shown = format!("{:?}", built(&[path]).unwrap());
        for part in ["/var/run/secrets/oidc-token", "issuer: None", "\"kest\""] {
            assert!(shown.contains(part), "{shown}");
        }
        let issuer = ("KEST_OIDC_ISSUER", "https://token.actions.githubusercontent.com");
        let shown = format!("{:?}", built(&[path, issuer, ("KEST_OIDC_AUDIENCE", "sts")]).unwrap());
        for part in ["token.actions.githubusercontent.com", "\"sts\""] {
            assert!(shown.contains(part), "{shown}");
        }
        assert!(!shown.contains("kest\""), "{shown}");
    }

    #[test]
    fn a_variable_that_cannot_be_used_is_named() {
        let path = ("KEST_OIDC_TOKEN_PATH", "/token");
        for (set, kind, name) in [
            (&[][..], IdentityErrorKind::Missing, "KEST_OIDC_TOKEN_PATH"),
            (&[("KEST_OIDC_TOKEN_PATH", "")], IdentityErrorKind::Refused, "KEST_OIDC_TOKEN_PATH"),
            (&[path, ("KEST_OIDC_ISSUER", "")], IdentityErrorKind::Refused, "KEST_OIDC_ISSUER"),
            (
                &[path, ("KEST_OIDC_ISSUER", "http://example.org")],
                IdentityErrorKind::Refused,
                "KEST_OIDC_ISSUER",
            ),
            (&[path, ("KEST_OIDC_AUDIENCE", " ")], IdentityErrorKind::Refused, "KEST_OIDC_AUDIENCE"),
        ] {
            let error = built(set).unwrap_err();
            assert_eq!(error.kind(), kind, "{error}");
            assert!(error.to_string().contains(&format!("`{name}`")), "{error}");
        }
    }

    #[test]
    fn settings_that_cannot_be_used_are_refused() {
        let good = || OidcIdentity::builder().token_path("/token").issuer("https://example.org");
        good().any_audience().leeway(LONGEST_LEEWAY).jwks_uri("https://example.org/jwks").build().unwrap();
        for (settings, fix) in [
            (OidcIdentity::builder().issuer("https://example.org"), ".token_path("),
            (OidcIdentity::builder().token_path("/token"), ".issuer_from_token()"),
            (OidcIdentity::builder().token_path("/token").issuer("http://example.org"), "`https`"),
            (good().issuer("https://example.org?a"), "query"),
            (good().token_env(""), "name"),
            (good().token_env("A=B"), "name"),
            (good().audience(""), ".any_audience()"),
            (good().leeway(LONGEST_LEEWAY + Duration::from_secs(1)), "leeway"),
            (good().jwks_uri("http://example.org/jwks"), "`https`"),
            (good().issuer_from_token().jwks_uri("https://example.org/jwks"), ".issuer("),
            (good().root_certificates_pem(b"no PEM"), "PEM"),
        ] {
            let error = settings.build().unwrap_err();
            assert_eq!(error.kind(), IdentityErrorKind::Refused, "{error}");
            assert!(error.to_string().contains(fix), "{fix}: {error}");
        }
    }
}
