//! Which claims say on whose behalf. Spec §12.

use kest_core::lineage::OnBehalfOf;
use kest_core::text::Quoted;
use kest_providers::identity::ValidatedToken;
use serde_json::Value;

/// More actors than any delegation has.
const MOST_ACTORS: usize = 16;
/// As long as a `sub` may be.
const LONGEST: usize = 1_024;
/// `scope` lists; those of large deployments are long.
const LONGEST_TASK: usize = 8 * 1_024;

/// What users are called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Users {
    /// As the token's claim says it. For one issuer, or for several that never give one name to two people.
    AsNamed,
    /// `<iss>#<name>`, so that nobody is taken for somebody else's namesake at another issuer.
    ByIssuer,
}

/// Who of a delegation is whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ActOrder {
    /// RFC 8693 §4.1: `sub` is the user, the outermost `act.sub` the agent.
    Rfc8693,
    /// As the Python package reads it: the outermost `act.sub` is the user, and `sub` the agent.
    Inverse,
}

/// The names of the claims.
#[derive(Clone, Debug)]
pub(super) struct Mapping {
    pub(super) user: String,
    /// The first that is there.
    pub(super) agents: Vec<String>,
    pub(super) task: Option<String>,
    pub(super) act: ActOrder,
    pub(super) users: Users,
}

impl Default for Mapping {
    fn default() -> Self {
        Self {
            user: "sub".to_owned(),
            agents: vec!["client_id".to_owned(), "azp".to_owned()],
            task: Some("scope".to_owned()),
            act: ActOrder::Rfc8693,
            users: Users::AsNamed,
        }
    }
}

impl Mapping {
    /// On whose behalf the token's bearer comes, and the actors that it names, the current one first.
    pub(super) fn read(&self, token: &ValidatedToken) -> Result<(OnBehalfOf, Vec<String>), String> {
        let actors = actors(token)?;
        let user = name(token.claim(&self.user), &self.user)?
            .ok_or_else(|| format!("the token has no {}, which says who the user is", Quoted(&self.user)))?;
        let (user, agent) = match (actors.first(), self.act) {
            (None, _) => (user, self.agent(token)?),
            (Some(actor), ActOrder::Rfc8693) => (user, Some(actor.clone())),
            (Some(actor), ActOrder::Inverse) => (actor.clone(), Some(user)),
        };
        let user = match self.users {
            Users::AsNamed => user,
            Users::ByIssuer => format!("{}#{user}", token.issuer()),
        };
        let mut said = OnBehalfOf::new().user(user);
        said.agent = agent.map(Value::String);
        said.task = match &self.task {
            Some(claim) => task(token.claim(claim), claim)?.map(Value::String),
            None => None,
        };
        Ok((said, actors))
    }

    fn agent(&self, token: &ValidatedToken) -> Result<Option<String>, String> {
        for claim in &self.agents {
            if let Some(agent) = name(token.claim(claim), claim)? {
                return Ok(Some(agent));
            }
        }
        Ok(None)
    }
}

/// RFC 8693 §4.1: each actor was acted for by the one before.
fn actors(token: &ValidatedToken) -> Result<Vec<String>, String> {
    let mut actors = Vec::new();
    let mut next = token.claim("act");
    while let Some(act) = next {
        let Value::Object(members) = act else {
            return Err("the token's `act` is no object".to_owned());
        };
        let actor = name(members.get("sub"), "act.sub")?;
        actors.push(actor.ok_or("the token's `act` names nobody: it has no `sub`")?);
        if actors.len() > MOST_ACTORS {
            return Err(format!("the token names more than {MOST_ACTORS} actors in `act`"));
        }
        next = members.get("act");
    }
    Ok(actors)
}

/// A name: a string that is one.
fn name(claim: Option<&Value>, called: &str) -> Result<Option<String>, String> {
    match claim {
        None => Ok(None),
        Some(Value::String(text))
            if !text.is_empty() && text.len() <= LONGEST && !text.chars().any(char::is_control) =>
        {
            Ok(Some(text.clone()))
        }
        Some(_) => Err(format!(
            "the token's {} is no string, empty, longer than {LONGEST} bytes, or has control characters",
            Quoted(called)
        )),
    }
}

/// RFC 8693 §4.2: a string; some issuers write a list.
fn task(claim: Option<&Value>, called: &str) -> Result<Option<String>, String> {
    let malformed =
        || format!("the token's {} is neither a string nor a list of them, or too long", Quoted(called));
    let text = match claim {
        None => return Ok(None),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(items)) => {
            let items: Option<Vec<&str>> = items.iter().map(Value::as_str).collect();
            items.ok_or_else(malformed)?.join(" ")
        }
        Some(_) => return Err(malformed()),
    };
    match text.len() <= LONGEST_TASK && !text.chars().any(char::is_control) {
        true => Ok(Some(text).filter(|text| !text.is_empty())),
        false => Err(malformed()),
    }
}
