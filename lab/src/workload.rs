//! A workload: the program `workload` under a name of its own, told what to do line by line.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::Agent;

/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(60);

/// A running workload. It ends when this is dropped or the test process ends: it reads to the end of its input.
#[derive(Debug)]
pub struct Workload {
    name: String,
    log: PathBuf,
    child: Child,
    input: Option<ChildStdin>,
    answers: Receiver<String>,
}

impl Workload {
    /// Starts `program` as a workload of `agent`. What it logs, at the level `trace`, goes to `<program>.log`.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start(agent: &Agent, program: &Path) -> Self {
        Self::start_at(&agent.endpoint(), program)
    }

    /// Starts `program` as a workload of whoever may be at `endpoint`.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start_at(endpoint: &str, program: &Path) -> Self {
        let log = program.with_extension("log");
        let mut child = Command::new(program)
            .env("SPIFFE_ENDPOINT_SOCKET", endpoint)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start `{}`: {error}", program.display()));
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (sender, answers) = channel();
        thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Self { name, log, child, input, answers }
    }

    /// What the workload answers to a command; see `lab/src/bin/workload.rs` for those there are.
    ///
    /// # Panics
    /// When it does not answer, or answers with an error.
    pub fn ask(&mut self, command: &str) -> Value {
        let answer = self.try_ask(command);
        answer.unwrap_or_else(|error| panic!("{} could not do `{command}`: {error}", self.name))
    }

    /// [`Self::ask`] where an error may come.
    ///
    /// # Errors
    /// The workload's error: an object with `kind` and `message`.
    ///
    /// # Panics
    /// When it does not answer.
    pub fn try_ask(&mut self, command: &str) -> Result<Value, Value> {
        let input = self.input.as_mut().unwrap();
        writeln!(input, "{command}")
            .and_then(|()| input.flush())
            .unwrap_or_else(|error| self.lost(command, &error.to_string()));
        let line =
            self.answers.recv_timeout(LIMIT).unwrap_or_else(|error| self.lost(command, &error.to_string()));
        let mut answer: Value = serde_json::from_str(&line).unwrap();
        match answer.get_mut("error") {
            Some(error) => Err(error.take()),
            None => Ok(answer["ok"].take()),
        }
    }

    /// All that it has logged so far.
    #[must_use]
    pub fn logged(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    fn lost(&self, command: &str, error: &str) -> ! {
        panic!("{} did not answer to `{command}`: {error}; it logged: {}", self.name, self.logged())
    }
}

impl Drop for Workload {
    fn drop(&mut self) {
        drop(self.input.take());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
