// Checks passports with jose and canonicalize.
//
// usage: node check.mjs FOLDER
//
// FOLDER holds `<case>.passport.json` (an array of compact JWS) and `<case>.anchors.json`
// (workload id to JWK set). Prints what was counted as JSON; exits 1 at the first disagreement.

import { createHash } from "node:crypto";
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import canonicalize from "canonicalize";
import * as jose from "jose";

class Disagreement extends Error {}

const counted = {};
const count = (what) => (counted[what] = (counted[what] ?? 0) + 1);

function demand(holds, message) {
  if (!holds) throw new Disagreement(message);
}

const decode = (segment) => Buffer.from(segment, "base64url");
const encode = (octets) => Buffer.from(octets).toString("base64url");

const verify = async (compact, jwk) =>
  jose.compactVerify(compact, await jose.importJWK(jwk, "EdDSA"), { algorithms: ["EdDSA"] });

async function refuses(compact, jwk, what) {
  try {
    await verify(compact, jwk);
  } catch (error) {
    if (!(error instanceof jose.errors.JOSEError)) throw error;
    count("jose refused");
    return;
  }
  throw new Disagreement(`${what} was accepted`);
}

function flip(octets, at) {
  const changed = Buffer.from(octets);
  changed[at] ^= 1;
  return changed;
}

// The record with one bit changed: in the payload, in the signature, in the header.
function tampered(compact) {
  const [header, payload, signature] = compact.split(".");
  const octets = decode(payload);
  // The entry id: what stays is well-formed JSON of the same length.
  const at = octets.indexOf('"entry_id":"') + '"entry_id":"'.length;
  const signed = decode(signature);
  const other = { ...JSON.parse(decode(header)), kid: "another" };
  return [
    [header, encode(flip(octets, at)), signature],
    [header, payload, encode(flip(signed, 0))],
    [header, payload, encode(flip(signed, signed.length - 1))],
    [encode(JSON.stringify(other)), payload, signature],
  ].map((segments) => segments.join("."));
}

function canonical(text, what) {
  demand(canonicalize(JSON.parse(text)) === text, `${what} is not what canonicalize writes`);
  count("canonicalize canonical");
}

async function check(name, entries, anchors) {
  for (const [principal, jwks] of Object.entries(anchors))
    demand(jwks.keys.length === 1, `${name}: \`${principal}\` has ${jwks.keys.length} keys`);
  const { publicKey } = await jose.generateKeyPair("EdDSA", { extractable: true });
  const stranger = await jose.exportJWK(publicKey);
  const seen = new Set();
  for (const [index, compact] of entries.entries()) {
    const what = `${name}: entry ${index}`;
    const text = new TextDecoder("utf-8", { fatal: true }).decode(decode(compact.split(".")[1]));
    const payload = JSON.parse(text);
    const jwk = anchors[payload.labels.principal].keys[0];
    let verified;
    try {
      verified = await verify(compact, jwk);
    } catch (error) {
      throw new Disagreement(`${what}: jose refuses it: ${error.message}`);
    }
    const kid = await jose.calculateJwkThumbprint(jwk, "sha256"); // RFC 7638
    const header = canonicalize(verified.protectedHeader);
    demand(header === canonicalize({ alg: "EdDSA", kid, typ: "JWS" }), `${what}: header ${header}`);
    demand(Buffer.from(verified.payload).equals(decode(compact.split(".")[1])), `${what}: jose reads another payload`);
    count("jose accepted");
    for (const changed of tampered(compact)) await refuses(changed, jwk, `${what}, tampered with,`);
    await refuses(compact, stranger, `${what} under a key that did not sign it`);
    canonical(text, `${what}: the payload`);
    for (const label of ["kest.identity", "kest.resource_attr"])
      if (label in payload.labels) canonical(payload.labels[label], `${what}: label \`${label}\``);
    for (const parent of payload.parent_ids) {
      demand(parent === "0" ? payload.parent_ids.length === 1 : seen.has(parent), `${what}: parent ${parent} does not stand before it`);
      count(parent === "0" ? "roots" : "links");
    }
    seen.add(createHash("sha256").update(compact).digest("hex"));
    count("records");
  }
  count("passports");
}

const suffix = ".passport.json";
const folder = process.argv[2];
try {
  for (const file of readdirSync(folder).filter((f) => f.endsWith(suffix)).sort()) {
    const name = file.slice(0, -suffix.length);
    const read = (f) => JSON.parse(readFileSync(join(folder, f), "utf8"));
    await check(name, read(file), read(`${name}.anchors.json`));
  }
  console.log(JSON.stringify(counted));
} catch (error) {
  if (!(error instanceof Disagreement)) throw error;
  console.error(`disagreement: ${error.message}`);
  process.exitCode = 1;
}
