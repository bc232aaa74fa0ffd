// What this page finds out by itself: the form of each entry, its hash, its parents, its signature. Spec §2, §3, §13.
// Nothing here believes what the program that made the page has said.

const HEX64 = /^[0-9a-f]{64}$/;
const PASS = "pass", FAIL = "fail", OPEN = "not checked";

class Refused extends Error {}
const refuse = (why) => { throw new Refused(why); };
const isText = (value) => typeof value === "string";
const isObject = (value) => value !== null && typeof value === "object" && !Array.isArray(value);
const has = (object, name) => Object.prototype.hasOwnProperty.call(object, name);

/// Canonical unpadded base64url (or base64 with padding): one text for each value. RFC 4648 §3.5.
function decode(text, what, url = true) {
  const alphabet = url ? /^[A-Za-z0-9_-]*$/ : /^[A-Za-z0-9+\/]*={0,2}$/;
  if (!alphabet.test(text)) refuse(`${what} is not canonical ${url ? "unpadded base64url" : "base64"}`);
  const plain = url ? text.replace(/-/g, "+").replace(/_/g, "/") : text;
  let binary;
  try {
    binary = atob(url ? plain + "=".repeat((4 - plain.length % 4) % 4) : plain);
  } catch {
    refuse(`${what} is not base64`);
  }
  const again = btoa(binary);
  if ((url ? again.replace(/=+$/, "") : again) !== plain) refuse(`${what} is not canonical base64`);
  return Uint8Array.from(binary, (c) => c.charCodeAt(0));
}

const encode = (bytes) => btoa(String.fromCharCode(...new Uint8Array(bytes)))
  .replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
const hex = (bytes) => Array.from(new Uint8Array(bytes), (byte) => byte.toString(16).padStart(2, "0")).join("");
const sha256 = (text) => crypto.subtle.digest("SHA-256", isText(text) ? new TextEncoder().encode(text) : text);

function utf8(bytes, what) {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return refuse(`${what} is not UTF-8`);
  }
}

/// JSON in which no object names a member twice. RFC 8259 leaves open what that would mean.
function strict(text, what) {
  let value;
  try {
    value = JSON.parse(text);
  } catch {
    refuse(`${what} is not JSON`);
  }
  let written = 0, kept = 0;
  for (const match of text.matchAll(/"(?:[^"\\]|\\.)*"(\s*:)?/gs)) written += match[1] === undefined ? 0 : 1;
  const open = [value];
  while (open.length > 0) {
    const next = open.pop();
    if (next === null || typeof next !== "object") continue;
    if (!Array.isArray(next)) kept += Object.keys(next).length;
    for (const inner of Object.values(next)) open.push(inner);
  }
  if (written !== kept) refuse(`${what} names a member twice`);
  return value;
}

/// RFC 8785: what JSON.stringify writes, with members sorted by UTF-16 code units.
function canonical(value) {
  if (Array.isArray(value)) return `[${value.map(canonical).join(",")}]`;
  if (isObject(value)) {
    return `{${Object.keys(value).sort().map((name) => `${canonical(name)}:${canonical(value[name])}`).join(",")}}`;
  }
  if (isText(value) && /\p{Surrogate}/u.test(value)) refuse("the payload holds half a character");
  return JSON.stringify(value);
}

/// Reads an entry as far as it can be read. `problem` says why it is none.
async function readEntry(index, jws) {
  const entry = { index, jws, hash: "", header: null, payload: null, parents: [], problem: null, by: null };
  try {
    entry.hash = hex(await sha256(jws));
    const segments = jws.split(".");
    if (segments.length !== 3) refuse(`no compact JWS: it has ${segments.length} segments, not 3`);
    const bytes = decode(segments[1], "the payload");
    const text = utf8(bytes, "the payload");
    entry.payload = show(text);
    entry.header = readHeader(strict(utf8(decode(segments[0], "the header"), "the header"), "the header"));
    entry.signature = decode(segments[2], "the signature");
    entry.signed = new TextEncoder().encode(`${segments[0]}.${segments[1]}`);
    const payload = strict(text, "the payload");
    if (canonical(payload) !== text) refuse("the payload is not in its canonical form");
    if (!isObject(payload)) refuse("the payload is no object");
    entry.payload = payload;
    checkSchema(payload);
    if (isOwn(payload)) checkOwnHeader(entry.header.members);
  } catch (error) {
    entry.problem = error instanceof Refused ? error.message : `cannot be read: ${error.message}`;
  }
  const payload = entry.payload ?? {};
  if (Array.isArray(payload.parent_ids)) entry.parents = payload.parent_ids.filter((id) => isText(id) && id !== "0");
  entry.by = anchoredAs(payload);
  return entry;
}

/// Of a broken payload what there is.
function show(text) {
  try {
    const value = JSON.parse(text);
    return isObject(value) ? value : null;
  } catch {
    return null;
  }
}

function readHeader(members) {
  if (!isObject(members)) refuse("the header is no object");
  for (const name of ["crit", "b64", "jwk", "jku", "x5u"]) {
    if (has(members, name)) refuse(`the header has \`${name}\`: a key or an extension never comes with its signature`);
  }
  if (!isText(members.alg)) refuse("the header names no algorithm");
  if (has(members, "kid") && !isText(members.kid)) refuse("`kid` in the header is not a string");
  let leaf = null;
  if (has(members, "x5c")) {
    if (!Array.isArray(members.x5c) || members.x5c.length === 0 || members.x5c.length > 10 || !members.x5c.every(isText)) {
      refuse("`x5c` in the header is no list of certificates");
    }
    leaf = members.x5c.map((one) => decode(one, "a certificate", false))[0];
  }
  return { alg: members.alg, kid: members.kid, leaf, members };
}

/// The name under which anchors have the signer's keys. Spec §10.
function anchoredAs(payload) {
  const labels = isObject(payload.labels) ? payload.labels : {};
  if (!isText(labels.principal)) return null;
  const issuer = labels["kest.oidc.iss"];
  return issuer === undefined ? labels.principal : `${isText(issuer) ? issuer : "?"}#${labels.principal}`;
}

const ALGORITHMS = {
  EdDSA: { kty: "OKP", crv: "Ed25519", key: { name: "Ed25519" }, how: { name: "Ed25519" }, length: 64 },
  ES256: { kty: "EC", crv: "P-256", key: { name: "ECDSA", namedCurve: "P-256" }, how: { name: "ECDSA", hash: "SHA-256" }, length: 64 },
  ES384: { kty: "EC", crv: "P-384", key: { name: "ECDSA", namedCurve: "P-384" }, how: { name: "ECDSA", hash: "SHA-384" }, length: 96 },
  RS256: { kty: "RSA", key: { name: "RSASSA-PKCS1-v1_5", hash: "SHA-256" }, how: { name: "RSASSA-PKCS1-v1_5" } },
  PS256: { kty: "RSA", key: { name: "RSA-PSS", hash: "SHA-256" }, how: { name: "RSA-PSS", saltLength: 32 } },
};
const MEMBERS = { OKP: ["crv", "kty", "x"], EC: ["crv", "kty", "x", "y"], RSA: ["e", "kty", "n"] };

/// Ed25519 points of small order, without their sign: a key among them makes signatures of anything.
const WEAK = new Set([
  "00".repeat(32), `01${"00".repeat(31)}`,
  "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
  "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
  ...["ec", "ed", "ee"].map((first) => `${first}${"ff".repeat(30)}7f`),
]);

/// Reads `{"<workload id>":{"keys":[<JWK>…]}}`. One key that cannot be used makes all of it unusable.
async function readAnchors(text) {
  const map = strict(text, "the file");
  if (!isObject(map)) refuse('trust anchors are {"<workload id>":{"keys":[<public JWK>…]}}');
  const anchors = new Map();
  for (const [principal, set] of Object.entries(map)) {
    if (principal === "") refuse("an anchor has no workload id");
    if (!isObject(set) || !Array.isArray(set.keys) || set.keys.length === 0) refuse(`${clean(principal)} has no keys`);
    const keys = [];
    for (const jwk of set.keys) {
      try {
        keys.push(await readKey(jwk));
      } catch (error) {
        refuse(`a key of ${clean(principal)} cannot be used: ${error.message}`);
      }
    }
    anchors.set(principal, keys);
  }
  return anchors;
}

async function readKey(jwk) {
  if (!isObject(jwk)) refuse("it is no object");
  const secret = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"].find((name) => has(jwk, name));
  if (secret !== undefined) refuse(`it holds the secret \`${secret}\`; anchors are public keys`);
  const names = has(MEMBERS, jwk.kty) ? MEMBERS[jwk.kty] : refuse("its type is not known");
  const fitting = Object.entries(ALGORITHMS)
    .filter(([, algorithm]) => algorithm.kty === jwk.kty && (algorithm.crv === undefined || algorithm.crv === jwk.crv))
    .map(([name]) => name);
  if (fitting.length === 0) refuse("its curve is not known");
  if (has(jwk, "use") && jwk.use !== "sig") refuse("it is not for signatures");
  if (has(jwk, "key_ops") && !(Array.isArray(jwk.key_ops) && jwk.key_ops.includes("verify"))) refuse("it is not for verifying");
  if (has(jwk, "alg") && !fitting.includes(jwk.alg)) refuse("its `alg` does not fit its type");
  const material = {};
  for (const name of names) {
    if (!isText(jwk[name])) refuse(`it has no \`${name}\``);
    material[name] = jwk[name];
  }
  for (const name of names.filter((name) => name !== "kty" && name !== "crv")) decode(material[name], `\`${name}\``);
  if (jwk.kty === "OKP") {
    const point = decode(material.x, "`x`");
    if (point.length !== 32) refuse("it is not 32 bytes long");
    point[31] &= 0x7f;
    if (WEAK.has(hex(point))) refuse("it is a weak point");
  }
  if (jwk.kty === "RSA" && (decode(material.n, "`n`").length < 256 || decode(material.n, "`n`")[0] === 0)) {
    refuse("it is shorter than 2048 bits");
  }
  return {
    material,
    algs: has(jwk, "alg") ? [jwk.alg] : fitting,
    kid: isText(jwk.kid) ? jwk.kid : null,
    thumbprint: encode(await sha256(canonical(material))),
    imported: new Map(),
  };
}

/// A key ready for an algorithm; null where this browser has no such algorithm.
async function importKey(key, alg) {
  if (!key.imported.has(alg)) {
    const wanted = ALGORITHMS[alg].key;
    const made = crypto.subtle.importKey("jwk", key.material, wanted, true, ["verify"]).catch((error) => {
      if (error.name === "NotSupportedError") return null;
      throw error;
    });
    key.imported.set(alg, made);
  }
  return key.imported.get(alg);
}

/// The check of one signature: `[result, why]`.
async function checkSignature(entry, anchors) {
  const { alg, kid, leaf } = entry.header;
  if (alg === "HS256") return [FAIL, "it is signed with the mock key, which everybody has"];
  if (!has(ALGORITHMS, alg)) return [FAIL, `no entry is signed with the algorithm ${clean(alg)}`];
  const algorithm = ALGORITHMS[alg];
  if (algorithm.length !== undefined && entry.signature.length !== algorithm.length) {
    return [FAIL, `a signature of ${alg} has ${algorithm.length} bytes, and this one ${entry.signature.length}`];
  }
  if (anchors === null) return [OPEN, "no trust anchors are given: whose key it is cannot be told"];
  const keys = anchors.get(entry.by);
  if (keys === undefined) {
    const why = `the anchors have no key of ${clean(entry.by)}`;
    return [OPEN, leaf === null ? why : `${why}; its certificates are checked by \`kest verify --bundle\`, not by this page`];
  }
  const own = isOwn(entry.payload);
  let candidates = keys.filter((key) => key.algs.includes(alg));
  if (own) {
    if (!keys.some((key) => key.thumbprint === kid)) {
      return [FAIL, `it names the key ${clean(kid)}, which the anchors do not have for ${clean(entry.by)}`];
    }
    candidates = candidates.filter((key) => key.thumbprint === kid);
  }
  if (candidates.length === 0) return [FAIL, `no anchored key of ${clean(entry.by)} is for the algorithm ${alg}`];
  let missing = false, carried = leaf === null;
  for (const key of candidates.slice(0, 16)) {
    const ready = await importKey(key, alg);
    if (ready === null) {
      missing = true;
      continue;
    }
    if (leaf !== null) {
      if (hex(await crypto.subtle.exportKey("spki", ready)) !== hex(publicKeyOf(leaf))) continue;
      carried = true;
    }
    if (await crypto.subtle.verify(algorithm.how, ready, entry.signature, entry.signed)) {
      return [PASS, `by the anchored key ${key.thumbprint} of ${clean(entry.by)}, ${alg}`];
    }
  }
  if (missing) return [OPEN, `this browser cannot check ${alg}; take one that can, or \`kest verify\``];
  if (!carried) return [FAIL, "its certificate carries none of the anchored keys"];
  return [FAIL, "the signature is wrong: the entry was changed after it was signed, or another key signed it"];
}

/// The SubjectPublicKeyInfo of a certificate. RFC 5280 §4.1.
function publicKeyOf(der) {
  const value = (at) => {
    let length = der[at + 1], start = at + 2;
    if (length >= 0x80) {
      const bytes = length & 0x7f;
      if (bytes === 0 || bytes > 3) refuse("its certificate cannot be read");
      length = 0;
      for (let i = 0; i < bytes; i += 1) length = length * 256 + der[start + i];
      start += bytes;
    }
    if (!(start + length <= der.length)) refuse("its certificate cannot be read");
    return { tag: der[at], start, end: start + length };
  };
  const body = value(value(0).start);
  let field = value(body.start), at = body.start;
  if (field.tag === 0xa0) at = field.end;
  // Serial number, algorithm, issuer, validity, subject.
  for (let skipped = 0; skipped < 5; skipped += 1) at = value(at).end;
  field = value(at);
  if (field.tag !== 0x30 || field.end > body.end) refuse("its certificate cannot be read");
  return der.slice(at, field.end);
}

/// Checks all entries. Each gets `checks`, a list of `{name, result, why}`, and `verdict`: wrong if any check fails,
/// checked if all pass.
async function checkAll(entries, anchors, tip, onProgress) {
  const byHash = new Map(), ids = new Map();
  for (const entry of entries) {
    const checks = [];
    const note = (name, result, why) => checks.push({ name, result, why });
    note("form", entry.problem === null ? PASS : FAIL, entry.problem ?? "a compact JWS, canonical, of schema 0.3.0");
    const missing = entry.parents.filter((hash) => !byHash.has(hash));
    if (byHash.has(entry.hash)) note("links", FAIL, `the same entry as number ${byHash.get(entry.hash)}`);
    else if (missing.length > 0) note("links", FAIL, `its parent ${clean(missing[0])} is no earlier entry`);
    else if (entry.problem !== null) note("links", OPEN, "its form is wrong");
    else note("links", PASS, entry.parents.length === 0 ? "a root: it names no parent" : "every parent is an earlier entry with that hash");
    if (entry.problem === null) {
      const id = canonical([entry.by, entry.payload.entry_id.toLowerCase()]);
      if (ids.has(id)) note("links", FAIL, `entry ${ids.get(id)} of the same principal has the same id`);
      else ids.set(id, entry.index);
    }
    // Spec §13, step 6.
    if (entry.problem === null && isOwn(entry.payload) && entry.payload.classification === "denial") {
      note("kind", FAIL, "the receipt of a denied call is no entry of a lineage");
    }
    if (!byHash.has(entry.hash)) byHash.set(entry.hash, entry.index);
    entry.above = [...new Set(entry.parents)].filter((hash) => byHash.has(hash) && byHash.get(hash) < entry.index)
      .map((hash) => byHash.get(hash));
    entry.next = checks;
  }
  const outcomeOf = async (entry) => {
    if (entry.problem !== null) return [OPEN, "its form is wrong"];
    try {
      return await checkSignature(entry, anchors);
    } catch (error) {
      return [FAIL, `the check did not end: ${error.message}`];
    }
  };
  const outcomes = [];
  while (outcomes.length < entries.length) {
    outcomes.push(...await Promise.all(entries.slice(outcomes.length, outcomes.length + 100).map(outcomeOf)));
    await onProgress(outcomes.length);
  }
  for (const entry of entries) {
    const outcome = outcomes[entry.index];
    entry.next.push({ name: "signature", result: outcome[0], why: outcome[1] });
    entry.checks = entry.next;
    const results = entry.checks.map((check) => check.result);
    entry.verdict = results.includes(FAIL) ? "wrong" : results.every((result) => result === PASS) ? "checked" : "unchecked";
    // What an entry stands on: the worst of those before it.
    const before = entry.above.map((parent) => worse(entries[parent].verdict, entries[parent].before));
    entry.before = before.reduce(worse, "checked");
  }
  const named = new Set(entries.flatMap((entry) => entry.above));
  const tips = entries.filter((entry) => !named.has(entry.index)).map((entry) => entry.hash);
  const completeness = tip === "" ? [OPEN, "no expected tip is given, so later entries may be missing"]
    : tips.length === 1 && tips[0] === tip ? [PASS, "the passport ends with the expected entry"]
    : [FAIL, "the passport does not end with the expected entry, and with it alone"];
  return { tips, completeness };
}

const RANK = { checked: 0, unchecked: 1, wrong: 2 };
const worse = (one, other) => RANK[one] >= RANK[other] ? one : other;

/// Foreign text, with everything visible that could hide or turn the text around it.
function clean(text) {
  return String(text).replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}\p{Cn}]/gu, (c) => `\\u{${c.codePointAt(0).toString(16)}}`);
}

