//! The public suite of policy engines: the embedded ones pass, and an engine with one fault does not.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use kest_providers::conformance::policy::samples;

#[test]
fn samples_have_unique_names_and_cases_of_every_answer() {
    let mut names: Vec<_> = samples().iter().map(|sample| sample.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), samples().len());
    for sample in samples() {
        let table = sample.cases().unwrap();
        assert!(table.cases().len() >= 2, "{}", sample.name);
        for statement in sample.cedar_statements() {
            assert!(statement.ends_with(';'), "{statement}");
            assert!(statement.contains(&format!("action == Action::\"{}\"", sample.name)), "{statement}");
        }
    }
}

#[cfg(feature = "rego")]
mod embedded {
    use std::cell::Cell;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use kest_core::error::{PolicyErrorKind, PolicyUnavailable};
    use kest_core::policy::{BoxFuture, Decision, PolicyEngine, PolicyRequest};
    use kest_providers::conformance::policy::{Check, check, check_with, samples};
    use kest_providers::policy::RegoEngine;

    type Answer = Result<Decision, PolicyUnavailable>;

    fn rego() -> RegoEngine {
        RegoEngine::from_sources(samples().iter().map(|sample| (sample.name, sample.rego))).unwrap()
    }

    #[test]
    fn rego_conforms() {
        check(rego()).unwrap();
    }

    #[test]
    #[cfg(feature = "cedar")]
    fn cedar_conforms() {
        let sources = samples().iter().map(|sample| (sample.name, sample.cedar));
        check(kest_providers::policy::CedarEngine::from_sources(sources).unwrap()).unwrap();
    }

    type Fault = fn(&RegoEngine, &PolicyRequest<'_>, Where) -> Answer;

    /// Where a question came from.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum Where {
        Sync,
        Async,
        Snapshot,
    }

    /// The Rego engine with a fault.
    #[derive(Debug, Clone)]
    struct Faulty {
        engine: Arc<RegoEngine>,
        fault: Fault,
        place: Where,
    }

    impl PolicyEngine for Faulty {
        fn evaluate(&self, request: &PolicyRequest<'_>) -> Answer {
            (self.fault)(&self.engine, request, self.place)
        }

        fn evaluate_async<'a>(&'a self, request: &'a PolicyRequest<'a>) -> BoxFuture<'a, Answer> {
            let place = if self.place == Where::Sync { Where::Async } else { self.place };
            Box::pin(async move { (self.fault)(&self.engine, request, place) })
        }

        fn snapshot(&self) -> Option<Arc<dyn PolicyEngine>> {
            Some(Arc::new(Self { place: Where::Snapshot, ..self.clone() }))
        }
    }

    /// The rule that such an engine breaks, and what the suite says.
    fn broken(fault: Fault) -> (Check, String) {
        let engine = Faulty { engine: Arc::new(rego()), fault, place: Where::Sync };
        let failure = check_with(engine, 1).unwrap_err();
        (failure.check(), failure.to_string())
    }

    #[test]
    fn without_a_fault_it_conforms() {
        let engine = Faulty {
            engine: Arc::new(rego()),
            fault: |engine, request, _| engine.evaluate(request),
            place: Where::Sync,
        };
        check_with(engine, 1).unwrap();
    }

    #[test]
    fn an_error_that_becomes_a_decision_is_named() {
        let (check, message) =
            broken(|engine, request, _| engine.evaluate(request).or(Ok(Decision::allow())));
        assert_eq!(check, Check::Decision);
        assert!(message.contains("`conformance/fails/forbid`, case `no number"), "{message}");
        assert!(message.contains("expected an error of kind Evaluation, got allow"), "{message}");

        let (check, message) = broken(|engine, request, _| {
            engine.evaluate(request).or_else(|error| match error.kind() {
                PolicyErrorKind::UnknownPolicy => Ok(Decision::deny()),
                _ => Err(error),
            })
        });
        assert_eq!(check, Check::UnknownName);
        assert!(message.contains("`conformance/absent`"), "{message}");
        assert!(message.contains("UnknownPolicy, got deny"), "{message}");
    }

    #[test]
    fn an_error_of_another_kind_is_named() {
        let (check, message) = broken(|engine, request, _| {
            engine
                .evaluate(request)
                .map_err(|error| PolicyUnavailable::new(PolicyErrorKind::Load, error.to_string()))
        });
        assert_eq!(check, Check::Decision);
        assert!(message.contains("got an error of kind Load"), "{message}");
    }

    #[test]
    fn a_careless_reading_of_names_is_named() {
        let (check, message) = broken(|engine, request, _| {
            let policy = &request.policy.to_lowercase();
            engine.evaluate(&PolicyRequest { policy, input: request.input })
        });
        assert_eq!(check, Check::UnknownName);
        assert!(message.contains("`Conformance/Trusted`"), "{message}");
    }

    #[test]
    fn an_input_that_is_not_given_whole_is_named() {
        let (check, message) = broken(|engine, request, _| {
            let mut input = request.input.clone();
            input.environment.removed_taints = &[];
            engine.evaluate(&PolicyRequest { policy: request.policy, input: &input })
        });
        assert_eq!(check, Check::Decision);
        assert!(
            message.contains("`conformance/taints`, case `an inherited taint that is removed`"),
            "{message}"
        );
    }

    #[test]
    fn forms_that_differ_are_named() {
        let (check, message) = broken(|engine, request, place| match place {
            Where::Async => Ok(Decision::allow()),
            Where::Sync | Where::Snapshot => engine.evaluate(request),
        });
        assert_eq!(check, Check::AsyncForm);
        assert!(message.contains("got allow"), "{message}");
        let (check, _) = broken(|engine, request, place| match place {
            Where::Snapshot => Ok(Decision::deny()),
            Where::Sync | Where::Async => engine.evaluate(request),
        });
        assert_eq!(check, Check::Snapshot);
    }

    #[test]
    fn what_depends_on_the_policy_that_asked_first_is_named() {
        let (check, message) = broken(|engine, request, _| {
            let first = request.input.shared(|| request.policy.to_owned());
            engine.evaluate(&PolicyRequest { policy: &first, input: request.input })
        });
        assert_eq!(check, Check::Kept);
        assert!(message.contains("conformance"), "{message}");
    }

    #[test]
    fn a_digest_that_is_none_or_changes_is_named() {
        let (check, message) = broken(|engine, request, _| {
            Ok(match engine.evaluate(request)? {
                Decision::Allow { .. } => Decision::Allow { digest: Some("sha256:xyz".into()) },
                deny @ Decision::Deny { .. } => deny,
            })
        });
        assert_eq!(check, Check::Digest);
        assert!(message.contains("`sha256:xyz` is no digest"), "{message}");

        static TURN: AtomicUsize = AtomicUsize::new(0);
        let (check, message) = broken(|engine, request, _| {
            Ok(match engine.evaluate(request)? {
                Decision::Allow { .. } => {
                    let turn = TURN.fetch_add(1, Ordering::SeqCst);
                    Decision::Allow { digest: Some(format!("sha256:{turn:064x}").into()) }
                }
                deny @ Decision::Deny { .. } => deny,
            })
        });
        assert_eq!(check, Check::Digest);
        assert!(message.contains("different digests"), "{message}");
    }

    #[test]
    fn an_engine_that_panics_breaks_a_rule_instead_of_the_suite() {
        thread_local!(static ASKED: Cell<usize> = const { Cell::new(0) });
        let (check, message) = broken(|engine, request, _| {
            ASKED.set(ASKED.get() + 1);
            assert!(ASKED.get() < 20, "on purpose");
            engine.evaluate(request)
        });
        assert_eq!(check, Check::Decision);
        assert!(message.contains("panicked"), "{message}");
    }

    #[test]
    fn what_only_many_threads_break_is_named() {
        static INSIDE: AtomicUsize = AtomicUsize::new(0);
        let (check, _) = broken(|engine, request, _| {
            let others = INSIDE.fetch_add(1, Ordering::SeqCst);
            let answer = engine.evaluate(request);
            std::thread::yield_now();
            INSIDE.fetch_sub(1, Ordering::SeqCst);
            if others > 0 { Ok(Decision::allow()) } else { answer }
        });
        assert_eq!(check, Check::Concurrency);
    }
}
