// Signs passports with keys of every kind, without any code of Kest's, into the folder that the argument names.
import { createHash, webcrypto } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";

const [folder] = process.argv.slice(2);
const base64 = (bytes) => Buffer.from(bytes).toString("base64url");
const sha256 = (text) => createHash("sha256").update(text).digest();
const canonical = (value) => Array.isArray(value) ? `[${value.map(canonical).join(",")}]`
  : value !== null && typeof value === "object"
    ? `{${Object.keys(value).sort().map((name) => `${JSON.stringify(name)}:${canonical(value[name])}`).join(",")}}`
    : JSON.stringify(value);
const write = (name, value) => writeFileSync(join(folder, name), JSON.stringify(value));

const KINDS = {
  EdDSA: [{ name: "Ed25519" }, { name: "Ed25519" }, ["crv", "kty", "x"]],
  ES256: [{ name: "ECDSA", namedCurve: "P-256" }, { name: "ECDSA", hash: "SHA-256" }, ["crv", "kty", "x", "y"]],
};

class Workload {
  static async make(name, alg) {
    const [kind, how, members] = KINDS[alg];
    const pair = await webcrypto.subtle.generateKey(kind, true, ["sign", "verify"]);
    const jwk = await webcrypto.subtle.exportKey("jwk", pair.publicKey);
    const key = Object.fromEntries(members.map((member) => [member, jwk[member]]));
    return Object.assign(new Workload(), { id: `spiffe://example.org/${name}`, alg, how, key, pair, kid: base64(sha256(canonical(key))) });
  }

  async sign(payload) {
    const input = [{ alg: this.alg, kid: this.kid, typ: "JWS" }, payload].map((part) => base64(canonical(part))).join(".");
    return `${input}.${base64(await webcrypto.subtle.sign(this.how, this.pair.privateKey, Buffer.from(input)))}`;
  }
}

let number = 0;
function entry(workload, operation, parents, more = {}) {
  number += 1;
  return workload.sign({
    schema_version: "0.3.0", runtime: { name: "kest-rust", version: "0.1.0" },
    entry_id: `01a2007c-b7aa-7386-b112-${number.toString(16).padStart(12, "0")}`,
    operation, classification: "system", trust_score: 40,
    parent_ids: parents.length === 0 ? ["0"] : parents.map((parent) => sha256(parent).toString("hex")),
    added_taints: [], removed_taints: [], taints: [],
    labels: { principal: workload.id, trace_id: "3e6ab9dd93479dfe8148a6ced74cbd15", "kest.identity": '{"agent":"web","user":"alice"}' },
    policy_context: { enterprise_policies: [], platform_policies: ["payments/limit"], app_policies: [], function_policies: ["kest/allow_trusted"], deviations: [] },
    environment: {}, otel_context: {},
    metadata: { function: "shop::orders", trust: { source_type: "user_input", override: null, model: "guide" }, policies: {} },
    content_hash: "", input_hash: "", timestamp_ms: 1795304503210 + number, ...more,
  });
}

const web = await Workload.make("web", "EdDSA"), orders = await Workload.make("orders", "ES256");
const stranger = await Workload.make("web", "EdDSA");
const anchors = (...workloads) => Object.fromEntries(workloads.map(({ id, key }) => [id, { keys: [key] }]));
write("anchors.json", anchors(web, orders));
write("wrong.anchors.json", anchors(stranger, orders));
write("partial.anchors.json", anchors(web));

const taints = (all, added = [], removed = []) => ({ taints: all, added_taints: added, removed_taints: removed });
const receive = await entry(web, "receive_order", [], taints(["user_input"], ["user_input"]));
const load = await entry(orders, "load_customer", [receive], taints(["pii", "user_input"], ["pii"]));
const price = await entry(orders, "price", [receive], taints(["user_input"]));
const score = await entry(web, "score_fraud", [load, price], taints(["pii", "user_input"]));
const redact = await entry(orders, "redact", [score], { classification: "sanitizer", ...taints(["user_input"], [], ["pii"]) });
const charge = await entry(orders, "charge_card", [redact, receive], taints(["user_input"]));
const good = [receive, load, price, score, redact, charge];
write("good.json", good);
write("es256.json", [await entry(orders, "ship", [])]);
const denied = { policy: "kest/allow_trusted", reason: "trust is below 60", tier: "function" };
const receipt = { function: "shop::orders", trust: { source_type: null, override: null, model: "guide" }, policies: {}, denied };
write("denied.json", [...good, await entry(orders, "refund", [charge], { classification: "denial", trust_score: 10, metadata: receipt, ...taints(["user_input"]) })]);

const [header, payload, signature] = good[2].split(".");
const changed = { ...JSON.parse(Buffer.from(payload, "base64url")), trust_score: 90 };
write("tampered.json", good.with(2, [header, base64(canonical(changed)), signature].join(".")));
write("reordered.json", good.with(1, good[3]).with(3, good[1]));
write("broken.json", [...good, "x"]);

const evil = "</script><script>document.title='pwned'</script><!--<img src=x onerror=alert(1)>\"&\u202e\u0007";
write("evil.json", [await entry(web, evil, [], { classification: evil, ...taints([evil], [evil]) }), evil]);

const large = [];
for (let step = 0; step < 1000; step += 1) {
  const before = step === 0 ? [] : step % 7 === 0 ? [...new Set([step - 1, step - 5])] : [step % 3 === 0 ? step - 2 : step - 1];
  large.push(await entry(step % 2 === 0 ? web : orders, `step_${step}`, before.map((at) => large[Math.max(0, at)])));
}
write("large.json", large);
