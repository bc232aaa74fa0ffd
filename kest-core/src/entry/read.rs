//! From canonical text to [`KestEntry`], in one pass and without a tree.

use std::sync::Arc;

use serde_json::Value;
use smallvec::{SmallVec, smallvec};
use uuid::{Uuid, Variant};

use super::departures::Departures;
use super::own::{metadata, plain_side_entry, span_context};
use super::{EntryError, KestEntry, OIDC_ISSUER, OIDC_SUBJECT, PolicyContext, Runtime};
use crate::canonical::{CanonicalReader, Kind, parse_canonical};
use crate::jws::unhex;
use crate::payload::{RUNTIME_NAME, SCHEMA_VERSION};

pub(super) type Result<T> = std::result::Result<T, EntryError>;

pub(super) fn entry(payload: &[u8]) -> Result<KestEntry> {
    read(payload).map_err(|error| match error {
        EntryError::Canonical(_) => error,
        // Text that is not canonical further on is that before it is anything else.
        _ => parse_canonical(payload).err().map_or(error, EntryError::Canonical),
    })
}

fn read(payload: &[u8]) -> Result<KestEntry> {
    let text = std::str::from_utf8(payload).map_err(|error| {
        EntryError::Canonical(crate::canonical::CanonicalError::Syntax {
            offset: error.valid_up_to(),
            what: "bytes that are not UTF-8",
        })
    })?;
    let mut draft = Draft::default();
    let mut reader =
        Reader { text, json: CanonicalReader::from_text(text), departures: Departures::default() };
    reader.json.begin_object()?;
    while let Some(name) = reader.json.next_key()? {
        reader.member(&name, &mut draft)?;
    }
    reader.json.finish()?;
    draft.finish(reader.departures)
}

/// The members as they come. What is none was not there.
#[derive(Default)]
struct Draft<'a> {
    added_taints: Option<Vec<Arc<str>>>,
    classification: Option<Box<str>>,
    content_hash: Option<Option<[u8; 32]>>,
    entry_id: Option<Uuid>,
    environment: Option<&'a str>,
    input_hash: Option<Option<[u8; 32]>>,
    labels: Option<Vec<(Box<str>, Value)>>,
    metadata: Option<&'a str>,
    operation: Option<Box<str>>,
    otel_context: Option<&'a str>,
    parents: Option<SmallVec<[[u8; 32]; 1]>>,
    policy_context: Option<PolicyContext>,
    removed_taints: Option<Vec<Arc<str>>>,
    runtime: Option<Runtime>,
    schema_version: Option<()>,
    taints: Option<Vec<Arc<str>>>,
    timestamp_ms: Option<u64>,
    trust_score: Option<u8>,
}

impl Draft<'_> {
    fn finish(self, mut departures: Departures) -> Result<KestEntry> {
        fn must<T>(member: Option<T>, name: &'static str) -> Result<T> {
            member.ok_or(EntryError::Missing { member: name })
        }
        // What tells nothing about authority may be missing in a foreign entry.
        let mut may = |present: bool, name| {
            if !present {
                departures.push(EntryError::Missing { member: name });
            }
        };
        may(self.content_hash.is_some(), "content_hash");
        may(self.environment.is_some(), "environment");
        may(self.input_hash.is_some(), "input_hash");
        may(self.metadata.is_some(), "metadata");
        may(self.otel_context.is_some(), "otel_context");
        must(self.schema_version, "schema_version")?;
        let runtime = must(self.runtime, "runtime")?;
        let classification = must(self.classification, "classification")?;
        let own = &*runtime.name == RUNTIME_NAME;
        let environment = self.environment.unwrap_or("{}");
        let otel_context = self.otel_context.unwrap_or("{}");
        let mut recorded = None;
        if own {
            // Spec §3: what is a finding in a foreign entry is an error in an own one.
            if let Some(first) = departures.list.into_iter().next() {
                return Err(first);
            }
            departures = Departures::default();
            if environment != "{}" {
                return Err(EntryError::Malformed { member: "environment", problem: "is not empty" });
            }
            span_context(otel_context).map_err(|error| error.of("otel_context"))?;
            let text = must(self.metadata, "metadata")?;
            let metadata = metadata(text, &classification).map_err(|error| error.of("metadata"))?;
            if matches!(&*classification, "completion" | "snapshot") {
                let taints = [&self.added_taints, &self.removed_taints];
                let taints = taints.iter().any(|list| list.as_ref().is_some_and(|list| !list.is_empty()));
                plain_side_entry(&metadata, taints, self.policy_context.as_ref())?;
            }
            recorded = Some(metadata);
        }
        Ok(KestEntry {
            runtime,
            entry_id: must(self.entry_id, "entry_id")?,
            operation: must(self.operation, "operation")?,
            classification,
            trust_score: must(self.trust_score, "trust_score")?,
            parents: must(self.parents, "parent_ids")?,
            added_taints: must(self.added_taints, "added_taints")?,
            removed_taints: must(self.removed_taints, "removed_taints")?,
            taints: match must(self.taints, "taints")? {
                none if none.is_empty() => Arc::default(),
                some => some.into(),
            },
            labels: must(self.labels, "labels")?,
            policy_context: must(self.policy_context, "policy_context")?,
            environment: environment.into(),
            otel_context: otel_context.into(),
            metadata: recorded,
            foreign_metadata: self.metadata.filter(|_| !own).map(Into::into),
            content_hash: self.content_hash.flatten(),
            input_hash: self.input_hash.flatten(),
            timestamp_ms: must(self.timestamp_ms, "timestamp_ms")?,
            departures: departures.list,
            more_departures: departures.more,
        })
    }
}

pub(super) struct Reader<'a> {
    text: &'a str,
    pub(super) json: CanonicalReader<'a>,
    pub(super) departures: Departures,
}

impl<'a> Reader<'a> {
    fn member(&mut self, name: &str, draft: &mut Draft<'a>) -> Result<()> {
        match name {
            "added_taints" => draft.added_taints = Some(self.taints("added_taints")?),
            "classification" => draft.classification = Some(self.text("classification")?),
            "content_hash" => draft.content_hash = Some(self.hash("content_hash")?),
            "entry_id" => draft.entry_id = Some(self.entry_id()?),
            "environment" => draft.environment = Some(self.object("environment")?),
            "input_hash" => draft.input_hash = Some(self.hash("input_hash")?),
            "labels" => draft.labels = Some(self.labels().map_err(|e| e.of("labels"))?),
            "metadata" => draft.metadata = Some(self.raw()?),
            "operation" => draft.operation = Some(self.operation()?),
            "otel_context" => draft.otel_context = Some(self.object("otel_context")?),
            "parent_ids" => draft.parents = Some(self.parents().map_err(|e| e.of("parent_ids"))?),
            "policy_context" => {
                draft.policy_context = Some(self.policy_context().map_err(|e| e.of("policy_context"))?);
            }
            "removed_taints" => draft.removed_taints = Some(self.taints("removed_taints")?),
            "runtime" => draft.runtime = Some(self.runtime().map_err(|e| e.of("runtime"))?),
            "schema_version" => draft.schema_version = Some(self.schema_version()?),
            "taints" => draft.taints = Some(self.taints("taints")?),
            "timestamp_ms" => {
                let stamp = self.json.unsigned().map_err(|e| EntryError::from(e).of("timestamp_ms"))?;
                draft.timestamp_ms = Some(stamp);
            }
            "trust_score" => draft.trust_score = Some(self.trust_score()?),
            other => {
                self.json.skip_value()?;
                self.departures.push(EntryError::Unknown { member: other.to_owned() });
            }
        }
        Ok(())
    }

    /// The next value's text.
    pub(super) fn raw(&mut self) -> Result<&'a str> {
        let start = self.json.offset();
        self.json.skip_value()?;
        Ok(self.text.get(start..self.json.offset()).unwrap_or_default())
    }

    fn text(&mut self, member: &'static str) -> Result<Box<str>> {
        Ok(self.json.string().map_err(|e| EntryError::from(e).of(member))?.into())
    }

    fn object(&mut self, member: &'static str) -> Result<&'a str> {
        match self.json.peek()? {
            Kind::Object => {}
            found @ (Kind::Null | Kind::Bool | Kind::Number | Kind::String | Kind::Array) => {
                return Err(EntryError::Type { member, expected: "an object", found });
            }
        }
        self.raw()
    }

    fn taints(&mut self, member: &'static str) -> Result<Vec<Arc<str>>> {
        let mut taints: Vec<Arc<str>> = Vec::new();
        let mut read = || {
            self.json.begin_array()?;
            while self.json.next_element()? {
                taints.push(Arc::from(&*self.json.string()?));
            }
            Ok(())
        };
        read().map_err(|error: EntryError| error.of(member))?;
        if taints.iter().any(|taint| taint.is_empty()) {
            self.departures.push(EntryError::Taints { member, problem: "holds an empty taint" });
        }
        if !taints.is_sorted_by(|a, b| a < b) {
            self.departures
                .push(EntryError::Taints { member, problem: "is not sorted, or names a taint twice" });
            taints.sort_unstable();
            taints.dedup();
        }
        Ok(taints)
    }

    fn hash(&mut self, member: &'static str) -> Result<Option<[u8; 32]>> {
        let text = self.json.string().map_err(|e| EntryError::from(e).of(member))?;
        let hash = unhex(&text);
        if hash.is_none() && !text.is_empty() {
            self.departures.push(EntryError::Hash { member });
        }
        Ok(hash)
    }

    fn entry_id(&mut self) -> Result<Uuid> {
        let text = self.json.string().map_err(|e| EntryError::from(e).of("entry_id"))?;
        if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            self.departures.push(EntryError::EntryId { found: text.clone().into_owned() });
        }
        uuid_v7(&text)
    }

    fn operation(&mut self) -> Result<Box<str>> {
        let text = self.text("operation")?;
        if text.is_empty() { Err(EntryError::Operation) } else { Ok(text) }
    }

    fn schema_version(&mut self) -> Result<()> {
        let found = self.json.string().map_err(|e| EntryError::from(e).of("schema_version"))?;
        if found == SCHEMA_VERSION {
            Ok(())
        } else {
            Err(EntryError::SchemaVersion { found: found.into_owned() })
        }
    }

    fn trust_score(&mut self) -> Result<u8> {
        let found = self.json.unsigned().map_err(|e| EntryError::from(e).of("trust_score"))?;
        u8::try_from(found).ok().filter(|score| *score <= 100).ok_or(EntryError::TrustScore { found })
    }

    fn parents(&mut self) -> Result<SmallVec<[[u8; 32]; 1]>> {
        let refuse = |problem| Err(EntryError::ParentIds { problem });
        let mut parents: SmallVec<[[u8; 32]; 1]> = smallvec![];
        let mut root = false;
        self.json.begin_array()?;
        while self.json.next_element()? {
            let text = self.json.string()?;
            if root || (text == "0" && !parents.is_empty()) {
                return refuse("names the root sentinel beside a parent");
            }
            if text == "0" {
                root = true;
                continue;
            }
            match unhex(&text) {
                Some(hash) => parents.push(hash),
                None => return refuse("holds what is no SHA-256 in lowercase hex"),
            }
        }
        if !root && parents.is_empty() {
            return refuse("is empty");
        }
        if parents.len() > 1 {
            let mut sorted = parents.clone();
            sorted.sort_unstable();
            if !sorted.is_sorted_by(|a, b| a < b) {
                return refuse("names a parent twice");
            }
        }
        Ok(parents)
    }

    fn labels(&mut self) -> Result<Vec<(Box<str>, Value)>> {
        let mut labels: Vec<(Box<str>, Value)> = Vec::with_capacity(4);
        let mut departures = Departures::default();
        let depart = |label: &str, problem| EntryError::Label { label: label.to_owned(), problem };
        let (mut principal, mut trace_id) = (false, false);
        self.json.begin_object()?;
        while let Some(name) = self.json.next_key()? {
            // A foreign value that is no string is not kept: as a tree it would take many times its text.
            let value = match self.json.peek()? {
                Kind::String => Value::String(self.json.string()?.into_owned()),
                Kind::Null | Kind::Bool | Kind::Number | Kind::Array | Kind::Object => {
                    self.json.skip_value()?;
                    Value::Null
                }
            };
            match (&*name, value.as_str()) {
                ("principal", Some(id)) if !id.is_empty() => principal = true,
                ("principal", _) => return Err(depart("principal", "is not a workload id")),
                ("trace_id", Some(id)) if is_hex(id, 32) => trace_id = true,
                ("trace_id", _) => {
                    trace_id = true;
                    departures.push(depart("trace_id", "is not 32 lowercase hex digits"));
                }
                ("kest.identity" | "kest.resource_attr", Some(json))
                    if parse_canonical(json.as_bytes()).is_err() =>
                {
                    departures.push(depart(&name, "is not canonical JSON"));
                }
                (_, Some(_)) => {}
                (_, None) => departures.push(depart(&name, "is not a string")),
            }
            labels.push((name.into(), value));
        }
        if !principal {
            return Err(depart("principal", "is missing"));
        }
        if !trace_id {
            departures.push(depart("trace_id", "is missing"));
        }
        oidc(&labels)?;
        self.departures.append(departures);
        Ok(labels)
    }

    fn runtime(&mut self) -> Result<Runtime> {
        let (mut name, mut version) = (None, None);
        self.json.begin_object()?;
        while let Some(member) = self.json.next_key()? {
            match &*member {
                "name" => name = Some(self.json.string()?.into()),
                "version" => version = Some(self.json.string()?.into()),
                other => {
                    self.json.skip_value()?;
                    self.departures.push(EntryError::Unknown { member: format!("runtime.{other}") });
                }
            }
        }
        if version.is_none() {
            self.departures.push(EntryError::Missing { member: "runtime.version" });
        }
        let name: Box<str> = name.ok_or(EntryError::Missing { member: "runtime.name" })?;
        Ok(Runtime { name, version: version.unwrap_or_default() })
    }
}

/// Spec §10: who an OpenID Connect token speaks of is its issuer and its subject. In foreign entries too: half of it
/// must not be taken for a principal of that name.
fn oidc(labels: &[(Box<str>, Value)]) -> Result<()> {
    let find =
        |name: &str| labels.iter().find(|(label, _)| **label == *name).map(|(_, value)| value.as_str());
    let refuse = |label: &str, problem| Err(EntryError::Label { label: label.to_owned(), problem });
    match (find(OIDC_ISSUER), find(OIDC_SUBJECT)) {
        (None, None) => Ok(()),
        (Some(_), None) => refuse(OIDC_SUBJECT, "is missing beside the issuer"),
        (None, Some(_)) => refuse(OIDC_ISSUER, "is missing beside the subject"),
        (Some(issuer), Some(subject)) => {
            // A fragment would make two names of one, or one of two.
            if issuer.is_none_or(|issuer| issuer.is_empty() || issuer.contains('#')) {
                return refuse(OIDC_ISSUER, "is no issuer: it is a URL without a fragment");
            }
            if subject.is_some() && subject == find("principal").flatten() {
                Ok(())
            } else {
                refuse(OIDC_SUBJECT, "is not the principal")
            }
        }
    }
}

pub(super) fn uuid_v7(text: &str) -> Result<Uuid> {
    // RFC 9562 §4: 36 characters with hyphens; §5.7: version 7 and the variant `10`.
    Uuid::try_parse(text)
        .ok()
        .filter(|id| text.len() == 36 && id.get_version_num() == 7 && id.get_variant() == Variant::RFC4122)
        .ok_or_else(|| EntryError::EntryId { found: text.to_owned() })
}

pub(super) fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

pub(super) fn strings(json: &mut CanonicalReader<'_>) -> Result<Vec<Box<str>>> {
    let mut all = Vec::new();
    json.begin_array()?;
    while json.next_element()? {
        all.push(json.string()?.into());
    }
    Ok(all)
}

pub(super) fn nullable(json: &mut CanonicalReader<'_>) -> Result<Option<Box<str>>> {
    match json.peek()? {
        Kind::Null => Ok(json.null().map(|()| None)?),
        Kind::Bool | Kind::Number | Kind::String | Kind::Array | Kind::Object => {
            Ok(Some(json.string()?.into()))
        }
    }
}
