// The panel of vcwork.panels.segmentation: compares stored scores with gamma, looks metrics up, draws. Scores nothing.

const STYLE = `
.vcwork-segmentation .body { display: grid; gap: .6rem 1.4rem; grid-template-columns: minmax(0, 1fr); }
.vcwork-segmentation .body > * { min-width: 0; }
@container (min-width: 700px) { .vcwork-segmentation .body { grid-template: "plot plot" "gamma numbers" / minmax(0, 1fr) minmax(18rem, 27rem); }
  .vcwork-segmentation .timed { grid-area: plot; } .vcwork-segmentation .gamma { grid-area: gamma; }
  .vcwork-segmentation .numbers { grid-area: numbers; } }
@container (min-width: 1200px) { .vcwork-segmentation .body {
  grid-template: "plot gamma" auto "numbers gamma" 1fr / minmax(0, 1fr) 36rem; } }
.vcwork-segmentation .tools label { display: inline-flex; gap: .4rem; align-items: center; }
.vcwork-segmentation .tools input[type="range"] { width: 7rem; }
.vcwork-segmentation .gamma input { width: calc(100% - 36px); margin: 0 0 0 36px; display: block; }
.vcwork-segmentation .lanes { cursor: crosshair; }
.vcwork-segmentation .curve, .vcwork-segmentation .sweep { cursor: pointer; touch-action: none; }
`;

const GUTTER = 76, RIGHT = 22; // room for the lanes' names, and for half a time label
const GREY = "#8c8c8c", GOOD = "#009E73";
const LINES = [["frame accuracy", 0, []], ["foreground recall", 1, [9, 3, 2, 3]], ["predicted background", 3, [2, 3]], ["F1@10", 2, [6, 3]]];

function unpackTable(text) {
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0)), view = new DataView(bytes.buffer);
  return Uint16Array.from({ length: bytes.length / 2 }, (_, i) => view.getUint16(2 * i, true));
}

// seconds [start, end) of one label, background left out
function runs(labels) {
  const found = [];
  labels.forEach((label, t) => {
    const last = found[found.length - 1];
    if (last && last.label === label && last.end === t) last.end = t + 1;
    else found.push({ label, start: t, end: t + 1 });
  });
  return found.filter((run) => run.label);
}

function render({ model, el }) {
  const { panel, root, on, undo, looks, redraw, end } = begin({ model, el }, "segmentation", STYLE);
  const tables = {}, silent = {};
  for (const [kind, rows] of Object.entries(panel.tables)) tables[kind] = rows.map(unpackTable);
  for (const [kind, rows] of Object.entries(panel.silent)) silent[kind] = unpackTable(rows);
  const windows = [...new Set(panel.readings.map((r) => r[0]))].sort((a, b) => a - b);
  const some = panel.readings.length > 0, last = panel.gammas.length - 1;
  const [window, stride] = panel.readings[0] || [0, 0];
  const state = { video: panel.videos[0].id, window, stride, duplicates: "removed", level: nearest(panel.start), second: 0 };

  // -------------------------------------------------------------------------------------------- the pure part
  function nearest(gamma) {
    return panel.gammas.reduce((at, g, i) => (Math.abs(g - gamma) < Math.abs(panel.gammas[at] - gamma) ? i : at), 0);
  }

  function named(table, level, row) {
    const rows = panel.videos.length + 1, m = panel.metrics.length;
    return Object.fromEntries(panel.metrics.map((name, k) => {
      const step = table[(level * rows + row) * m + k];
      return [name, step === 65535 ? null : step / 10000];
    }));
  }

  // what is shown for a choice: labels of the video, and the numbers of it and of all; gamma one of panel.gammas
  function update(video, gamma, window, stride, duplicates) {
    const i = panel.videos.findIndex((v) => v.id === video), level = panel.gammas.indexOf(gamma);
    const reading = panel.readings.findIndex(([w, s]) => w === window && s === stride);
    if (i < 0 || level < 0 || reading < 0) throw new Error("this choice is not stored");
    const fold = (label) => (duplicates === "removed" && label ? panel.same[label - 1] + 1 : label);
    const kind = duplicates in tables ? duplicates : "removed"; // without repeats both are the same
    const best = panel.best[reading][i].map(fold), scores = panel.scores[reading][i];
    const truth = panel.videos[i].truth && panel.videos[i].truth.map(fold);
    const predicted = best.map((label, t) => (scores[t] > gamma ? label : 0)), n = panel.videos.length;
    const all = named(tables[kind][reading], level, n);
    return { video, gamma, window, stride, duplicates, best, scores, predicted, truth,
      here: named(tables[kind][reading], level, i), all, silent_here: named(silent[kind], 0, i),
      silent_all: named(silent[kind], 0, n), note: noteOf(predicted, all) };
  }

  function noteOf(predicted, all) {
    if (all["predicted background"] === 1) return "Every second of every video is called background: frame accuracy is "
      + `nothing but the share of background, ${(100 * all["frame accuracy"]).toFixed(1)} %.`;
    if (predicted.every((label) => !label)) return "In this video every second is called background.";
    return predicted.every((label) => label) ? "In this video every second is called a step." : "";
  }

  // ---------------------------------------------------------------------------------------------- the document
  const tools = node("div", { className: "tools" });
  const videos = node("select", { "aria-label": "video" });
  const slider = (label, max) => node("input", { type: "range", min: 0, max, step: 1, "aria-label": label });
  const windowSlider = slider("window", Math.max(0, windows.length - 1)), strideSlider = slider("stride", 0);
  const windowText = node("output"), strideText = node("output"), gammaText = node("strong"), markText = node("span");
  const gammaSlider = slider("gamma", Math.max(0, last));
  const repeats = node("input", { type: "checkbox", role: "switch", "aria-label": "repeated labels removed" });
  const repeatText = node("span");
  const plot = node("div", { className: "plot", tabIndex: 0, role: "application", "aria-label":
    "Labels and scores over time. Left and right move the second, up and down move gamma, with Shift by five." });
  const lanes = node("canvas", { className: "lanes" }), curve = node("canvas", { className: "curve" });
  const readout = node("p", { className: "readout", role: "status" });
  const key = node("div", { className: "key soft" });
  const note = node("p", { className: "note", role: "status" });
  const marks = node("div", { className: "tools" });
  const sweep = node("canvas", { className: "sweep" }), table = node("table", { className: "numeric" });
  const sweepKey = node("div", { className: "key soft" });

  function build() {
    for (const video of panel.videos) videos.append(node("option", { value: video.id, textContent: video.id }));
    tools.append(node("label", {}, "video ", videos));
    if (some) tools.append(
      node("label", {}, "window ", windowSlider, windowText), node("label", {}, "stride ", strideSlider, strideText),
      node("label", {}, repeats, "repeated labels removed ", repeatText));
    plot.append(lanes, curve);
    const help = "Grey: a step that this video does not hold. Click or drag in the curve, or use the up and down keys, "
      + "to move γ; left and right move the second.";
    const left = node("div", { className: "timed" }, plot, readout, key, some ? node("p", { className: "soft", textContent: help }) : "");
    const body = node("div", { className: "body" }, left);
    if (some) body.append(gammaBlock(), metricsBlock());
    root.append(tools, body);
  }

  function gammaBlock() {
    for (const [name, gamma] of namedGammas()) {
      const button = node("button", { type: "button" });
      button.dataset.mark = name;
      on(button, "click", () => choose({ level: nearest(gamma()) }));
      marks.append(button);
    }
    const trap = "No label is needed for the paper's γ: it is the largest similarity of two different step texts. A γ "
      + "picked because these curves look best there would be tuned on the test: truth may draw and score here, not choose.";
    return node("div", { className: "gamma" },
      node("p", {}, "γ = ", gammaText, " ", markText), gammaSlider, sweep, sweepKey, marks,
      node("p", { className: "soft", textContent: trap }));
  }

  function metricsBlock() {
    return node("div", { className: "numbers" }, note, table, node("p", { className: "soft", textContent:
      "Silent: what all background would get. All videos: seconds together; edit score and F1 as means over videos." }));
  }

  // names of gammas and how to ask for their value now
  function namedGammas() {
    const found = Object.entries(panel.marks).map(([name, gamma]) => [name, () => gamma]);
    return panel.paper ? [["paper's rule", () => panel.paper[state.duplicates]], ...found] : found;
  }

  // ------------------------------------------------------------------------------------------------ what is chosen
  const strides = () => panel.readings.filter((r) => r[0] === state.window).map((r) => r[1]).sort((a, b) => a - b);
  const gamma = () => panel.gammas[state.level];

  function choose(change) {
    const follow = panel.paper && gamma() === panel.paper[state.duplicates] && "duplicates" in change;
    Object.assign(state, change);
    if (follow) state.level = nearest(panel.paper[state.duplicates]);
    const there = strides();
    if (some && !there.includes(state.stride)) // a longer stride would leave gaps
      state.stride = there.reduce((a, b) => (Math.abs(b - state.stride) < Math.abs(a - state.stride) ? b : a));
    state.level = clamp(state.level, 0, Math.max(0, last));
    const length = panel.videos.find((v) => v.id === state.video).seconds;
    state.second = clamp(state.second, 0, Math.max(0, length - 1));
    show();
  }

  function show() {
    root.shown = some ? update(state.video, gamma(), state.window, state.stride, state.duplicates) : bare();
    videos.value = state.video;
    note.textContent = root.shown.note;
    if (some) {
      const there = strides();
      windowSlider.value = windows.indexOf(state.window);
      strideSlider.max = there.length - 1;
      strideSlider.disabled = there.length < 2;
      strideSlider.value = there.indexOf(state.stride);
      windowText.textContent = windowSlider.ariaValueText = `${state.window} s`;
      strideText.textContent = strideSlider.ariaValueText = `${state.stride} s`;
      gammaSlider.value = state.level;
      gammaText.textContent = gammaSlider.ariaValueText = gamma().toFixed(2);
      repeats.checked = state.duplicates === "removed";
      repeatText.textContent = panel.repeated
        ? `(${panel.repeated} of ${panel.steps.length} repeat a text)` : "(none here: no difference)";
      tellMarks();
      tabulate();
    }
    list();
    tell(state.second);
    draw();
  }

  function bare() {
    const video = panel.videos.find((v) => v.id === state.video);
    return { video: video.id, truth: video.truth, predicted: [], best: [], scores: [], note: "" };
  }

  function tellMarks() {
    const at = namedGammas().filter(([, value]) => value() === gamma()).map(([name]) => name);
    markText.textContent = at.length ? `(${at.join(", ")})` : "";
    for (const button of marks.children) {
      const value = namedGammas().find(([name]) => name === button.dataset.mark)[1]();
      button.textContent = `${button.dataset.mark}: ${value.toFixed(2)}`;
      button.setAttribute("aria-pressed", String(value === gamma()));
    }
  }

  function tabulate() {
    const shown = root.shown, percent = (v) => (v === null ? "–" : `${(100 * v).toFixed(1)} %`);
    const cells = (tag, texts) => node("tr", {}, ...texts.map((textContent) => node(tag, { textContent })));
    table.replaceChildren(cells("th", ["", "this video", "silent", "all videos", "silent"]),
      ...panel.metrics.map((name) => cells("td", [name, ...[shown.here, shown.silent_here, shown.all, shown.silent_all]
        .map((values) => percent(values[name]))])));
  }

  // steps of the video in the order in which they happen: label -> number and colour; others are grey
  function numbers() {
    const { truth, best } = root.shown, found = new Map();
    for (const { label } of runs(truth || best)) {
      if (!found.has(label)) found.set(label, { number: found.size + 1, colour: panel.palette[found.size % panel.palette.length] });
    }
    return found;
  }

  function list() {
    key.replaceChildren(...[...numbers()].map(([label, { number, colour }]) =>
      node("span", {}, swatch(colour, String(number)), panel.steps[label - 1])));
    if (!root.shown.truth) key.append(node("span", { textContent: "Nobody has annotated this video." }));
  }

  function tell(second) {
    const { truth, predicted, best, scores } = root.shown, parts = [clock(second, panel.unit)];
    const name = (label) => (label ? `“${panel.steps[label - 1]}”` : "background");
    if (truth) parts.push(`truth: ${name(truth[second])}`);
    if (predicted.length) parts.push(`predicted: ${name(predicted[second])}`,
      `best step: ${name(best[second])} with ${scores[second].toFixed(2)}, γ ${gamma().toFixed(2)}`);
    readout.textContent = parts.join(" · ");
  }

  // ------------------------------------------------------------------------------------------------------- drawing
  const width = () => plot.clientWidth;
  const seconds = () => panel.videos.find((v) => v.id === state.video).seconds;
  const x = (t) => GUTTER + (t / Math.max(1, seconds())) * (width() - GUTTER - RIGHT);
  const TALL = 150, TOP = 8, BOTTOM = TALL - 8;
  const low = panel.gammas[0], high = panel.gammas[last];
  const y = (v) => BOTTOM - ((v - low) / (high - low || 1)) * (BOTTOM - TOP);

  function draw() {
    if (!root.isConnected || width() < 60) return;
    const look = looks();
    drawLanes(look);
    drawCurve(look);
    if (some) drawSweep(look);
  }

  function drawLanes(look) {
    const { ink, soft } = look;
    const { truth, predicted } = root.shown, band = 26, p = canvasPen(lanes, width(), 3 * band + 26), known = numbers();
    [["truth", truth], ["predicted", predicted]].forEach(([name, labels], i) => {
      lane(p, name, x(0), x(seconds()), i * band + 3, band - 6, look);
      if (!labels || !labels.length) empty(p, i * band + 3, band - 6, soft, name === "truth" ? "nobody knows" : "nothing");
      else for (const run of runs(labels)) bar(p, run, known.get(run.label), i * band + 3, band - 6, ink);
    });
    lane(p, "hit or miss", x(0), x(seconds()), 2 * band + 3, 10, look);
    if (truth && predicted.length) hits(p, truth, predicted, 2 * band + 3, soft);
    timeAxis(p, x, seconds(), 2 * band + 20, panel.unit, look);
    cursor(p, 2 * band + 14);
  }

  function empty(p, top, h, soft, text) {
    p.fillStyle = soft;
    p.textAlign = "left";
    p.fillText(text, x(0) + 6, top + h / 2);
  }

  function bar(p, { start, end }, look, top, h, ink) {
    const left = x(start), wide = Math.max(1, x(end) - left - 1), fill = look ? look.colour : GREY;
    p.fillStyle = fill;
    p.fillRect(left, top, wide, h);
    p.strokeStyle = ink;
    p.lineWidth = 0.5;
    if (wide > 3) p.strokeRect(left, top, wide, h); // black on a dark ground is seen, too
    if (!look || wide < 14) return;
    p.fillStyle = dark(fill) ? "#ffffff" : "#000000";
    p.textAlign = "center";
    p.fillText(String(look.number), left + wide / 2, top + h / 2 + 1);
  }

  function hits(p, truth, predicted, top, soft) {
    truth.forEach((label, t) => {
      if (label !== predicted[t]) p.fillStyle = MARK;
      else p.fillStyle = label ? GOOD : soft;
      const right = label === predicted[t], h = right ? (label ? 10 : 2) : 4;
      p.fillRect(x(t), top + (right ? 10 - h : 0), Math.max(1, x(t + 1) - x(t) - 0.5), h);
    });
  }

  function cursor(p, tall) {
    p.strokeStyle = MARK;
    p.lineWidth = 1;
    p.strokeRect(x(state.second), 1, x(state.second + 1) - x(state.second), tall - 2);
  }

  function drawCurve({ ink, soft, line, mark }) {
    const { scores, predicted } = root.shown, p = canvasPen(curve, width(), scores.length ? TALL : 1);
    if (!scores.length) return;
    const known = numbers(), level = y(gamma());
    p.strokeStyle = line;
    p.strokeRect(x(0), TOP - 4, x(seconds()) - x(0), BOTTOM - TOP + 8);
    predicted.forEach((label, t) => {
      if (!label) return;
      p.fillStyle = known.has(label) ? known.get(label).colour : GREY;
      p.fillRect(x(t), y(scores[t]), x(t + 1) - x(t), level - y(scores[t]));
    });
    p.strokeStyle = mark;
    p.lineWidth = 1.6;
    p.beginPath();
    scores.forEach((v, t) => { p.lineTo(x(t), y(v)); p.lineTo(x(t + 1), y(v)); });
    p.stroke();
    p.strokeStyle = MARK;
    p.lineWidth = 2;
    p.beginPath();
    p.moveTo(x(0), level);
    p.lineTo(x(seconds()), level);
    p.stroke();
    p.textAlign = "right";
    p.fillStyle = soft;
    p.fillText(high.toFixed(1), GUTTER - 6, TOP + 2);
    p.fillText(low.toFixed(1), GUTTER - 6, BOTTOM - 2);
    p.fillStyle = ink;
    p.fillText("best step's", GUTTER - 6, (TOP + BOTTOM) / 2 - 8);
    p.fillText("score", GUTTER - 6, (TOP + BOTTOM) / 2 + 8);
    p.textAlign = "left";
    p.fillText(`γ ${gamma().toFixed(2)}`, x(0) + 5, level - 9 < TOP + 4 ? level + 10 : level - 9);
    cursor(p, TALL);
  }

  // every gamma over all videos; under the slider, at the thumb's places
  const LEFT = 44, EDGE = 8, SWEEP = 200; // LEFT: where the slider's thumb begins
  const across = (level) => LEFT + (level / Math.max(1, last)) * (sweep.clientWidth - LEFT - EDGE);

  function drawSweep({ ink, soft, line }) {
    const w = sweep.parentNode.clientWidth, p = canvasPen(sweep, w, SWEEP), bottom = SWEEP - 22, up = (v) => bottom - v * (bottom - 42);
    const kind = state.duplicates in tables ? state.duplicates : "removed";
    const table = tables[kind][panel.readings.findIndex(([a, b]) => a === state.window && b === state.stride)];
    p.textAlign = "right";
    for (const share of [0, 0.5, 1]) {
      p.fillStyle = line;
      p.fillRect(LEFT, up(share), w - LEFT - EDGE, 1);
      p.fillStyle = soft;
      p.fillText(`${100 * share} %`, LEFT - 5, up(share));
    }
    p.lineWidth = 1.8;
    if (table[0] === 65535 && !panel.videos.some((v) => v.truth)) return empty(p, 60, 20, soft, "Truth is unknown: nothing to score.");
    for (const [name, c, dash] of LINES) {
      const k = panel.metrics.indexOf(name);
      p.strokeStyle = panel.palette[c];
      p.setLineDash(dash);
      p.beginPath();
      panel.gammas.forEach((_, level) => p.lineTo(across(level),
        up(table[(level * (panel.videos.length + 1) + panel.videos.length) * panel.metrics.length + k] / 10000)));
      p.stroke();
    }
    drawNamed(p, ink, soft, bottom);
  }

  function drawNamed(p, ink, soft, bottom) {
    p.lineWidth = 1.2;
    for (const [i, [name, value]] of namedGammas().entries()) {
      const at = across(nearest(value())), row = 8 + 14 * (i % 2);
      p.strokeStyle = p.fillStyle = ink;
      p.setLineDash([3, 3]);
      p.beginPath();
      p.moveTo(at, row);
      p.lineTo(at, bottom);
      p.stroke();
      p.textAlign = at > sweep.clientWidth / 2 ? "right" : "left";
      p.fillText(name, at + (at > sweep.clientWidth / 2 ? -4 : 4), row);
    }
    p.setLineDash([]);
    p.strokeStyle = MARK;
    p.lineWidth = 2;
    p.strokeRect(across(state.level), 34, 0, bottom - 34);
    p.fillStyle = soft;
    for (const level of [0, Math.round(last / 2), last]) {
      p.textAlign = level === 0 ? "left" : level === last ? "right" : "center";
      p.fillText(`γ ${panel.gammas[level].toFixed(1)}`, across(level) + (level === last ? EDGE : 0), bottom + 12);
    }
  }

  function buildKey() {
    for (const [name, c, dash] of LINES) {
      const mark = node("canvas"), p = canvasPen(mark, 22, 12);
      p.strokeStyle = panel.palette[c];
      p.lineWidth = 2;
      p.setLineDash(dash);
      p.beginPath();
      p.moveTo(0, 6);
      p.lineTo(22, 6);
      p.stroke();
      sweepKey.append(node("span", {}, mark, ` ${name}`));
    }
    sweepKey.append(node("span", { textContent: "(all videos)" }));
  }

  // ------------------------------------------------------------------------------------------------- pointer and keys
  function secondAt(event) {
    const share = (event.clientX - plot.getBoundingClientRect().left - GUTTER) / (width() - GUTTER - RIGHT);
    return clamp(Math.floor(share * seconds()), 0, Math.max(0, seconds() - 1));
  }

  function levelAt(event) {
    if (event.currentTarget === curve) {
      const share = (BOTTOM - (event.clientY - curve.getBoundingClientRect().top)) / (BOTTOM - TOP);
      return nearest(low + clamp(share, 0, 1) * (high - low));
    }
    const place = event.clientX - sweep.getBoundingClientRect().left - LEFT;
    return clamp(Math.round((place / (sweep.clientWidth - LEFT - EDGE)) * last), 0, last);
  }

  function drag(canvas) {
    on(canvas, "pointerdown", (event) => { canvas.setPointerCapture(event.pointerId); choose({ level: levelAt(event) }); });
    on(canvas, "pointermove", (event) => event.buttons && choose({ level: levelAt(event) }));
  }

  const KEYS = {
    ArrowLeft: (far) => ({ second: state.second - far }),
    ArrowRight: (far) => ({ second: state.second + far }),
    ArrowUp: (far) => ({ level: state.level + far }),
    ArrowDown: (far) => ({ level: state.level - far }),
    Home: () => ({ second: 0 }),
    End: () => ({ second: seconds() - 1 }),
  };

  function type(event) {
    if (event.target !== plot || !(event.key in KEYS) || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    event.stopPropagation();
    choose(KEYS[event.key](event.shiftKey ? 5 : 1));
  }

  // --------------------------------------------------------------------------------------------------------- start
  build();
  buildKey();
  on(videos, "change", () => choose({ video: videos.value }));
  on(windowSlider, "input", () => choose({ window: windows[Number(windowSlider.value)] }));
  on(strideSlider, "input", () => choose({ stride: strides()[Number(strideSlider.value)] }));
  on(gammaSlider, "input", () => choose({ level: Number(gammaSlider.value) }));
  on(repeats, "change", () => choose({ duplicates: repeats.checked ? "removed" : "kept" }));
  on(lanes, "click", (event) => choose({ second: secondAt(event) }));
  on(plot, "mousemove", (event) => tell(secondAt(event)));
  on(plot, "mouseleave", () => tell(state.second));
  on(plot, "keydown", type);
  drag(curve);
  drag(sweep);
  root.update = update; // where a test may ask
  undo.push(() => { root.update = root.shown = null; });
  choose({});
  redraw(root, draw);
  return end;
}

export default { render };
