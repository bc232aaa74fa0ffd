//! Rego in the process, beside regorus' virtual machine with a ready program and a ready input.

use std::hint::black_box;

use kest::policy::{InputDocument, RegoEngine};
use regorus::languages::rego::compiler::Compiler;
use regorus::rvm::vm::RegoVM;
use regorus::{Engine, Value};

use super::{CALLS, Text, asked, in_turns};
use crate::Result;
use crate::report::Report;

pub(super) fn measure(report: &mut Report, input: &InputDocument, rounds: usize) -> Result<()> {
    let ready = Value::from_json_str(&serde_json::to_string(input)?)?;
    for (call, texts) in CALLS {
        let name = format!("policy/rego/{call}");
        if !report.wants(&name) {
            continue;
        }
        let engine = RegoEngine::from_sources(texts.iter().map(|text| (text.name, text.rego)))?;
        let mut machines = texts.iter().map(machine).collect::<Result<Vec<_>>>()?;
        let floor = || {
            for machine in &mut machines {
                machine.set_input(ready.clone());
                if machine.execute_entry_point_by_index(0)? != Value::from(true) {
                    return Err("regorus itself denies".into());
                }
                black_box(&mut *machine);
            }
            Ok(())
        };
        report.add(in_turns(name, texts.len(), rounds, || asked(&engine, input, texts), floor)?)?;
    }
    Ok(())
}

/// One policy, ready to run.
fn machine(text: &Text) -> Result<RegoVM> {
    let mut engine = Engine::new();
    engine.add_policy(text.name.to_owned(), text.rego.to_owned())?;
    let entry = format!("data.{}.allow", text.name);
    let compiled = engine.compile_with_entrypoint(&entry.as_str().into())?;
    let program = Compiler::compile_from_policy(&compiled, &[&entry])?;
    let mut machine = RegoVM::new();
    machine.load_program(program);
    machine.set_data(Value::new_object())?;
    Ok(machine)
}
