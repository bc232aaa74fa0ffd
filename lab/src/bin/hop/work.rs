//! What a hop does for a request.

use std::fmt;
use std::sync::Arc;

use kest::http::LineageInfo;
use kest::{Error, kest_verified};
use kest_lab::{Plan, Step};
use serde_json::{Value, json};

use crate::Service;

/// Runs a plan, and tells what the lineage is afterwards.
pub(crate) async fn answer(service: &Arc<Service>, info: &LineageInfo, plan: Plan) -> Result<Value, Failure> {
    let user = kest::get_current_user();
    let answers = run(service, plan).await?;
    let passport = kest::get_current_passport().expect("the layer's scope").serialize();
    Ok(json!({
        "service": service.config.name,
        "standing": format!("{:?}", info.standing()),
        "peer": info.peer().map(|peer| peer.id()),
        "user": user,
        "passport": serde_json::from_str::<Value>(&passport).unwrap(),
        "answers": answers,
    }))
}

#[kest_verified(policy = unchecked(service.config.policies.clone()), operation = service.config.operation())]
async fn run(service: &Arc<Service>, plan: Plan) -> Result<Vec<Value>, Failure> {
    let mut answers = Vec::new();
    for step in plan.0 {
        match step {
            Step::Repeat(times) => {
                for _ in 0..times {
                    repeated(service)?;
                }
            }
            Step::Call(call) => answers.push(service.clients.call(call).await?),
            Step::Join(calls) => {
                let branch = |call| {
                    let service = Arc::clone(service);
                    kest::spawn(async move { service.clients.call(call).await })
                };
                let branches: Vec<_> = calls.into_iter().map(branch).collect();
                for branch in branches {
                    answers.push(branch.await.expect("a branch that ends")?);
                }
                repeated(service)?;
            }
        }
    }
    Ok(answers)
}

#[kest_verified(policy = unchecked(service.config.policies.clone()))]
fn repeated(service: &Service) -> Result<(), Error> {
    Ok(())
}

/// Why a plan was not carried out.
#[derive(Debug)]
pub(crate) enum Failure {
    /// A protected call was refused here.
    Kest(Error),
    /// A request was not sent, or what came back was not taken.
    Send(String),
    /// A service said no: with the status, and what else it said.
    Answered(Value),
}

impl Failure {
    pub(crate) fn told(&self, service: &str) -> Value {
        match self {
            Self::Kest(error) => json!({ "service": service, "kest": error.to_string() }),
            Self::Send(error) => json!({ "service": service, "send": error }),
            Self::Answered(answer) => json!({ "service": service, "answered": answer }),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Kest(error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.told(""))
    }
}
