// The drawing. Places come from the program; what is drawn there, and between which entries, from the entries.

const SVG = "http://www.w3.org/2000/svg";
const SIGNS = { checking: "…", checked: "✓", unchecked: "○", wrong: "✗" };
const WORDS = { checking: "checking", checked: "checked here", unchecked: "not checked", wrong: "wrong" };

function make(parent, name, attributes = {}, text = null) {
  const node = parent.namespaceURI === SVG || name === "svg"
    ? document.createElementNS(SVG, name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== null) node.textContent = text;
  parent.append(node);
  return node;
}

const list = (value) => Array.isArray(value) ? value.filter(isText) : [];
const trustOf = (entry) => Number.isInteger(entry.payload?.trust_score) ? entry.payload.trust_score : null;
const levelOf = (trust) => trust === null ? "unknown" : trust >= 70 ? "high" : trust >= 40 ? "middle" : "low";
const isDenied = (entry) => entry.payload?.classification === "denial";
const nameOf = (entry) => isText(entry.payload?.operation) ? clean(entry.payload.operation) : "?";

/// The beginning, or of an id both ends.
function cut(text, longest, both = false) {
  const all = Array.from(text);
  if (all.length <= longest) return text;
  if (!both) return `${all.slice(0, longest - 1).join("")}…`;
  const half = Math.floor((longest - 1) / 2);
  return `${all.slice(0, longest - 1 - half).join("")}…${all.slice(-half).join("")}`;
}

const some = (words, most) => words.length <= most ? words.join(" ")
  : `${words.slice(0, most).join(" ")} and ${words.length - most} more`;

/// What the entry says of its taints: `+` added here, `−` removed here, the others carried on.
function taintsOf(entry) {
  const added = list(entry.payload?.added_taints), removed = list(entry.payload?.removed_taints);
  const carried = list(entry.payload?.taints).filter((taint) => !added.includes(taint));
  return [...added.map((taint) => `+${clean(taint)}`), ...removed.map((taint) => `−${clean(taint)}`), ...carried.map(clean)];
}

/// What an earlier entry hands on to a later one.
function flow(from, to) {
  const trust = trustOf(from), taints = list(from.payload?.taints);
  const kept = list(to.payload?.taints), removed = list(to.payload?.removed_taints);
  const lost = taints.filter((taint) => !kept.includes(taint) && !removed.includes(taint) && to.payload !== null);
  const words = taints.filter((taint) => !lost.includes(taint))
    .map((taint) => removed.includes(taint) ? `−${clean(taint)}` : clean(taint));
  const text = [`trust ${trust ?? "?"}`];
  if (lost.length > 0) text.push(`⚠ dropped: ${some(lost.map(clean), 2)}`);
  if (words.length > 0) text.push(some(words, 3));
  return { level: levelOf(trust), tainted: taints.length > 0, lost, text: text.join(" · ") };
}

class Drawing {
  constructor(stage, entries, layout) {
    Object.assign(this, { stage, entries, zoom: 1 });
    const [width, height] = layout.card;
    this.card = { width, height };
    this.places = entries.map((entry) => layout.places[entry.index] ?? [width, entry.index * layout.pitch + 32]);
    this.layers = entries.map((entry) => layout.layers[entry.index] ?? entry.index);
    this.trunks = new Map(layout.trunks);
    this.pitch = layout.pitch;
    this.size = layout.size;
    this.svg = make(stage, "svg", { role: "group", "aria-label": "Lineage, earliest entries on top", viewBox: `0 0 ${this.size[0]} ${this.size[1]}` });
    const definitions = make(this.svg, "defs");
    for (const level of ["high", "middle", "low", "unknown"]) {
      const head = make(definitions, "marker", {
        id: `head-${level}`, viewBox: "0 0 10 10", refX: 9, refY: 5, markerWidth: 9, markerHeight: 9,
        markerUnits: "userSpaceOnUse", orient: "auto",
      });
      make(head, "path", { class: `head ${level}`, d: "M0 0L10 5L0 10z" });
    }
    const clip = make(definitions, "clipPath", { id: "clip" });
    make(clip, "rect", { x: 6, y: 2, width: width - 12, height: height - 4 });
    this.edges = make(this.svg, "g", { "aria-hidden": "true" });
    this.labels = make(this.svg, "g", { "aria-hidden": "true" });
    this.cards = entries.map((entry) => this.drawCard(entry));
    this.scale(1);
  }

  drawCard(entry) {
    const { width, height } = this.card;
    const [x, y] = this.places[entry.index];
    const card = make(this.svg, "g", { role: "button", tabindex: "-1", transform: `translate(${x - width / 2} ${y})`, "data-index": entry.index });
    make(card, "rect", { class: "card", x: 2, y: 2, width: width - 4, height: height - 4, rx: 8 });
    const inside = make(card, "g", { "clip-path": "url(#clip)" });
    const line = (name, at, text, more = {}) => make(inside, "text", { class: name, x: 14, y: at, ...more }, text);
    card.mark = line("mark", 21, "");
    card.hash = line("hash", 21, entry.hash.slice(0, 12), { x: width - 14 });
    line("operation", 42, cut(nameOf(entry), 30));
    line("who", 59, entry.by === null ? "?" : cut(clean(entry.by), 38, true));
    const trust = trustOf(entry), classification = entry.payload?.classification;
    const kind = !isText(classification) || classification === "system" ? "" : ` · ${cut(clean(classification), 12)}`;
    line(`trust ${levelOf(trust)}`, 77, `trust ${trust ?? "?"}${kind}`);
    make(inside, "rect", { class: "scale", x: width - 94, y: 71, width: 80, height: 5, rx: 2 });
    make(inside, "rect", { class: `scale-in ${levelOf(trust)}`, x: width - 94, y: 71, width: 80 * (trust ?? 0) / 100, height: 5, rx: 2 });
    line("taints", 95, cut(some(taintsOf(entry), 4), 40));
    return card;
  }

  /// After every check: marks, names and edges.
  update() {
    this.edges.replaceChildren();
    this.labels.replaceChildren();
    const children = this.entries.map(() => 0);
    for (const entry of this.entries) for (const parent of entry.above ?? []) children[parent] += 1;
    for (const entry of this.entries) {
      const card = this.cards[entry.index];
      const denied = isDenied(entry) ? " denied" : "";
      card.setAttribute("data-verdict", entry.verdict);
      const shaky = entry.verdict === "checked" && entry.before !== "checked" ? ` · before it: ${WORDS[entry.before]}` : "";
      card.setAttribute("class", `entry ${entry.verdict}${denied}${shaky === "" ? "" : " shaky"}`);
      const words = `${WORDS[entry.verdict]}${shaky}${denied === "" ? "" : " · ⊘ denied"}`;
      card.mark.textContent = `${SIGNS[entry.verdict]} ${words}`;
      card.hash.textContent = words.length > 20 ? "" : entry.hash.slice(0, 12);
      const taints = taintsOf(entry);
      card.setAttribute("aria-label", [
        `Entry ${entry.index}: ${nameOf(entry)}`, words, `by ${entry.by === null ? "?" : clean(entry.by)}`, `trust ${trustOf(entry) ?? "?"}`,
        taints.length === 0 ? "no taints" : `taints ${taints.join(" ")}`,
        `${entry.above?.length ?? 0} before it, ${children[entry.index]} after it`,
      ].join(", "));
      for (const parent of entry.above ?? []) this.drawEdge(this.entries[parent], entry, children[parent]);
    }
  }

  drawEdge(from, to, siblings) {
    const { level, tainted, lost, text } = flow(from, to);
    const height = this.card.height;
    const [x0, y0] = this.places[from.index], [x1, y1] = this.places[to.index];
    let [x, y] = [x0, y0 + height - 2];
    let path = `M${x} ${y}`;
    const curve = (toX, toY) => { path += `C${x} ${(y + toY) / 2} ${toX} ${(y + toY) / 2} ${toX} ${toY}`; };
    const between = Math.max(0, this.layers[to.index] - this.layers[from.index] - 1);
    (this.trunks.get(from.index) ?? []).slice(0, between).forEach((passing, step) => {
      const top = y0 + this.pitch * (step + 1);
      curve(passing, top);
      path += `V${top + height}`;
      [x, y] = [passing, top + height];
    });
    curve(x1, y1 + 1);
    const names = `${level}${tainted ? " tainted" : ""}${lost.length > 0 ? " lost" : ""}`;
    const ends = { "data-from": from.index, "data-to": to.index };
    make(this.edges, "path", { class: `edge ${names}`, "marker-end": `url(#head-${level})`, d: path, ...ends });
    // Where it stands alone.
    const alone = to.above.length === 1 ? [x1, y1 - 14]
      : siblings === 1 ? [x0, y0 + height + 22]
      : [(x + x1) / 2, (y + y1) / 2 + 4];
    make(this.labels, "text", { class: `label ${names}`, x: alone[0], y: alone[1], ...ends }, cut(text, 44));
  }

  scale(zoom) {
    this.zoom = Math.min(2, Math.max(0.1, zoom));
    this.svg.setAttribute("width", Math.round(this.size[0] * this.zoom));
    this.svg.setAttribute("height", Math.round(this.size[1] * this.zoom));
  }

  /// All of it in view, but not smaller than that.
  fit(least) {
    const { clientWidth, clientHeight } = this.stage;
    this.scale(Math.min(1, Math.max(least, Math.min(clientWidth / this.size[0], clientHeight / this.size[1]))));
  }

  show(index) {
    const [x, y] = this.places[index].map((at) => at * this.zoom);
    const { stage, card } = this;
    const height = card.height * this.zoom, width = card.width * this.zoom;
    const left = stage.scrollLeft, top = stage.scrollTop;
    if (x - width / 2 < left || x + width / 2 > left + stage.clientWidth) stage.scrollLeft = x - stage.clientWidth / 2;
    if (y < top || y + height > top + stage.clientHeight) stage.scrollTop = y - (stage.clientHeight - height) / 2;
  }

  select(index) {
    this.svg.querySelectorAll(".chosen, .beside").forEach((node) => node.classList.remove("chosen", "beside"));
    this.cards.forEach((card) => { card.setAttribute("tabindex", "-1"); card.removeAttribute("aria-current"); });
    const card = this.cards[index];
    card.classList.add("chosen");
    card.setAttribute("tabindex", "0");
    card.setAttribute("aria-current", "true");
    this.svg.querySelectorAll(`[data-from="${index}"], [data-to="${index}"]`).forEach((node) => node.classList.add("beside"));
  }

  /// Neighbours in the same layer, from left to right.
  beside(index, step) {
    const row = this.entries.filter((entry) => this.layers[entry.index] === this.layers[index])
      .sort((a, b) => this.places[a.index][0] - this.places[b.index][0]).map((entry) => entry.index);
    return row[row.indexOf(index) + step];
  }
}

