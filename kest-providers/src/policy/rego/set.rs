//! One consistent set of policies: parsed, checked and compiled together, then never changed.

use std::collections::HashMap;
use std::error::Error as StdError;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use kest_core::error::{PolicyErrorKind, PolicyUnavailable};
use kest_core::policy::PolicyInput;
use parking_lot::Mutex;
use regorus::languages::rego::compiler::Compiler;
use regorus::rvm::program::Program;
use regorus::rvm::vm::{RegoVM, VmError};
use regorus::utils::limits::ExecutionTimerConfig;
use regorus::{Engine, LimitError, Value};
use sha2::{Digest, Sha256};

use super::Source;
use super::check::{check, path_of, refers_outside};
use super::input;
use super::outline::Outline;
use super::parse::{located, parse};
use super::plain::plain;
use super::reads::Reads;
use super::refuse;

/// Policies by name, and what evaluates them.
pub(in crate::policy) struct Set {
    policies: HashMap<Box<str>, Policy>,
    interpreters: Pool<Engine>,
    prototype: Engine,
}

/// One policy of a set.
pub(super) struct Policy {
    pub(super) file: String,
    pub(super) digest: Arc<str>,
    /// `data.a.b.allow`.
    allow: String,
    /// The rule that gives a denial's reason.
    reason: Option<String>,
    machine: Option<Machine>,
}

/// The fast path of one policy, see [`super::plain`].
struct Machine {
    program: Arc<Program>,
    /// What the program reads of the input.
    reads: Reads,
    idle: Pool<Evaluator>,
}

/// What one call at a time evaluates with.
struct Evaluator {
    vm: RegoVM,
    /// As the machine's.
    reads: Reads,
}

const INSTRUCTIONS: usize = 1_000_000;

impl Set {
    pub(super) fn build(sources: &[Source], time_limit: Duration) -> Result<Self, PolicyUnavailable> {
        let mut engine = Engine::new();
        engine.set_strict_builtin_errors(true);
        engine.set_execution_timer_config(ExecutionTimerConfig {
            limit: time_limit,
            check_interval: std::num::NonZeroU32::MIN.saturating_add(63),
        });
        let mut outlines = Vec::with_capacity(sources.len());
        for source in sources {
            parse(&mut engine, source)?;
            let Some(module) = engine.get_modules().last() else {
                return Err(refuse(format!("`{}` holds no policy", source.file)));
            };
            let outline = Outline::of(module, &source.file);
            let expected = source.name.replace('/', ".");
            let package = outline.package.join(".");
            if package != expected {
                return Err(refuse(format!(
                    "{}:{}: package `{package}` does not match the path of policy `{}`; \
                     write `package {expected}`, or move the file",
                    source.file, module.package.span.line, source.name
                )));
            }
            if outlines.iter().any(|known: &Outline| known.package == outline.package) {
                return Err(refuse(format!("policy `{}` is given twice; leave one", source.name)));
            }
            outlines.push(outline);
        }
        check(&outlines)?;

        let Some(first) = outlines.first() else {
            return Err(refuse("no policy is given; name a folder or a source"));
        };
        let rule =
            |outline: &Outline, name: &str| format!("data.{}", path_of(&outline.package, name).join("."));
        let compiled = engine
            .compile_with_entrypoint(&rule(first, "allow").into())
            .map_err(|error| refuse(located(&error.to_string(), "the policies cannot be compiled")))?;
        let modules = engine.get_modules().clone();
        let mut policies = HashMap::with_capacity(sources.len());
        for ((source, outline), module) in sources.iter().zip(&outlines).zip(modules.iter()) {
            let allow = rule(outline, "allow");
            let reason = ["reason", "deny_reason"].into_iter().find(|name| {
                let path = path_of(&outline.package, name);
                outline.rules.iter().any(|rule| rule.path == path && !rule.is_function())
            });
            // What the machine's compiler does not know is left to the interpreter.
            let machine = plain(module, "allow").and_then(|reads| {
                let program = Compiler::compile_from_policy(&compiled, &[&allow]).ok()?;
                Some(Machine { program, reads, idle: Pool::new() })
            });
            let policy = Policy {
                file: source.file.clone(),
                digest: digest(source, refers_outside(outline, &outlines).then_some(sources)),
                machine,
                reason: reason.map(|name| rule(outline, name)),
                allow,
            };
            policies.insert(source.name.as_str().into(), policy);
        }
        Ok(Self { policies, interpreters: Pool::new(), prototype: engine })
    }

    pub(super) fn get(&self, name: &str) -> Option<&Policy> {
        self.policies.get(name)
    }

    /// All names, sorted.
    pub(super) fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.policies.keys().map(|name| &**name).collect();
        names.sort_unstable();
        names
    }

    /// The value of the policy's `allow`.
    pub(super) fn allow(&self, policy: &Policy, input: &PolicyInput<'_>) -> Result<Value, PolicyUnavailable> {
        let fail = |error| failed(policy, error);
        match &policy.machine {
            Some(machine) => {
                let evaluator = machine.evaluator().map_err(fail)?;
                let input = document(policy, input, &evaluator.reads)?;
                machine.run(evaluator, input)
            }
            None => self.interpret(&policy.allow, document(policy, input, &Reads::Whole)?),
        }
        .map_err(fail)
    }

    /// The value of the policy's `reason`, if it has such a rule.
    pub(super) fn reason(
        &self,
        policy: &Policy,
        input: &PolicyInput<'_>,
    ) -> Result<Option<Value>, PolicyUnavailable> {
        let Some(rule) = &policy.reason else { return Ok(None) };
        let input = document(policy, input, &Reads::Whole)?;
        self.interpret(rule, input).map(Some).map_err(|error| failed(policy, error))
    }

    /// Evaluates a rule with the interpreter.
    fn interpret(&self, rule: &str, input: Value) -> Result<Value, Failure> {
        let mut engine = self.interpreters.take().unwrap_or_else(|| self.prototype.clone());
        engine.set_input(input);
        let value = caught(|| engine.eval_rule(rule.to_owned()))?.map_err(|error| Failure {
            timed_out: matches!(error.downcast_ref(), Some(LimitError::TimeLimitExceeded { .. })),
            cause: error.into(),
        })?;
        // The next call must not find this one's input; after an error the engine is not used again.
        engine.set_input(Value::Undefined);
        self.interpreters.put(engine);
        Ok(value)
    }
}

impl Machine {
    fn evaluator(&self) -> Result<Evaluator, Failure> {
        if let Some(evaluator) = self.idle.take() {
            return Ok(evaluator);
        }
        let mut vm = RegoVM::new();
        vm.load_program(Arc::clone(&self.program));
        vm.set_data(Value::new_object())?;
        vm.set_max_instructions(INSTRUCTIONS);
        Ok(Evaluator { vm, reads: self.reads.apart() })
    }

    fn run(&self, mut evaluator: Evaluator, input: Value) -> Result<Value, Failure> {
        let vm = &mut evaluator.vm;
        vm.set_input(input);
        let value = caught(|| vm.execute_entry_point_by_index(0))??;
        vm.set_input(Value::Undefined);
        self.idle.put(evaluator);
        Ok(value)
    }
}

/// Evaluators that are not in use. Each is used by one call at a time.
struct Pool<T>(Mutex<Vec<T>>);

const IDLE: usize = 64;

impl<T> Pool<T> {
    fn new() -> Self {
        Self(Mutex::new(Vec::new()))
    }

    fn take(&self) -> Option<T> {
        self.0.lock().pop()
    }

    fn put(&self, item: T) {
        let mut idle = self.0.lock();
        if idle.len() < IDLE {
            idle.push(item);
        }
    }
}

/// An evaluation that gave no value.
struct Failure {
    timed_out: bool,
    cause: Box<dyn StdError + Send + Sync>,
}

/// The library's built-ins are many: one that panics fails its policy, and the evaluator is not used again.
fn caught<T>(evaluate: impl FnOnce() -> T) -> Result<T, Failure> {
    catch_unwind(AssertUnwindSafe(evaluate)).map_err(|_| Failure { timed_out: false, cause: PANICKED.into() })
}

const PANICKED: &str = "the evaluator panicked";

impl From<VmError> for Failure {
    fn from(error: VmError) -> Self {
        Self { timed_out: matches!(error, VmError::TimeLimitExceeded { .. }), cause: error.into() }
    }
}

fn document(policy: &Policy, input: &PolicyInput<'_>, reads: &Reads) -> Result<Value, PolicyUnavailable> {
    input::document(input, reads).map_err(|error| {
        PolicyUnavailable::new(
            PolicyErrorKind::Input,
            format!("policy `{}` cannot be given the number `{}`", policy.file, error.number()),
        )
    })
}

fn failed(policy: &Policy, failure: Failure) -> PolicyUnavailable {
    let kind = if failure.timed_out { PolicyErrorKind::Timeout } else { PolicyErrorKind::Evaluation };
    let message = located(&failure.cause.to_string(), &format!("policy `{}` failed", policy.file));
    PolicyUnavailable::new(kind, message).with_source(failure.cause)
}

/// `sha256:<hex>` of the policy's text. A policy that uses others is decided by all of them: the digest is then
/// over every loaded text, in the order of the names, each as `name NUL length NUL text`, its own name first.
fn digest(source: &Source, used: Option<&[Source]>) -> Arc<str> {
    let mut hash = Sha256::new();
    match used {
        None => hash.update(&source.text),
        Some(all) => {
            hash.update(&source.name);
            hash.update([0]);
            let mut all: Vec<&Source> = all.iter().collect();
            all.sort_by(|a, b| a.name.cmp(&b.name));
            for source in all {
                hash.update(&source.name);
                hash.update([0]);
                hash.update(source.text.len().to_string());
                hash.update([0]);
                hash.update(&source.text);
            }
        }
    }
    let hex = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    format!("sha256:{hex}").into()
}

#[cfg(test)]
mod tests;
