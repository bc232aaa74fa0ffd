// What an entry must hold. Spec §2, §3.

const UUID7 = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/i;
const TIERS = ["enterprise_policies", "platform_policies", "app_policies", "function_policies"];
const OWN = [
  "added_taints", "classification", "content_hash", "entry_id", "environment", "input_hash", "labels", "metadata",
  "operation", "otel_context", "parent_ids", "policy_context", "removed_taints", "runtime", "schema_version", "taints",
  "timestamp_ms", "trust_score",
];
const isTexts = (value) => Array.isArray(value) && value.every(isText);
const isScore = (value) => Number.isInteger(value) && value >= 0 && value <= 100;
const isHexOf = (value, digits) => isText(value) && value.length === digits && /^[0-9a-f]*$/.test(value);
const isNullOr = (value, test) => value === null || test(value);
const isOwn = (payload) => payload?.runtime?.name === "kest-rust";

/// The members that decide about trust, taints, place and author, in entries of every implementation.
function checkSchema(payload) {
  const must = (good, why) => good || refuse(why);
  must(payload.schema_version === "0.3.0", "the schema is not 0.3.0");
  must(isObject(payload.runtime) && isText(payload.runtime.name), "`runtime` has no name");
  must(isText(payload.entry_id) && UUID7.test(payload.entry_id), "`entry_id` is no UUID of version 7");
  must(isText(payload.operation) && payload.operation !== "", "`operation` is no name");
  must(isText(payload.classification), "`classification` is missing");
  must(isScore(payload.trust_score), "`trust_score` is not between 0 and 100");
  must(Number.isSafeInteger(payload.timestamp_ms) && payload.timestamp_ms >= 0, "`timestamp_ms` is no time");
  for (const name of ["taints", "added_taints", "removed_taints", "parent_ids"]) {
    must(isTexts(payload[name]), `\`${name}\` is no list of strings`);
  }
  const parents = payload.parent_ids;
  const root = parents.length === 1 && parents[0] === "0";
  must(root || (parents.length > 0 && parents.every((id) => HEX64.test(id))), "`parent_ids` holds what is no SHA-256 in lowercase hex");
  must(new Set(parents).size === parents.length, "`parent_ids` names a parent twice");
  const context = payload.policy_context;
  must(isObject(context), "`policy_context` is missing");
  for (const tier of TIERS) must(!has(context, tier) || isTexts(context[tier]), `\`policy_context.${tier}\` is no list of strings`);
  const labels = payload.labels;
  must(isObject(labels) && isText(labels.principal) && labels.principal !== "", "no principal is named");
  if (has(labels, "kest.oidc.iss") || has(labels, "kest.oidc.sub")) {
    const issuer = labels["kest.oidc.iss"];
    must(isText(issuer) && issuer !== "" && !issuer.includes("#"), "`kest.oidc.iss` is no issuer");
    must(labels["kest.oidc.sub"] === labels.principal, "`kest.oidc.sub` is not the principal");
  }
  if (isOwn(payload)) checkOwn(payload);
}

/// What entries of another implementation may do otherwise, and those of this one may not.
function checkOwn(payload) {
  const must = (good, why) => good || refuse(why);
  const only = (value, names, where) => {
    must(isObject(value), `\`${where}\` is no object`);
    const strange = Object.keys(value).find((name) => !names.includes(name));
    must(strange === undefined, `\`${where}\` has the unknown member ${clean(strange)}`);
  };
  const all = (value, names, where) => {
    only(value, names, where);
    const missing = names.find((name) => !has(value, name));
    must(missing === undefined, `\`${where}\` lacks \`${missing}\``);
  };
  all(payload, OWN, "payload");
  all(payload.runtime, ["name", "version"], "runtime");
  must(isText(payload.runtime.version), "`runtime.version` is no string");
  must(payload.entry_id === payload.entry_id.toLowerCase(), "`entry_id` is in upper case");
  for (const name of ["content_hash", "input_hash"]) {
    must(payload[name] === "" || isHexOf(payload[name], 64), `\`${name}\` is no SHA-256 in lowercase hex`);
  }
  only(payload.environment, [], "environment");
  const span = payload.otel_context;
  only(span, ["span_id", "trace_id"], "otel_context");
  must(Object.keys(span).length === 0 || (isHexOf(span.span_id, 16) && isHexOf(span.trace_id, 32)), "`otel_context` is no span");
  for (const name of ["taints", "added_taints", "removed_taints"]) {
    const list = payload[name];
    must(!list.includes("") && list.every((taint, at) => at === 0 || inOrder(list[at - 1], taint)), `\`${name}\` is not sorted`);
  }
  const { labels } = payload;
  must(Object.values(labels).every(isText), "a label is not a string");
  must(isHexOf(labels.trace_id, 32), "the label `trace_id` is no trace id");
  for (const name of ["kest.identity", "kest.resource_attr"]) {
    if (has(labels, name)) must(canonical(strict(labels[name], `\`${name}\``)) === labels[name], `\`${name}\` is not canonical JSON`);
  }
  const context = payload.policy_context;
  all(context, [...TIERS, "deviations"], "policy_context");
  must(Array.isArray(context.deviations), "`deviations` is no list");
  for (const deviation of context.deviations) {
    all(deviation, ["approver", "policy", "reason", "tier"], "deviations");
    must(isText(deviation.policy) && isText(deviation.tier), "a deviation names no policy or no tier");
    must([deviation.reason, deviation.approver].every((one) => isNullOr(one, isText)), "a deviation has no text for its reason");
  }
  checkMetadata(payload, must, all);
}

function checkMetadata({ classification, metadata, policy_context: context, added_taints: added, removed_taints: removed }, must, all) {
  must(isObject(metadata), "`metadata` is no object");
  const { function: name, trust, policies, completes, outcome, denied } = metadata;
  must(isText(name), "`metadata.function` is no name");
  all(trust, ["model", "override", "source_type"], "metadata.trust");
  must(isText(trust.model) && isNullOr(trust.override, isScore) && isNullOr(trust.source_type, isText), "`metadata.trust` is malformed");
  must(isObject(policies) && Object.values(policies).every(isText), "`metadata.policies` is malformed");
  const strange = Object.keys(metadata)
    .find((one) => !["completes", "denied", "function", "outcome", "policies", "trust"].includes(one));
  must(strange === undefined, `\`metadata\` has the unknown member ${clean(strange)}`);
  if (classification === "denial") {
    all(denied, ["policy", "reason", "tier"], "metadata.denied");
    must(isText(denied.policy) && isText(denied.tier) && isNullOr(denied.reason, isText), "`metadata.denied` is malformed");
  } else must(denied === undefined, "`metadata` says who denied, and is of no denial");
  const completion = isText(completes) && UUID7.test(completes) && ["ok", "error"].includes(outcome);
  if (classification === "completion") must(completion, "`metadata` does not say what is completed, and how it ended");
  else must(completes === undefined && outcome === undefined, "`metadata` completes something, and is of no completion");
  if (["completion", "snapshot"].includes(classification)) {
    must(trust.override === null && trust.source_type === null && Object.keys(policies).length === 0
      && [added, removed, ...Object.values(context)].every((list) => list.length === 0), `a ${classification} decides something`);
  }
}

/// In the order of Unicode code points, which is that of UTF-8.
function inOrder(one, other) {
  const [a, b] = [Array.from(one), Array.from(other)];
  const at = a.findIndex((c, index) => c !== b[index]);
  return at === -1 ? a.length < b.length : at < b.length && a[at].codePointAt(0) < b[at].codePointAt(0);
}

/// The header of an own entry.
function checkOwnHeader({ alg, ...header }) {
  const more = Object.keys(header).find((name) => !["kid", "typ", "x5c"].includes(name));
  if (more !== undefined) refuse(`the header has ${clean(more)}, which no entry of this runtime has`);
  if (!isText(header.kid)) refuse("the header names no key");
  if (header.typ !== "JWS") refuse("`typ` in the header is not `JWS`");
}

