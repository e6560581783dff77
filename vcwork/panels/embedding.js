// The panel of vcwork.panels.embedding: a map of points on canvas, what a point is, and lines to its neighbours.
// Neighbours, ranks, hubs and gap come from Python; here is only where things are drawn, and what is hit or found.

const STYLE = `
.vcwork-embedding .body { display: grid; gap: .8rem 1rem; grid-template-columns: minmax(0, 1fr) minmax(14rem, 21rem); }
@container (min-width: 1200px) { .vcwork-embedding .body { grid-template-columns: minmax(0, 1fr) 28rem; } }
@container (max-width: 640px) { .vcwork-embedding .body { grid-template-columns: minmax(0, 1fr); } }
.vcwork-embedding .plot { border: 1px solid var(--line); touch-action: pan-y pinch-zoom; }
.vcwork-embedding .plot.moving { cursor: grabbing; }
.vcwork-embedding .plot canvas + canvas { position: absolute; inset: 0; pointer-events: none; }
.vcwork-embedding .tip { position: absolute; pointer-events: none; max-width: 16rem; padding: .2rem .4rem; background: var(--ground);
  border: 1px solid var(--soft); border-radius: 4px; font-size: .86em; z-index: 2; }
.vcwork-embedding .tip[hidden] { display: none; }
.vcwork-embedding .legend { display: flex; flex-wrap: wrap; gap: .25rem; margin-top: .4rem; max-height: 13rem; overflow-y: auto; padding: 2px; }
.vcwork-embedding .legend button { display: inline-flex; gap: .35rem; align-items: center; font-size: .86em; padding: .1rem .4rem; text-align: left; }
.vcwork-embedding .swatch { flex: none; min-width: .8em; min-height: .8em; padding: 0 .15em; border: 1px solid var(--soft);
  border-radius: 2px; line-height: 1.2; text-align: center; }
.vcwork-embedding .strip { display: grid; grid-auto-flow: column; grid-auto-columns: minmax(0, 8rem); justify-content: start; gap: 3px; margin: .3rem 0; }
.vcwork-embedding .strip .thumbnail { width: auto !important; height: auto !important; aspect-ratio: 1; max-width: 8rem; }
.vcwork-embedding .near { list-style: none; margin: .2rem 0 !important; padding: 0 !important; display: grid; gap: .25rem; }
.vcwork-embedding .near button { display: flex; gap: .4rem; align-items: center; width: 100%; text-align: left; font-size: .92em; }
.vcwork-embedding .near .verdict { flex: none; width: 1.1em; font-weight: 700; }
.vcwork-embedding .near .what { flex: 1 1 auto; min-width: 0; overflow-wrap: anywhere; }
.vcwork-embedding .near .score { flex: none; font-variant-numeric: tabular-nums; color: var(--soft); }
.vcwork-embedding .find { width: 12rem; }
`;

const COLOURED = 8; // labels with a colour of their own; the others are grey
const FEW = 80; // points that are drawn large, with the number of their label
const REACH = 12; // pixels around the pointer in which a point is hit
const GREY = "#8a929b", GOOD = "#009E73";

// numbers of one kind from base64
function numbersOf(text, kind) {
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  return new kind(bytes.buffer);
}

// labels by frequency, most frequent first, and which of them each clip has
function coded([name, all]) {
  const found = new Map();
  for (const label of all) found.set(label, (found.get(label) || 0) + 1);
  const names = [...found.keys()].sort((a, b) => found.get(b) - found.get(a) || (a < b ? -1 : 1));
  const at = new Map(names.map((label, i) => [label, i]));
  return { name, labels: names.map((label) => label || "unknown"), counts: names.map((label) => found.get(label)),
    codes: all.map((label) => at.get(label)) };
}

// points sorted into cells of a grid, so that the nearest to a place is found without asking all of them
function gridOf(xy, n) {
  const low = [Infinity, Infinity], high = [-Infinity, -Infinity];
  for (let i = 0; i < 2 * n; i++) {
    low[i % 2] = Math.min(low[i % 2], xy[i]);
    high[i % 2] = Math.max(high[i % 2], xy[i]);
  }
  const side = Math.max(1, Math.ceil(Math.sqrt(n)));
  const size = [0, 1].map((axis) => (high[axis] - low[axis]) / side || 1), cells = new Map();
  const cell = (axis, value) => clamp(Math.floor((value - low[axis]) / size[axis]), 0, side - 1);
  for (let i = 0; i < n; i++) {
    const key = cell(0, xy[2 * i]) * side + cell(1, xy[2 * i + 1]);
    if (!cells.has(key)) cells.set(key, []);
    cells.get(key).push(i);
  }
  const near = (x, y, reach, act) => {
    for (let a = cell(0, x - reach); a <= cell(0, x + reach); a++)
      for (let b = cell(1, y - reach); b <= cell(1, y + reach); b++) (cells.get(a * side + b) || []).forEach(act);
  };
  return { low, high, near };
}

function render({ model, el }) {
  const { panel, root, on, colour, blob, redraw, end } = begin({ model, el }, "embedding", STYLE);
  if (!panel.layouts.length) return end; // a note above says why
  const n = panel.n, points = 2 * n, url = sheetUrl(model, panel, blob);
  const nearest = numbersOf(panel.nearest, Uint16Array), scores = numbersOf(panel.scores, Float32Array);
  const ownRank = numbersOf(panel.own_rank, Float32Array), ownScore = numbersOf(panel.own_score, Float32Array);
  const hubCounts = numbersOf(panel.hub_counts, Float32Array);
  const layouts = panel.layouts.map((layout) => {
    const xy = numbersOf(layout.xy, Float32Array);
    return { ...layout, xy, grid: gridOf(xy, points) };
  });
  const sides = { name: "modality", labels: ["clips", "sentences"], counts: [n, n], codes: null };
  const colourings = [sides, ...Object.entries(panel.colourings).map(coded)];
  const state = { layout: 0, colouring: colourings.length > 1 ? 1 : 0, sides: "both", point: 0, hover: null,
    picked: new Set(), found: null, at: 0, scale: 1, x: 0, y: 0, gap: true, hubs: true };

  // ------------------------------------------------------------------------------------------ the document
  const tools = node("div", { className: "tools" });
  const plot = node("div", { className: "plot", tabIndex: 0, role: "application", "aria-label": "Map of clips and sentences. "
    + "Arrow keys go to the next point that way, Enter to the partner, plus and minus zoom, 0 shows all." });
  const base = node("canvas"), over = node("canvas"), tip = node("div", { className: "tip", hidden: true });
  const axes = node("p", { className: "soft" }), legend = node("div", { className: "legend", role: "group", "aria-label": "labels" });
  const readout = node("div", { className: "readout", role: "status" });
  const finder = node("input", { type: "search", className: "find", placeholder: "words of a sentence", "aria-label": "find words" });
  const finding = node("span", { className: "soft", role: "status" });

  function build() {
    chooser("colour", "colouring", colourings.map((one) => one.name), () => { state.picked.clear(); list(); });
    if (layouts.length > 1) chooser("map", "layout", layouts.map((one) => one.name), () => { fit(); say(); });
    chooser("show", "sides", ["both", "clips", "sentences"], () => {}, true);
    toggle("gap", "gap");
    toggle("hubs", "hubs");
    tools.append(button("−", "zoom out", () => zoom(1 / 1.4)), button("+", "zoom in", () => zoom(1.4)),
      button("reset", "show all of the map", () => { fit(); draw(); }), finder, finding);
    plot.append(base, over, tip);
    const hint = node("p", { className: "soft", textContent: (few ? "The number in a point: its label's. " : "") + "Circle: clip. Diamond: sentence. Ring with a number: a hub, among the "
      + `${panel.k} nearest of so many of the other modality. Solid line and ✓: a right neighbour, its own or of its step; dashed and ✗: a `
      + "wrong one; dotted: its own, where it is not among the nearest. Click or move with the arrow keys; Enter goes to the partner. "
      + "Drag moves the map; the wheel zooms once the map was clicked, or with Ctrl." });
    root.append(tools, node("div", { className: "body" }, node("div", {}, plot, axes, legend, hint), readout));
  }

  function chooser(label, key, names, after, byName = false) {
    const select = node("select", { "aria-label": label });
    names.forEach((name, i) => select.append(node("option", { value: byName ? name : String(i), textContent: name })));
    select.value = String(state[key]);
    on(select, "change", () => {
      state[key] = byName ? select.value : Number(select.value);
      after();
      draw();
    });
    tools.append(node("label", {}, `${label} `, select));
  }

  function button(text, title, act) {
    const made = node("button", { type: "button", textContent: text, title });
    if (!/[a-z]/.test(text)) made.setAttribute("aria-label", title); // a sign has no name
    made.onclick = act;
    return made;
  }

  function toggle(text, key) {
    const made = button(text, `mark ${text === "gap" ? "the gap between the modalities" : "the hubs"}`, () => {
      state[key] = !state[key];
      made.setAttribute("aria-pressed", String(state[key]));
      draw();
    });
    made.setAttribute("aria-pressed", "true");
    tools.append(made);
  }

  // ------------------------------------------------------------------------------------------------ points and places
  const layout = () => layouts[state.layout], colouring = () => colourings[state.colouring];
  const isClip = (i) => i < n, clip = (i) => panel.clips[i % n], partner = (i) => (i + n) % points;
  const neighbours = (i) => Array.from({ length: panel.k }, (_, j) => ({ point: nearest[i * panel.k + j], score: scores[i * panel.k + j] }));
  const right = (i, j) => i % n === j % n || (clip(i).step !== "" && clip(i).step === clip(j).step);
  const visible = (i) => state.sides === "both" || (state.sides === "clips") === isClip(i);
  const code = (i) => (colouring().codes ? colouring().codes[i % n] : isClip(i) ? 0 : 1);
  const shade = (c) => (c < COLOURED ? panel.palette[c % panel.palette.length] : GREY);
  const lit = (i) => (!state.picked.size || state.picked.has(code(i))) && (!state.found || state.found.has(i % n));

  const width = () => plot.clientWidth, height = () => Math.round(clamp(0.72 * width(), 300, 640));
  const px = (i) => width() / 2 + (layout().xy[2 * i] - state.x) * state.scale;
  const py = (i) => height() / 2 - (layout().xy[2 * i + 1] - state.y) * state.scale;
  const placed = ([x, y]) => [width() / 2 + (x - state.x) * state.scale, height() / 2 - (y - state.y) * state.scale];

  function fit() {
    const { low, high } = layout().grid;
    state.x = (low[0] + high[0]) / 2;
    state.y = (low[1] + high[1]) / 2;
    state.fitted = state.scale = 0.9 * Math.min(width() / (high[0] - low[0] || 1), height() / (high[1] - low[1] || 1));
  }

  // the place (x, y) in pixels stays where it is
  function zoom(factor, x = width() / 2, y = height() / 2) {
    const before = state.scale;
    state.scale = clamp(before * factor, 0.5 * state.fitted, 200 * state.fitted);
    state.x += (x - width() / 2) * (1 / before - 1 / state.scale);
    state.y -= (y - height() / 2) * (1 / before - 1 / state.scale);
    draw();
  }

  function hit(x, y) {
    const reach = REACH / state.scale;
    const at = [state.x + (x - width() / 2) / state.scale, state.y - (y - height() / 2) / state.scale];
    let found = null, best = REACH * REACH;
    layout().grid.near(at[0], at[1], reach, (i) => {
      const far = (px(i) - x) ** 2 + (py(i) - y) ** 2;
      if (visible(i) && far < best) [found, best] = [i, far];
    });
    return found;
  }

  // ------------------------------------------------------------------------------------------------------- drawing
  const few = points <= FEW; // then points are as large as the number of their label, which stands in them
  const radius = () => few ? 9 : clamp((points > 1200 ? 2.6 : 4.2) * Math.sqrt(state.scale / state.fitted) ** 0.5, 2, 8);

  function shape(p, i, r, x = px(i), y = py(i)) {
    if (isClip(i)) {
      p.moveTo(x + r, y);
      p.arc(x, y, r, 0, 7);
    } else {
      const s = 1.25 * r;
      p.moveTo(x, y - s);
      p.lineTo(x + s, y);
      p.lineTo(x, y + s);
      p.lineTo(x - s, y);
      p.closePath();
    }
  }

  // one point drawn once, to be copied: thousands of paths would take a quarter of a second
  function stamp(i, r, fill, ink, c) {
    const half = Math.ceil(1.25 * r) + 2, canvas = node("canvas"), p = canvasPen(canvas, 2 * half, 2 * half);
    p.fillStyle = fill;
    p.strokeStyle = ink;
    p.lineWidth = 0.6;
    p.beginPath();
    shape(p, i, r, half, half);
    p.fill();
    p.stroke();
    number(p, c, half, half, fill);
    return { canvas, half };
  }

  // which label it is, where there is room, so that no label is told by its colour alone
  function number(p, c, x, y, fill = shade(c)) {
    if (!few || !colouring().codes) return;
    p.font = "600 10px system-ui, sans-serif";
    p.textAlign = "center";
    p.fillStyle = !fill.startsWith("#") ? colour("ground") : dark(fill) ? "#ffffff" : "#000000";
    p.fillText(String(c + 1), x, y + 0.5);
    p.font = FONT;
  }

  let width0 = 0;
  let waiting = 0, whole = false; // at most one drawing a frame, of all or of the marks alone

  function draw(all = true) {
    whole = whole || all;
    if (waiting) return;
    waiting = requestAnimationFrame(() => {
      const every = whole;
      waiting = 0;
      whole = false;
      if (every || !state.fitted) paint();
      else mark();
    });
  }

  function paint() {
    if (!root.isConnected || width() < 40) return;
    if (!state.fitted || width() !== width0) {
      const zoomed = state.fitted ? state.scale / state.fitted : 1, { x, y } = state, first = !state.fitted;
      width0 = width();
      fit();
      if (!first) Object.assign(state, { x, y, scale: state.fitted * zoomed });
    }
    const p = canvasPen(base, width(), height()), ink = colour("ink"), groups = new Map(), r = radius();
    for (let i = 0; i < points; i++) {
      if (!visible(i)) continue;
      const x = px(i), y = py(i);
      if (x < -20 || y < -20 || x > width() + 20 || y > height() + 20) continue;
      const c = code(i), picked = state.picked.has(c), key = `${lit(i) ? 1 : 0} ${picked && c >= COLOURED ? ink : shade(c)} ${few ? c : 0}`;
      if (!groups.has(key)) groups.set(key, []);
      groups.get(key).push(i);
    }
    for (const key of [...groups.keys()].sort()) { // the dimmed ones first, below
      const [bright, fill, c] = key.split(" ");
      p.globalAlpha = bright === "1" ? 0.9 : 0.13;
      const stamps = [0, n].map((i) => stamp(i, r, fill, ink, Number(c))), half = stamps[0].half;
      for (const i of groups.get(key)) p.drawImage(stamps[isClip(i) ? 0 : 1].canvas, px(i) - half, py(i) - half, 2 * half, 2 * half);
    }
    p.globalAlpha = 1;
    if (state.hubs) drawHubs(p, ink, r);
    if (gapShown()) drawGap(p, ink);
    mark();
  }

  function drawHubs(p, ink, r) {
    for (const i of panel.hubs) {
      if (!visible(i)) continue;
      p.strokeStyle = ink;
      p.lineWidth = 1.5;
      p.beginPath();
      p.arc(px(i), py(i), r + 4, 0, 7);
      p.stroke();
      p.textAlign = "left";
      written(p, String(Math.round(hubCounts[i])), px(i) + r + 6, py(i) - r - 3, ink);
    }
  }

  // text with a border of the ground's colour, readable above points, and moved so far that all of it is on the map
  function written(p, text, x, y, ink) {
    const wide = p.measureText(text).width + 4, from = x - wide * { left: 0, center: 0.5, right: 1 }[p.textAlign];
    x += clamp(from, 2, Math.max(2, width() - wide)) - from;
    p.strokeStyle = colour("ground");
    p.lineWidth = 4;
    p.lineJoin = "round";
    p.strokeText(text, x, y);
    p.fillStyle = ink;
    p.fillText(text, x, y);
  }

  const gapShown = () => state.gap && state.sides === "both" && layout().gap;

  function drawGap(p, ink) {
    const [a, b] = layout().gap.map(placed);
    for (const [stroke, size] of [[colour("ground"), 5], [ink, 2]]) {
      p.strokeStyle = stroke;
      p.lineWidth = size;
      p.beginPath();
      p.moveTo(...a);
      p.lineTo(...b);
      for (const [x, y] of [a, b]) {
        p.moveTo(x - 7, y);
        p.lineTo(x + 7, y);
        p.moveTo(x, y - 7);
        p.lineTo(x, y + 7);
      }
      p.stroke();
    }
  }

  // above all points
  function nameGap(p, ink) {
    const [a, b] = layout().gap.map(placed);
    const flat = Math.abs(a[0] - b[0]) > Math.abs(a[1] - b[1]); // names stand outside the line
    for (const [text, at, other] of [["centre of clips", a, b], ["centre of sentences", b, a]]) {
      const way = flat ? Math.sign(at[0] - other[0]) : Math.sign(at[1] - other[1]) || 1;
      p.textAlign = flat ? (way < 0 ? "right" : "left") : "center";
      written(p, text, at[0] + (flat ? 11 * way : 0), at[1] + (flat ? 0 : 16 * way), ink);
    }
    p.textAlign = "center";
    written(p, `gap ${panel.gap.length.toFixed(2)}`, (a[0] + b[0]) / 2, (a[1] + b[1]) / 2 - 11, ink);
  }

  // what changes with the chosen point alone: on a canvas of its own
  function mark() {
    const p = canvasPen(over, width(), height()), i = state.point, ink = colour("ink"), r = radius();
    const near = neighbours(i), own = partner(i);
    if (!near.some((one) => one.point === own)) line(p, i, own, [2, 4], 1.5, ink, "");
    for (const { point } of [...near].reverse()) {
      const good = right(i, point);
      line(p, i, point, good ? [] : [7, 5], good ? 2.4 : 1.4, good ? GOOD : MARK, good ? "✓" : "✗");
    }
    for (const [at, size] of [[i, r + 2.5], ...(state.hover === null || state.hover === i ? [] : [[state.hover, r + 1]])]) {
      p.beginPath();
      shape(p, at, size);
      p.fillStyle = shade(code(at));
      p.fill();
      for (const [stroke, wide] of [[colour("ground"), 5], [at === i ? colour("mark") : ink, 2.5]]) {
        p.strokeStyle = stroke;
        p.lineWidth = wide;
        p.beginPath();
        shape(p, at, size + 3);
        p.stroke();
      }
      number(p, code(at), px(at), py(at));
    }
    if (gapShown()) nameGap(p, ink);
    root.dataset.shown = JSON.stringify({ point: i, neighbours: near.map((one) => one.point), x: px(i), y: py(i), found: state.found ? [...state.found] : null });
  }

  function line(p, from, to, dash, wide, stroke, sign) {
    p.setLineDash(dash);
    p.strokeStyle = stroke;
    p.lineWidth = wide;
    p.beginPath();
    p.moveTo(px(from), py(from));
    p.lineTo(px(to), py(to));
    p.stroke();
    p.setLineDash([]);
    p.beginPath();
    shape(p, to, radius() + 1);
    p.fillStyle = shade(code(to));
    p.fill();
    p.lineWidth = 1.5;
    p.strokeStyle = colour("ink");
    p.stroke();
    number(p, code(to), px(to), py(to));
    p.font = `600 ${FONT.replace("12px", "15px")}`;
    p.textAlign = "center";
    const far = Math.hypot(px(to) - px(from), py(to) - py(from)) || 1, off = radius() + 10; // the sign lies beyond the point
    if (sign) written(p, sign, px(to) + (off * (px(to) - px(from))) / far, py(to) + (off * (py(to) - py(from))) / far, colour("ink"));
    p.font = FONT;
  }

  // ------------------------------------------------------------------------------------------------------- what is said
  function say() {
    const { shares, note, gap } = layout(), parts = [];
    if (shares) {
      const [across, up] = shares.map((share) => Math.round(100 * share));
      parts.push(`Across: ${across} % of the spread, up: ${up} %. The other ${100 - across - up} % are not seen: near on the map is not near in the space.`);
    }
    else parts.push("The axes hold no share of the spread: near on the map is not near in the space.");
    if (note) parts.push(note);
    const length = `The gap is ${panel.gap.length.toFixed(2)} long in the whole space, ${(panel.gap.length / (panel.gap.spread || 1)).toFixed(2)} times the spread of the clips`;
    if (gap) parts.push(`${length}; the map shows ${Math.hypot(gap[0][0] - gap[1][0], gap[0][1] - gap[1][1]).toFixed(2)} of it.`);
    else parts.push(`${length}; it is not drawn on this map.`);
    axes.textContent = parts.join(" ");
  }

  function patch(c) {
    const made = node("span", { className: "swatch", textContent: few && colouring().codes ? String(c + 1) : "" });
    Object.assign(made.style, { background: shade(c), color: dark(shade(c)) ? "#ffffff" : "#000000" });
    return made;
  }

  function list() {
    const { labels, counts, name } = colouring();
    legend.replaceChildren();
    labels.forEach((label, c) => {
      const made = node("button", { type: "button", "aria-pressed": "false", title: `show ${name} “${label}” alone, or with others` }, patch(c), `${label} (${counts[c]})`);
      made.onclick = () => {
        if (!state.picked.delete(c)) state.picked.add(c);
        made.setAttribute("aria-pressed", String(state.picked.has(c)));
        draw();
      };
      legend.append(made);
    });
  }

  const when = (one) => `${clock(one.start_s, panel.unit)} to ${clock(one.end_s, panel.unit)}`;

  const frames = (i) => (url && panel.pictures[String(i % n)]) || [];

  function tell() {
    const i = state.point, one = clip(i), other = isClip(i) ? "sentence" : "clip";
    const title = isClip(i) ? "Clip, described as" : "Sentence";
    const strip = node("div", { className: "strip", role: "img", "aria-label": `frames of ${one.video}` },
      ...frames(i).map((at) => stretched(url, panel.sheet, at)));
    const near = node("ol", { className: "near" });
    neighbours(i).forEach(({ point, score }, place) => near.append(node("li", {}, item(i, point, score, place + 1))));
    const rank = ownRank[i], shown = Number.isInteger(rank) ? rank : rank.toFixed(1);
    const own = button(`its own ${other}: rank ${shown} of ${n}, score ${ownScore[i].toFixed(2)}`, `go to its own ${other}`, () => choose(partner(i)));
    const facts = [one.recipe && `recipe ${one.recipe}`, one.step && `step ${one.step}`, one.video, when(one)].filter(Boolean);
    readout.replaceChildren(node("h4", { textContent: title }), node("p", { textContent: `“${one.text}”` }),
      node("p", { className: "soft", textContent: facts.join(" · ") }),
      frames(i).length ? strip : node("p", { className: "soft", textContent: "No picture of this clip." }),
      node("h4", { textContent: `nearest ${other}s, by the model's score` }), near, node("p", {}, own),
      node("p", { className: "soft", textContent: `${Number(hubCounts[i].toFixed(1))} of ${n} ${other}s have it among their ${panel.k} nearest (${panel.k} would be usual).` }));
  }

  function item(i, point, score, place) {
    const good = right(i, point), same = partner(i) === point;
    const what = node("span", { className: "what", textContent: `${place}. “${clip(point).text}”${same ? " (its own)" : good ? " (same step)" : ""}` });
    const made = node("button", { type: "button", title: good ? "right" : "wrong" }, node("span", { className: "verdict", textContent: good ? "✓" : "✗" }));
    if (frames(point).length && isClip(point)) made.append(picturesOf(point));
    made.append(what, node("span", { className: "score", textContent: score.toFixed(2) }));
    made.onclick = () => choose(point);
    return made;
  }

  function picturesOf(point) {
    const at = frames(point), made = stretched(url, panel.sheet, at[Math.floor(at.length / 2)]);
    Object.assign(made.style, { width: "36px", height: "36px", flex: "none" });
    return made;
  }

  // ------------------------------------------------------------------------------------------------- pointer and keys
  function choose(i) {
    state.point = i;
    const x = px(i), y = py(i), hidden = !visible(i), outside = x < 10 || y < 10 || x > width() - 10 || y > height() - 10;
    if (hidden) tools.querySelector("select[aria-label=show]").value = state.sides = "both";
    if (outside) [state.x, state.y] = [layout().xy[2 * i], layout().xy[2 * i + 1]];
    tell();
    draw(hidden || outside);
  }

  function local(event) {
    const box = plot.getBoundingClientRect();
    return [event.clientX - box.left - plot.clientLeft, event.clientY - box.top - plot.clientTop];
  }

  let drag = null;

  function press(event) {
    if (event.button) return;
    const [x, y] = local(event);
    drag = { x, y, from: [state.x, state.y], moved: false };
    plot.setPointerCapture(event.pointerId);
  }

  function move(event) {
    const [x, y] = local(event);
    if (drag) {
      drag.moved = drag.moved || Math.hypot(x - drag.x, y - drag.y) > 4;
      if (!drag.moved) return;
      plot.classList.add("moving");
      state.x = drag.from[0] - (x - drag.x) / state.scale;
      state.y = drag.from[1] + (y - drag.y) / state.scale;
      draw();
      return;
    }
    point(hit(x, y), x, y);
  }

  function point(i, x = 0, y = 0) {
    const changed = i !== state.hover;
    state.hover = i;
    tip.hidden = i === null;
    if (i !== null) {
      if (changed) tip.textContent = `${isClip(i) ? "clip" : "sentence"}: “${clip(i).text}”`;
      const left = x > width() / 2;
      Object.assign(tip.style, { left: left ? "" : `${x + 14}px`, right: left ? `${width() - x + 14}px` : "", top: `${clamp(y + 12, 0, height() - 50)}px` });
    }
    if (changed) draw(false);
  }

  function release(event) {
    if (!drag) return;
    const [x, y] = local(event), i = drag.moved ? null : hit(x, y);
    drag = null;
    plot.classList.remove("moving");
    if (i !== null) choose(i);
  }

  function wheel(event) {
    if (document.activeElement !== plot && !event.ctrlKey) return; // the page scrolls until the map is used
    event.preventDefault();
    zoom(Math.exp(-clamp(event.deltaY * (event.deltaMode ? 16 : 1), -240, 240) * 0.003), ...local(event));
  }

  // the next point that way: near, and not far off the axis
  function go(dx, dy) {
    const x = px(state.point), y = py(state.point);
    let found = null, best = Infinity;
    for (let i = 0; i < points; i++) {
      if (i === state.point || !visible(i) || !lit(i)) continue;
      const along = (px(i) - x) * dx + (py(i) - y) * dy, off = Math.abs((px(i) - x) * dy) + Math.abs((py(i) - y) * dx);
      if (along > 0.01 && off <= 1.5 * along && along + 2 * off < best) [found, best] = [i, along + 2 * off];
    }
    if (found !== null) choose(found);
  }

  const KEYS = {
    ArrowLeft: () => go(-1, 0),
    ArrowRight: () => go(1, 0),
    ArrowUp: () => go(0, -1),
    ArrowDown: () => go(0, 1),
    Enter: () => choose(partner(state.point)),
    "+": () => zoom(1.4),
    "=": () => zoom(1.4),
    "-": () => zoom(1 / 1.4),
    0: () => { fit(); draw(); },
    Escape: () => {
      finder.value = "";
      state.picked.clear();
      list();
      search();
    },
  };

  function type(event) {
    if (event.target !== plot || !(event.key in KEYS) || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    event.stopPropagation();
    KEYS[event.key]();
  }

  function search() {
    const words = wordsOf(finder.value);
    const found = panel.clips.map((one, i) => [`${one.text} ${one.step} ${one.recipe}`.toLowerCase(), i])
      .filter(([text]) => words.every((word) => text.includes(word))).map(([, i]) => i);
    state.found = words.length ? new Set(found) : null;
    state.at = 0;
    finding.textContent = !words.length ? "" : found.length ? `${found.length} of ${n} clips; Enter goes through them` : "No clip has these words.";
    draw();
  }

  function next(event) {
    if (event.key !== "Enter" || event.isComposing) return;
    event.preventDefault();
    event.stopPropagation();
    const found = state.found ? [...state.found] : [];
    if (!found.length) return;
    choose(found[state.at % found.length] + (state.sides === "sentences" ? n : 0));
    state.at += 1;
    finding.textContent = `${((state.at - 1) % found.length) + 1} of ${found.length}`;
  }

  // --------------------------------------------------------------------------------------------------------- start
  build();
  list();
  say();
  on(plot, "pointerdown", press);
  on(plot, "pointermove", move);
  on(plot, "pointerup", release);
  on(plot, "pointercancel", () => { drag = null; });
  on(plot, "pointerleave", () => point(null));
  on(plot, "wheel", wheel, { passive: false });
  on(plot, "keydown", type);
  on(finder, "input", search);
  on(finder, "keydown", next);
  state.point = Math.max(0, Array.from(ownRank.subarray(0, n)).findIndex((rank, i) => rank > 1 && neighbours(i).some((one) => right(i, one.point))));
  redraw(plot, () => draw());
  tell();
  return () => {
    cancelAnimationFrame(waiting);
    end();
  };
}

export default { render };
