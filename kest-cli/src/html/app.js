// What happens on the page.

const find = (id) => document.getElementById(id);
const root = document.documentElement;
const data = JSON.parse(find("data").textContent);
const state = { anchors: null, source: "no trust anchors", tip: "", chosen: null, run: 0, outcome: null };
let entries = [], drawing = null;

const button = (parent, text, act, attributes = {}) => {
  const made = make(parent, "button", { type: "button", ...attributes }, text);
  made.addEventListener("click", act);
  return made;
};

/// Checks everything, again whenever anchors or the tip have changed.
async function check() {
  const run = state.run += 1;
  root.dataset.verdict = "checking";
  for (const entry of entries) Object.assign(entry, { verdict: "checking", before: "checked", checks: [], above: entry.above ?? [] });
  say("checking", "checking …", []);
  const copies = entries.map((entry) => ({ ...entry }));
  const outcome = await checkAll(copies, state.anchors, state.tip, async (done) => {
    if (run === state.run) find("verdict-text").textContent = `checking … ${done} of ${entries.length}`;
    await new Promise((resume) => setTimeout(resume));
  });
  // Somebody changed the anchors meanwhile: only the last answer counts.
  if (run !== state.run) return;
  entries.forEach((entry, index) => Object.assign(entry, copies[index]));
  state.outcome = outcome;
  drawing.update();
  sum();
  narrow();
  if (state.chosen !== null) choose(state.chosen, false);
}

function say(verdict, text, notes) {
  find("verdict").className = verdict;
  find("verdict-sign").textContent = SIGNS[verdict];
  find("verdict-text").textContent = text;
  const box = find("notes");
  box.replaceChildren();
  for (const note of notes) make(box, "li", {}, note);
}

function sum() {
  const of = (verdict) => entries.filter((entry) => entry.verdict === verdict).length;
  const [wrong, open, all] = [of("wrong"), of("unchecked"), entries.length];
  const count = (number) => `${number} of ${all} ${all === 1 ? "entry" : "entries"}`;
  const [complete, whyComplete] = state.outcome.completeness;
  const notes = [`Checked against ${state.source}.`];
  const denied = entries.filter(isDenied).length;
  notes.push(`Completeness ${complete}: ${whyComplete}.`);
  notes.push("Not checked by this page: the rules of trust and taints, authority, certificate chains, times. `kest verify` checks them.");
  let verdict, text;
  if (all === 0) [verdict, text] = ["unchecked", "The passport is empty: nothing was checked, and nothing is attested."];
  else if (wrong > 0) [verdict, text] = ["wrong", `${count(wrong)} ${wrong === 1 ? "is" : "are"} wrong. Do not rely on this passport.`];
  else if (complete === FAIL) [verdict, text] = ["wrong", "The passport does not end as expected."];
  else if (open > 0) {
    const first = entries.find((entry) => entry.verdict === "unchecked");
    const why = first.checks.find((one) => one.result === OPEN).why;
    [verdict, text] = ["unchecked", `${count(open)} not checked: ${why}.`];
  } else [verdict, text] = ["checked", `${count(all)} checked here: form, hashes, parent links and signatures are right.`];
  if (denied > 0) text += ` ⊘ ${denied} denied: ${denied === 1 ? "this call was" : "these calls were"} not allowed.`;
  say(verdict, text, notes);
  root.dataset.verdict = all === 0 ? "empty" : verdict;
}

/// The side panel.
function detail(entry) {
  const panel = find("detail");
  panel.replaceChildren();
  const { payload } = entry;
  make(panel, "h2", {}, nameOf(entry));
  const mark = make(panel, "p", { class: `state ${entry.verdict}` });
  mark.textContent = `${SIGNS[entry.verdict]} ${WORDS[entry.verdict]}${isDenied(entry) ? " · ⊘ denied" : ""}`;
  const section = (title) => {
    make(panel, "h3", {}, title);
    return make(panel, "dl");
  };
  const checks = section("Checked by this page");
  const row = (box, name, value, attributes = {}) => {
    if (value === null || value === undefined || value === "") return;
    make(box, "dt", {}, name);
    make(box, "dd", attributes, isText(value) ? clean(value) : JSON.stringify(value, null, 1).replace(/[^\n -~]/gu, clean));
  };
  for (const { name, result, why } of entry.checks) {
    row(checks, name, `${{ [PASS]: "✓", [FAIL]: "✗", [OPEN]: "○" }[result]} ${result}: ${why}`, { class: result.replace(" ", "-") });
  }
  const before = { checked: "✓ checked here", unchecked: "○ not all checked", wrong: "✗ something is wrong" }[entry.before];
  if (entry.above.length > 0) row(checks, "before it", before, { class: { checked: "pass", unchecked: "not-checked", wrong: "fail" }[entry.before] });
  const after = entries.filter((other) => other.above.includes(entry.index));
  links(panel, "After", entry.above.map((parent) => [entries[parent], flow(entries[parent], entry)]), "begins the lineage");
  links(panel, "Followed by", after.map((child) => [child, flow(entry, child)]), "nothing in this passport");
  const says = section("What the entry says");
  if (payload === null) {
    row(says, "nothing", "its payload cannot be read");
  } else {
    const labels = isObject(payload.labels) ? payload.labels : {};
    const identity = isText(labels["kest.identity"]) ? labels["kest.identity"] : null;
    row(says, "workload", entry.by);
    row(says, "trust", payload.trust_score);
    row(says, "taints", some(taintsOf(entry), 200));
    row(says, "classification", payload.classification);
    row(says, "for whom", identity);
    row(says, "resource", labels["kest.resource_id"]);
    row(says, "attributes", labels["kest.resource_attr"]);
    row(says, "trace", labels.trace_id);
    row(says, "time (its own clock)", Number.isSafeInteger(payload.timestamp_ms) && payload.timestamp_ms < 8.64e15 ? new Date(payload.timestamp_ms).toISOString() : null);
    const context = isObject(payload.policy_context) ? payload.policy_context : {};
    const tiers = { enterprise_policies: "enterprise", platform_policies: "platform", app_policies: "application", function_policies: "function" };
    for (const [member, tier] of Object.entries(tiers)) row(says, `policies, ${tier}`, list(context[member]).join(", "));
    if (list(context.deviations).length > 0 || (Array.isArray(context.deviations) && context.deviations.length > 0)) row(says, "deviations", context.deviations);
    const own = Object.entries(labels).filter(([name]) => !name.startsWith("kest.") && name !== "principal" && name !== "trace_id");
    if (own.length > 0) row(says, "labels", Object.fromEntries(own));
    row(says, "recorded", payload.metadata);
    row(says, "input hash", payload.input_hash);
    row(says, "content hash", payload.content_hash);
    row(says, "runtime", payload.runtime);
    row(says, "entry id", payload.entry_id);
  }
  const raw = section("Signed as");
  row(raw, "number", String(entry.index));
  row(raw, "SHA-256, worked out here", entry.hash, { class: "wide" });
  if (entry.header !== null) row(raw, "header", Object.fromEntries(Object.entries(entry.header.members).filter(([name]) => name !== "x5c")));
  if (entry.header?.leaf) row(raw, "certificates", String(entry.header.members.x5c.length));
  const more = make(panel, "details");
  make(more, "summary", {}, "Compact JWS");
  make(more, "pre", {}, clean(entry.jws));
}

function links(panel, title, others, none) {
  make(panel, "h3", {}, title);
  if (others.length === 0) {
    make(panel, "p", { class: "quiet" }, none);
    return;
  }
  const box = make(panel, "ul", { class: "links" });
  for (const [other, { text, level, lost }] of others) {
    const item = make(box, "li");
    button(item, `${SIGNS[other.verdict]} ${nameOf(other)}`, () => choose(other.index));
    make(item, "span", { class: `flow ${level}${lost.length > 0 ? " lost" : ""}` }, text);
  }
}

function choose(index, focus = true) {
  state.chosen = index;
  drawing.select(index);
  detail(entries[index]);
  find("panel").hidden = false;
  root.classList.add("open");
  drawing.show(index);
  if (focus) drawing.cards[index].focus({ preventScroll: true });
}

function close() {
  find("panel").hidden = true;
  root.classList.remove("open");
  if (state.chosen !== null) drawing.cards[state.chosen].focus({ preventScroll: true });
}

const FILTERS = {
  all: () => true,
  wrong: (entry) => entry.verdict === "wrong",
  unchecked: (entry) => entry.verdict === "unchecked",
  checked: (entry) => entry.verdict === "checked",
  denied: isDenied,
  tainted: (entry) => list(entry.payload?.taints).length > 0,
  low: (entry) => levelOf(trustOf(entry)) === "low",
};

/// Search and filter: the others fade.
function narrow() {
  const terms = find("search").value.toLowerCase().split(/\s+/).filter((term) => term !== "");
  const filter = FILTERS[find("filter").value];
  state.found = [];
  for (const entry of entries) {
    entry.text ??= `${entry.hash} ${entry.by ?? ""} ${JSON.stringify(entry.payload)} ${JSON.stringify(entry.header?.members ?? null)}`.toLowerCase();
    const fits = filter(entry) && terms.every((term) => entry.text.includes(term));
    if (fits) state.found.push(entry.index);
    drawing.cards[entry.index].classList.toggle("faded", !fits);
  }
  const narrowed = terms.length > 0 || find("filter").value !== "all";
  root.classList.toggle("narrowed", narrowed);
  find("found").textContent = narrowed ? `${state.found.length} of ${entries.length}` : "";
}

function next(step) {
  if (state.found.length === 0) return;
  const at = state.found.indexOf(state.chosen);
  const to = at === -1 ? (step > 0 ? 0 : state.found.length - 1) : (at + step + state.found.length) % state.found.length;
  choose(state.found[to], false);
}

/// Anchors from the reader, who need not believe those of the page.
async function use(text, source) {
  const status = find("anchors-status");
  try {
    const tip = find("tip").value.trim();
    if (tip !== "" && !HEX64.test(tip)) refuse("the expected tip is a SHA-256 in lowercase hex");
    state.anchors = text === null ? null : await readAnchors(text);
    [state.source, state.tip] = [source, tip];
  } catch (error) {
    status.className = "fail";
    status.textContent = `Nothing has changed: ${error.message}.`;
    return;
  }
  status.className = "";
  status.textContent = `In use: ${source}.`;
  const box = find("anchors-list");
  box.replaceChildren();
  for (const [principal, keys] of state.anchors ?? []) {
    make(box, "dt", {}, clean(principal));
    for (const key of keys) make(box, "dd", {}, `${key.thumbprint} (${key.algs.join(", ")})`);
  }
  await check();
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || find("anchors").open) return;
  const typing = event.target.matches("input, textarea, select");
  if (event.key === "Escape") {
    if (event.target === find("search")) {
      find("search").value = "";
      narrow();
      choose(state.chosen ?? 0);
    } else close();
  } else if (typing) {
    if (event.target !== find("search") || event.key !== "Enter") return;
    next(event.shiftKey ? -1 : 1);
  } else if (event.key === "/") {
    find("search").focus();
    find("search").select();
  } else if (entries.length > 0 && event.key.startsWith("Arrow") && !event.target.closest("#panel")) {
    move(event.key);
  } else if ((event.key === "Enter" || event.key === " ") && event.target.dataset.index !== undefined) {
    choose(Number(event.target.dataset.index), false);
    find("panel").focus();
  } else if (event.key === "+" || event.key === "=") drawing.scale(drawing.zoom * 1.25);
  else if (event.key === "-") drawing.scale(drawing.zoom / 1.25);
  else if (event.key === "0") drawing.fit(0.1);
  else return;
  event.preventDefault();
}

/// Up and down along edges, left and right within a layer.
function move(key) {
  if (state.chosen === null) return choose(0);
  const from = entries[state.chosen];
  const to = {
    ArrowUp: () => from.above[0],
    ArrowDown: () => entries.find((entry) => entry.above.includes(from.index))?.index,
    ArrowLeft: () => drawing.beside(from.index, -1),
    ArrowRight: () => drawing.beside(from.index, 1),
  }[key]();
  if (to !== undefined) choose(to);
  return undefined;
}

function listen() {
  document.addEventListener("keydown", onKey);
  drawing.svg.addEventListener("click", (event) => {
    const card = event.target.closest("[data-index]");
    if (card !== null) choose(Number(card.dataset.index));
  });
  find("search").addEventListener("input", narrow);
  find("filter").addEventListener("change", narrow);
  find("in").addEventListener("click", () => drawing.scale(drawing.zoom * 1.25));
  find("out").addEventListener("click", () => drawing.scale(drawing.zoom / 1.25));
  find("fit").addEventListener("click", () => drawing.fit(0.1));
  find("close").addEventListener("click", close);
  find("theme").addEventListener("click", () => {
    const dark = root.dataset.theme === undefined ? matchMedia("(prefers-color-scheme: dark)").matches : root.dataset.theme === "dark";
    root.dataset.theme = dark ? "light" : "dark";
  });
  find("open-anchors").addEventListener("click", () => find("anchors").showModal());
  find("close-anchors").addEventListener("click", () => find("anchors").close());
  find("pasted").addEventListener("click", () => use(find("anchors-text").value, "the anchors that you pasted"));
  find("anchors-file").addEventListener("change", async (event) => {
    const [file] = event.target.files;
    if (file !== undefined) await use(await file.text(), `your file ${clean(file.name)}`);
    event.target.value = "";
  });
  find("embedded").addEventListener("click", embedded);
}

const embedded = () => data.anchors === null ? use(null, "no trust anchors")
  : use(JSON.stringify(data.anchors), "the anchors in this page, as whoever made it gave them");

async function start() {
  find("title").textContent = clean(data.name);
  const { said } = data;
  find("said").textContent = said === null ? `Made by ${clean(data.made)}, which was given nobody to trust and verified nothing.`
    : `Said by ${clean(data.made)} when it made this page, with ${[said.anchors ? "anchors" : null, said.bundles ? "trust bundles" : null].filter((one) => one !== null).join(" and ")}; this page does not rely on it: ${clean(said.summary)}`;
  if (globalThis.crypto?.subtle === undefined) {
    root.dataset.verdict = "unchecked";
    say("unchecked", "Nothing is checked: this browser gives this page no WebCrypto. Open the file from disk, in another browser.", []);
    return;
  }
  entries = await Promise.all(data.entries.map((jws, index) => readEntry(index, jws)));
  drawing = new Drawing(find("stage"), entries, data.layout);
  drawing.fit(0.6);
  listen();
  await embedded();
  if (entries.length > 0) {
    const first = entries.find((entry) => entry.verdict === "wrong") ?? entries[0];
    if (root.clientWidth > 760) choose(first.index, false);
    else { state.chosen = first.index; drawing.select(first.index); }
  }
  root.dataset.ready = "yes";
}

start().catch((error) => {
  root.dataset.verdict = "unchecked";
  root.dataset.ready = "yes";
  say("unchecked", `Nothing is checked: the page failed (${error.message}).`, []);
});
