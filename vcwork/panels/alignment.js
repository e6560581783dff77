// The panel of vcwork.panels.alignment: video, lanes, heat map, curve, query. Computes no score or moment itself.
//
// `view` draws one video; `render` puts another one's in its place when the kernel has sent it, and knows the way back.

const STYLE = `
.vcwork-alignment .body { display: grid; gap: .8rem; grid-template-columns: minmax(0, 1fr); }
.vcwork-alignment .top { display: grid; gap: .8rem; grid-template-columns: minmax(10rem, 18rem) minmax(0, 1fr); }
.vcwork-alignment .top.large { grid-template-columns: minmax(0, 3fr) minmax(0, 2fr); }
@container (min-width: 1200px) {
  .vcwork-alignment .body:not(.wide) { grid-template-columns: 30rem minmax(0, 1fr); }
  .vcwork-alignment .body:not(.wide) .top { grid-template-columns: minmax(0, 1fr); align-content: start; } }
.vcwork-alignment video { display: block; width: 100%; max-height: min(26rem, 62vh); background: #000; object-fit: contain; }
@container (max-width: 640px) { .vcwork-alignment .top { grid-template-columns: minmax(8rem, 2fr) minmax(0, 3fr); }
  .vcwork-alignment .top.large { grid-template-columns: minmax(0, 1fr); } }
@container (max-width: 420px) { .vcwork-alignment .top { grid-template-columns: minmax(0, 1fr); }
  .vcwork-alignment video { max-height: 14rem; } }
.vcwork-alignment .nofilm { padding: 1.5rem .8rem; background: var(--card); color: var(--soft); }
.vcwork-alignment .transcript { display: block; max-height: 18rem; overflow-y: auto; border: 1px solid var(--line);
  border-radius: 4px; }
.vcwork-alignment .transcript li { content-visibility: auto; contain-intrinsic-size: auto 2rem; }
.vcwork-alignment .transcript button { display: flex; gap: .6rem; width: 100%; border: none; background: none;
  text-align: left; padding: .2rem .5rem; overflow-wrap: anywhere; }
.vcwork-alignment .transcript li:not(:has(button)) { padding: .2rem .5rem; }
.vcwork-alignment .transcript .time { color: var(--soft); flex: none; min-width: 3rem; font-variant-numeric: tabular-nums; }
.vcwork-alignment .transcript .now .time { color: inherit; }
.vcwork-alignment .transcript .now { background: var(--card); box-shadow: inset 3px 0 0 ${"#D55E00"}; }
.vcwork-alignment .saying { margin: .3rem 0 0; min-height: 2.8em; }
.vcwork-alignment .query { display: flex; gap: .4rem; margin-bottom: .3rem; }
.vcwork-alignment input { flex: 1 1 auto; min-width: 0; }
.vcwork-alignment ol { list-style: none; margin: .2rem 0 !important; padding: 0 !important;
  display: flex; flex-wrap: wrap; gap: .3rem; }
.vcwork-alignment .scale { display: inline-flex; gap: .4rem; align-items: center; font-size: .88em; }
.vcwork-alignment .scale canvas { width: 7rem; height: .8rem; }
.vcwork-alignment .rows { position: relative; overflow-y: auto; max-height: 32rem; }
.vcwork-alignment .cursor { position: absolute; left: 0; pointer-events: none; }
.vcwork-alignment a { color: var(--mark); }
.vcwork-alignment select { max-width: 100%; }
.vcwork-alignment .zoom { display: inline-flex; gap: .3rem; align-items: center; }
.vcwork-alignment .playhead { position: absolute; top: 0; bottom: 0; width: 2px; margin-left: -1px;
  background: #D55E00; pointer-events: none; }
`;

const RIGHT = 22; // room for half a time label

// (S, T) scores from 16-bit steps: a list of Float32Array
function unpack(panel) {
  const bytes = Uint8Array.from(atob(panel.scores), (c) => c.charCodeAt(0));
  const steps = new DataView(bytes.buffer);
  return panel.rows.map((_, s) => Float32Array.from({ length: panel.seconds }, (_, t) =>
    panel.low + ((panel.high - panel.low) * steps.getUint16(2 * (s * panel.seconds + t), true)) / 65535));
}

function mean(values) {
  return values.reduce((a, b) => a + b, 0) / values.length;
}

function best(values) {
  return values.reduce((at, value, i) => (value > values[at] ? i : at), 0);
}

const MOST_HITS = 12; // of a list that a server answers with
const LONG = 90; // seconds from which the time axis can be enlarged
const TRAIL = 20; // videos one can go back through

function render({ model, el }) {
  const first = { panel: model.get("panel"), media: model.get("media") }, trail = [];
  let end = () => {};
  const show = (one, start) => {
    end();
    const seen = { get: (key) => (key in one ? one[key] : model.get(key)), on: (...a) => model.on(...a),
      off: (...a) => model.off && model.off(...a), send: (...a) => model.send(...a) };
    end = view({ model: seen, el }, start, { show, trail, first });
  };
  show(first, null);
  return () => end();
}

// one video; start: {second, sentence, answer} where it opens, null for the first; way: how others are shown
function view({ model, el }, start, way) {
  const { panel, live, root, on, undo, colour, blob, redraw, end } = begin({ model, el }, "alignment", STYLE);
  const seconds = panel.seconds;
  const scores = unpack(panel);
  const stored = panel.rows.map((row, i) => ({ ...row, scores: scores[i] }));
  const labels = [...new Set(panel.lanes.filter((l) => l.coloured).flatMap((l) => l.spans.map((s) => s[2])))];
  const said = panel.lanes.find((lane) => lane.name === "said").spans;
  const lines = [...said, ...panel.described.map((text) => [null, null, text])]; // of the transcript
  const base = live ? null : served("../"), spoken = new Words();
  for (const [, , text] of lines) spoken.add(text);
  const seenLanes = panel.lanes.filter((lane) => lane.spans.length || (stored.length && lane.name !== "said"));
  const asked = []; // answers of the kernel, newest first
  const me = Math.random().toString(36).slice(2); // answers come to every view of the widget, and to this one's next
  const state = { kind: "all", scale: "row", row: 0, second: 0, time: 0, from: 0, span: seconds };

  // ------------------------------------------------------------------------------------------ the document
  const bytes = fileOf(model, "video");
  const inside = base === null || panel.film.src.startsWith("data:"); // a page or a disk has the film, or the server
  const film = node("div"), source = inside ? panel.film.src : `${base}media/${nameOf(location.pathname)}`;
  const video = bytes || panel.film.src ? node("video", { controls: true, playsInline: true, preload: "metadata" }) : null;
  const saying = node("p", { className: "saying" });
  const form = node("div", { className: "query", role: "search" }); // no <form>: in JupyterLab its submit never came
  const names = `vcwork-${me}`;
  const input = node("input", { type: "text", placeholder: live || base !== null ? "type any sentence" : "words to look for",
    "aria-label": "sentence to look for" });
  if (stored.length) input.setAttribute("list", names);
  const asking = node("button", { type: "button", textContent: "Ask" });
  const known = node("datalist", { id: names });
  for (const text of new Set(stored.map((row) => row.text))) known.append(node("option", { value: text }));
  const answerNote = node("p", { className: "note", role: "status" });
  const lists = node("div", { className: "lists" }), answers = node("div");
  const transcript = node("ol", { className: "transcript", "aria-label": "what is said" }), keep = node("p", { className: "soft" });
  const tools = node("div", { className: "tools" });
  const plot = node("div", { className: "plot", tabIndex: 0, role: "application",
    "aria-label": "Scores of every sentence at every second. Arrow keys move the cell, Enter jumps there, Space plays, "
      + "plus and minus enlarge the time." });
  const curve = node("canvas"), lanes = node("canvas"), rows = node("div", { className: "rows" }), heat = node("canvas");
  const cursor = node("canvas", { className: "cursor" });
  const map = node("div"), playhead = node("div", { className: "playhead" });
  const readout = node("p", { className: "readout", role: "status" });
  const legend = node("canvas", { width: 112, height: 12 });
  const lowest = node("span"), highest = node("span"), scale = node("span", { className: "scale" });

  function build() {
    film.append(video || node("p", { className: "nofilm", textContent: "No video to show here." }), saying);
    form.append(input, asking, known);
    const query = node("div", {}), can = live || base !== null || lines.length || stored.length;
    if (can) query.append(form, node("p", { className: "soft", textContent: hint() }), answerNote, answers);
    query.append(lists);
    if (lines.length) query.append(node("h4", { textContent: said.length ? "what is said" : "how it is described" }), transcript, keep);
    if (panel.film.words) query.append(node("p", { className: "soft", textContent: `Words: ${panel.film.words}` }));
    chooser("rows", "kind", ["all", ...new Set(stored.map((row) => row.kind))]);
    chooser("colours", "scale", ["row", "raw"], { row: "score above the row's mean", raw: "score as it is" });
    scale.append(lowest, legend, highest);
    tools.append(scale);
    if (seconds >= LONG) zoomer();
    rows.append(heat, cursor);
    plot.append(curve, lanes, rows, playhead);
    const marks = "White frame: where it truly happens. Orange line: when it is said. Dot: best second. "
      + "Click a cell, or move with the arrow keys and press Enter, to jump there; Space plays.";
    const help = node("p", { className: "soft", textContent: stored.length || live ? marks : "Click to jump there." });
    map.append(tools, plot, readout, help);
    map.hidden = !stored.length && !live && !seenLanes.length;
    const other = videos();
    if (other.childNodes.length) root.append(other);
    const wide = stored.length || live ? "" : " wide", large = panel.film.src || base !== null ? " large" : "";
    root.append(node("div", { className: `body${wide}` }, node("div", { className: `top${large}` }, film, query), map));
  }

  function hint() {
    if (live) return "The kernel answers with the sentence's curve and its best moments.";
    if (base !== null) return "The models answer any sentence: what is said, what it means, and what is shown.";
    const known = stored.length ? "; a stored sentence also shows where it is seen" : "";
    return `Words find what is said in this video${known}. Models answer any other: in the notebook, or by explore --serve.`;
  }

  // the way back, and the videos that the kernel can open
  function videos() {
    const bar = node("div", { className: "tools" }), last = way.trail.at(-1);
    if (last) {
      const text = `← back to ${last.video || "the first video"} at ${clock(last.second, panel.unit)}`;
      const back = node("button", { type: "button", textContent: text });
      back.onclick = () => {
        if (last.video !== way.first.panel.video) return ask({ open: last.video, second: last.second,
          sentence: last.sentence }, "back");
        way.trail.pop();
        way.show(way.first, last);
      };
      bar.append(back);
    }
    if (live && panel.videos.length > 1) {
      const select = node("select", { "aria-label": "video" });
      const ids = panel.videos.includes(panel.video) ? panel.videos : [panel.video, ...panel.videos];
      for (const id of ids) select.append(node("option", { value: id, textContent: id }));
      select.value = panel.video;
      on(select, "change", () => {
        ask({ open: select.value }, "to");
        select.value = panel.video; // until it comes
      });
      bar.append(node("label", {}, "video ", select), node("span", { className: "soft",
        textContent: `one of ${ids.length}` }));
    }
    return bar;
  }

  function zoomer() {
    const bar = node("span", { className: "zoom", role: "group", "aria-label": "time axis" }, "time");
    for (const [text, words, factor] of [["−", "show more time", 2], ["+", "show less time, larger", 0.5],
      ["whole", "show the whole video", Infinity]]) {
      const button = node("button", { type: "button", textContent: text, "aria-label": words, title: words });
      button.onclick = () => zoom(factor);
      bar.append(button);
    }
    tools.append(bar);
  }

  function chooser(label, key, values, texts = {}) {
    const select = node("select", { "aria-label": label });
    for (const value of values) select.append(node("option", { value, textContent: texts[value] || value }));
    on(select, "change", () => {
      state[key] = select.value;
      if (key === "kind") state.row = 0;
      choose(state.row, state.second);
    });
    if (values.length > 1) tools.append(node("label", {}, `${label} `, select));
  }

  // -------------------------------------------------------------------------------------------------- what is seen
  const shown = () => [...asked, ...stored.filter((row) => state.kind === "all" || row.kind === state.kind)];
  const current = () => shown()[state.row] || null;
  const level = (row) => (state.scale === "row" ? mean(row.scores) : 0);

  function choose(row, second) {
    state.row = clamp(row, 0, Math.max(0, shown().length - 1));
    state.second = clamp(second, 0, seconds - 1);
    reveal(state.second);
    draw();
    tell(state.row, state.second);
    list(current());
  }

  // the part of the time axis that is seen, `span` seconds from `from`
  function zoom(factor) {
    if (seconds < LONG) return;
    const span = clamp(Math.round(state.span * factor), Math.min(30, seconds), seconds);
    const share = clamp((state.second + 0.5 - state.from) / state.span, 0, 1); // the chosen second stays where it is
    state.span = span;
    state.from = clamp(Math.round(state.second + 0.5 - share * span), 0, seconds - span);
    choose(state.row, state.second);
  }

  function reveal(second) {
    if (second >= state.from && second < state.from + state.span) return false;
    state.from = clamp(Math.floor(second - state.span / 4), 0, seconds - state.span);
    return true;
  }

  function list(row) {
    lists.replaceChildren();
    if (!row) return;
    lists.append(node("p", { textContent: `“${row.text}”` }));
    if (row.note) lists.append(node("p", { className: "soft", textContent: row.note }));
    const here = node("ol"), other = node("ol");
    row.moments.forEach((m, i) => {
      const text = `${i + 1}. ${clock(m.start_s, panel.unit)} to ${clock(m.end_s, panel.unit)} (${m.score.toFixed(1)})`;
      const button = node("button", { type: "button", textContent: text });
      button.onclick = () => seek(Math.floor(m.peak_s));
      here.append(node("li", {}, button, ...cutting(location.pathname, m)));
    });
    let shut = false;
    for (const m of row.elsewhere) {
      const text = `${m.video} at ${clock(m.peak_s, panel.unit)} (${m.score.toFixed(1)})`;
      const own = m.video === panel.video, opens = own || (live && panel.videos.length > 0);
      const page = !opens && panel.pages[m.video];
      shut ||= !opens && !page;
      const link = page && node("a", { href: `${page}#t=${Math.floor(m.peak_s)}`, textContent: text });
      const item = opens ? node("button", { type: "button", textContent: text }) : link || `· ${text}`;
      if (own) item.onclick = () => seek(Math.floor(m.peak_s));
      else if (opens) item.onclick = () => ask({ open: m.video, second: Math.floor(m.peak_s), sentence: row.text }, "to");
      other.append(node("li", { className: opens ? "" : "soft" }, item));
    }
    if (row.moments.length) lists.append(node("h4", { textContent: "best moments of this video" }), here,
      node("p", { className: "soft" }, takeAway(() => row.moments.map((m) => taken(row.text, "shown", m.start_s, m.end_s, m.score)), row.text)));
    else lists.append(node("p", { className: "soft", textContent: "No moment found." }));
    if (row.elsewhere.length) lists.append(node("h4", { textContent: "best moments of all videos" }), other);
    if (shut) lists.append(node("p", { className: "soft",
      textContent: "This page holds one video; the others open where the notebook runs." }));
  }

  // a hit of this video as it leaves the page
  function taken(query, evidence, start_s, end_s, score, text = "") {
    const { file, fps } = panel.film;
    return { query, video: panel.video, start_s: start_s ?? 0, end_s: end_s ?? seconds, score, evidence, text, file, fps };
  }

  // a link that a server answers with the hit as a film, of the video with this page
  function cutting(page, hit) {
    if (base === null || hit.start_s === null) return [];
    return [" ", node("a", { href: cutOf(base, page, hit), download: "", textContent: "mp4" })];
  }

  // what is said, or of it what has the words; its lines lead to their seconds
  function write(words) {
    const found = words ? spoken.find(words) : { places: [], whole: false };
    const places = found.whole ? found.places.sort((a, b) => a - b) : lines.map((_, i) => i);
    transcript.replaceChildren(...places.map((i) => {
      const [start, , text] = lines[i];
      if (start === null) return node("li", { textContent: text });
      const line = node("button", { type: "button" }, node("span", { className: "time", textContent: exact(start) }),
        node("span", { textContent: text }));
      line.dataset.line = i;
      line.onclick = () => seek(start);
      return node("li", {}, line);
    }));
    const hits = () => places.map((i) => taken(words, said.length ? "said" : "described", lines[i][0], lines[i][1], 0, lines[i][2]));
    keep.replaceChildren(...(found.whole ? [`${places.length} of ${lines.length} lines; `, takeAway(hits, words)] : []));
    return found.whole;
  }

  function exact(second) {
    return `${Math.floor(second / 60)}:${String(Math.floor(second % 60)).padStart(2, "0")}`;
  }

  function tell(row, second) {
    const one = shown()[row], parts = [clock(second, panel.unit)];
    if (one) parts.push(`“${one.text}”`, `score ${one.scores[second].toFixed(2)}, row's mean ${mean(one.scores).toFixed(2)}`);
    for (const lane of seenLanes) {
      const found = lane.spans.filter(([start, end]) => start < second + 1 && end > second).map((span) => span[2]);
      if (lane.coloured && lane.spans.length) parts.push(`${lane.name}: ${found.join(", ") || "nothing"}`);
    }
    readout.textContent = parts.join(" · ");
  }

  // ------------------------------------------------------------------------------------------------------- drawing
  const width = () => rows.clientWidth || plot.clientWidth;
  const gutter = () => Math.round(clamp(0.3 * width(), 60, 300));
  const right = () => width() - RIGHT;
  const x = (t) => gutter() + ((t - state.from) / state.span) * (right() - gutter());
  const height = () => clamp(Math.floor(320 / Math.max(1, shown().length)), 16, 26);

  const pen = (canvas, h) => canvasPen(canvas, width(), h);

  // draws what may reach out of the part of the time axis that is seen
  function within(p, h, act) {
    p.save();
    p.beginPath();
    p.rect(gutter() - 5, 0, right() - gutter() + 10, h);
    p.clip();
    act();
    p.restore();
  }

  const painted = {}; // what a canvas was last painted for: the large ones do not change with the chosen cell

  function stale(name, ...parts) {
    const reason = JSON.stringify([width(), window.devicePixelRatio, state.from, state.span, ...parts]);
    const changed = painted[name] !== reason;
    painted[name] = reason;
    return changed;
  }

  function draw() {
    if (!root.isConnected || width() < 40) return;
    const [ink, soft, card, line] = ["ink", "soft", "card", "line"].map(colour);
    drawCurve(ink, soft, line);
    drawLanes(ink, soft, card, line);
    drawHeat(ink, soft, card);
    place();
  }

  function drawCurve(ink, soft, line) {
    const row = current(), h = row ? 84 : 0, p = pen(curve, Math.max(h, 1));
    if (!row) return;
    const low = Math.min(...row.scores), high = Math.max(...row.scores), top = 20, bottom = h - 8;
    const y = (v) => bottom - ((v - low) / (high - low || 1)) * (bottom - top);
    within(p, h, () => curveAt(p, row, y, top, bottom, ink, line));
    p.textAlign = "right";
    p.fillStyle = soft;
    p.fillText(high.toFixed(1), gutter() - 6, top);
    p.fillText(low.toFixed(1), gutter() - 6, bottom - 4);
    p.fillStyle = ink;
    p.textAlign = "left";
    p.fillText(fitted(p, row.text, gutter() - 50), 4, (top + bottom) / 2);
  }

  function curveAt(p, row, y, top, bottom, ink, line) {
    p.fillStyle = "#009E7355";
    for (const [start, end] of row.truth) p.fillRect(x(start), top - 6, x(end) - x(start), bottom - top + 6);
    row.moments.forEach((m, i) => {
      p.fillStyle = MARK;
      p.fillRect(x(m.start_s), 12, Math.max(2, x(m.end_s) - x(m.start_s)), 4);
      p.fillStyle = ink;
      p.textAlign = "center";
      p.fillText(String(i + 1), x((m.start_s + m.end_s) / 2), 6);
    });
    p.strokeStyle = line;
    p.strokeRect(gutter(), top - 6, right() - gutter(), bottom - top + 6);
    p.strokeStyle = colour("mark");
    p.lineWidth = 1.6;
    p.beginPath();
    const to = Math.min(seconds, state.from + state.span + 1);
    for (let t = Math.max(0, state.from - 1), n = 0; t < to; t++, n++) p[n ? "lineTo" : "moveTo"](x(t + 0.5), y(row.scores[t]));
    p.stroke();
  }

  function drawLanes(ink, soft, card, line) {
    if (!stale("lanes", ink, card)) return;
    const band = 22, p = pen(lanes, band * seenLanes.length + 24);
    seenLanes.forEach((lane, i) => {
      const top = i * band + 3, h = band - 6;
      p.fillStyle = card;
      p.fillRect(gutter(), top, right() - gutter(), h);
      p.fillStyle = ink;
      p.textAlign = "right";
      p.fillText(lane.name, gutter() - 6, top + h / 2);
      if (!lane.spans.length) {
        p.fillStyle = soft;
        p.textAlign = "left";
        p.fillText(`nothing ${lane.name === "truth" ? "is known" : lane.name}`, gutter() + 6, top + h / 2);
      }
      const seen = lane.spans.filter(([start, end]) => end > state.from && start < state.from + state.span);
      within(p, band * seenLanes.length, () => seen.forEach(([start, end, label]) =>
        span(p, lane, start, end, label, top, h, line, ink)));
    });
    const bottom = band * seenLanes.length + 4;
    p.strokeStyle = p.fillStyle = soft;
    p.textAlign = "center";
    const step = tick(state.span, right() - gutter());
    for (let t = Math.ceil(state.from / step) * step; t <= state.from + state.span; t += step) {
      p.fillRect(x(t), bottom - 2, 1, 4);
      p.fillText(panel.unit === "second" ? clock(t, panel.unit) : String(t), x(t), bottom + 11);
    }
  }

  function span(p, lane, start, end, label, top, h, line, ink) {
    const [left, right] = [start, end].map((t) => x(clamp(t, state.from, state.from + state.span)));
    const number = labels.indexOf(label), colour = panel.palette[number % panel.palette.length];
    p.fillStyle = lane.coloured ? colour : line;
    p.fillRect(left, top, Math.max(1, right - left - 1), h);
    p.strokeStyle = ink;
    p.lineWidth = 0.5;
    if (lane.coloured) p.strokeRect(left, top, Math.max(1, right - left - 1), h); // black on a dark ground is seen, too
    p.textAlign = lane.coloured ? "center" : "left";
    p.fillStyle = lane.coloured ? (dark(colour) ? "#ffffff" : "#000000") : ink;
    if (lane.coloured && right - left > 14) p.fillText(String(number + 1), (left + right) / 2, top + h / 2);
    if (!lane.coloured && right - left > 30) p.fillText(fitted(p, label, right - left - 6), left + 3, top + h / 2);
  }

  function drawHeat(ink, soft, card) {
    const visible = shown(), h = height(), tall = Math.max(h * visible.length, 40);
    for (const part of [rows, scale, ...tools.querySelectorAll("label")]) part.hidden = !visible.length;
    if (stale("heat", ink, state.scale, state.kind, asked.map((row) => row.text))) paintRows(visible, tall, h, ink, soft, card);
    cursor.style.display = state.row < visible.length ? "" : "none";
    if (state.row >= visible.length) return;
    const p = pen(cursor, h); // the chosen row lies above the map, which is not drawn again for it
    cursor.style.top = `${state.row * h}px`;
    drawRow(p, visible[state.row], 0, h, true, ink, card);
    within(p, h, () => outline(p, x(state.second), 0, x(state.second + 1), h, "#ffffff", MARK));
  }

  function paintRows(visible, tall, h, ink, soft, card) {
    const p = pen(heat, tall);
    if (!visible.length) {
      p.fillStyle = soft;
      p.fillText("There is no sentence to compare with this video.", gutter() + 6, 20);
      return;
    }
    const levels = visible.map(level), [low, high] = limits(visible, levels);
    image(p, visible, levels, low, high, h);
    key(low, high);
    visible.forEach((row, i) => drawRow(p, row, i * h, h, false, ink, card));
  }

  function limits(visible, levels) {
    let low = Infinity, high = -Infinity;
    visible.forEach((row, i) => row.scores.forEach((v) => {
      low = Math.min(low, v - levels[i]);
      high = Math.max(high, v - levels[i]);
    }));
    return [low, high > low ? high : low + 1];
  }

  // one pixel a second, or, where there are more seconds than pixels, the best of those that share one
  function image(p, visible, levels, low, high, h) {
    const columns = Math.min(state.span, Math.max(1, Math.round(right() - gutter())));
    const picture = new ImageData(columns, visible.length);
    const colours = panel.map.map((c) => [1, 3, 5].map((i) => parseInt(c.slice(i, i + 2), 16)));
    visible.forEach((row, i) => {
      for (let column = 0; column < columns; column++) {
        const from = state.from + Math.floor((column * state.span) / columns);
        const to = state.from + Math.ceil(((column + 1) * state.span) / columns);
        let value = -Infinity;
        for (let t = from; t < to; t++) value = Math.max(value, row.scores[t]);
        const share = clamp((value - levels[i] - low) / (high - low), 0, 1);
        picture.data.set([...colours[Math.round(share * (colours.length - 1))], 255], 4 * (i * columns + column));
      }
    });
    const small = node("canvas", { width: columns, height: visible.length });
    small.getContext("2d").putImageData(picture, 0, 0);
    p.imageSmoothingEnabled = false;
    p.drawImage(small, gutter(), 0, right() - gutter(), h * visible.length);
  }

  function drawRow(p, row, top, h, selected, ink, card) {
    if (selected) {
      p.fillStyle = card;
      p.fillRect(0, top, gutter() - 3, h);
    }
    const number = labels.indexOf(row.text), indent = number >= 0 ? 20 : 4;
    if (number >= 0) {
      const colour = panel.palette[number % panel.palette.length];
      p.fillStyle = colour;
      p.fillRect(3, top + 3, 14, h - 6);
      p.fillStyle = dark(colour) ? "#ffffff" : "#000000";
      p.textAlign = "center";
      p.fillText(String(number + 1), 10, top + h / 2 + 1);
    }
    p.fillStyle = ink;
    p.textAlign = "left";
    p.font = selected ? `600 ${FONT}` : FONT;
    const text = row.kind === "asked" ? `asked: ${row.text}` : row.text;
    p.fillText(fitted(p, text, gutter() - indent - 8), indent, top + h / 2);
    p.font = FONT;
    within(p, top + h, () => marks(p, row, top, h));
  }

  function marks(p, row, top, h) {
    for (const [start, end] of row.truth) outline(p, x(start), top + 1, x(end), h - 2, "#000000", "#ffffff");
    if (row.spoken) {
      p.fillStyle = "#ffffff";
      p.fillRect(x(row.spoken[0]) - 1, top + h - 5, x(row.spoken[1]) - x(row.spoken[0]) + 2, 5);
      p.fillStyle = MARK;
      p.fillRect(x(row.spoken[0]), top + h - 4, x(row.spoken[1]) - x(row.spoken[0]), 3);
    }
    p.beginPath();
    p.arc(x(best(row.scores) + 0.5), top + h / 2, 3.5, 0, 7);
    p.fillStyle = MARK;
    p.fill();
    p.strokeStyle = "#ffffff";
    p.lineWidth = 1;
    p.stroke();
  }

  function outline(p, left, top, right, h, outer, inner) {
    for (const [colour, size] of [[outer, 3.4], [inner, 1.6]]) {
      p.strokeStyle = colour;
      p.lineWidth = size;
      p.strokeRect(left, top + 1, Math.max(2, right - left), h - 2);
    }
  }

  function key(low, high) {
    const p = legend.getContext("2d");
    panel.map.forEach((colour, i) => {
      p.fillStyle = colour;
      p.fillRect((i * 112) / panel.map.length, 0, 112 / panel.map.length + 1, 12);
    });
    lowest.textContent = low.toFixed(1);
    highest.textContent = high.toFixed(1);
  }

  // ---------------------------------------------------------------------------------------- the clock of the video
  function place() {
    playhead.style.left = `${x(clamp(state.time, 0, seconds))}px`;
    playhead.style.display = state.time >= state.from && state.time <= state.from + state.span ? "" : "none";
    const now = said.filter(([start, end]) => start <= state.time && end > state.time).map((span) => span[2]);
    saying.textContent = said.length ? now.join(" ") || "…" : lines.length ? "" : "No captions.";
    const spokenNow = new Set(said.flatMap(([start, end], i) => (start <= state.time && end > state.time ? [String(i)] : [])));
    for (const line of transcript.querySelectorAll(".now")) line.classList.toggle("now", spokenNow.has(line.dataset.line));
    for (const i of spokenNow) transcript.querySelector(`[data-line="${i}"]`)?.classList.add("now");
  }

  function follow() {
    state.time = video.currentTime;
    if (!video.paused && reveal(clamp(state.time, 0, seconds - 0.01))) draw();
    place();
    if (!video.paused && !video.ended && root.isConnected) requestAnimationFrame(follow);
  }

  function seek(second) {
    state.time = second;
    if (video && video.readyState) video.currentTime = Math.min(second, video.duration || second);
    else if (video) video.addEventListener("loadedmetadata", () => seek(second), { once: true });
    choose(state.row, Math.floor(second));
    root.dataset.time = String(second); // where a test may look
  }

  // ------------------------------------------------------------------------------------------------- pointer and keys
  function cell(event) {
    const box = plot.getBoundingClientRect();
    const share = (event.clientX - box.left - gutter()) / (right() - gutter());
    const inside = event.target === heat;
    const row = inside ? Math.floor((event.clientY - heat.getBoundingClientRect().top) / height()) : state.row;
    return { row: clamp(row, 0, Math.max(0, shown().length - 1)), second: Math.floor(state.from + share * state.span),
      onMap: share >= 0 && share < 1 };
  }

  function point(event) {
    const at = cell(event);
    if (!at.onMap) {
      plot.title = event.target === heat && shown()[at.row] ? shown()[at.row].text : "";
      return;
    }
    plot.title = "";
    tell(at.row, at.second);
  }

  function press(event) {
    const at = cell(event);
    state.row = at.row;
    if (at.onMap) seek(at.second);
    else choose(at.row, state.second);
  }

  const KEYS = {
    ArrowLeft: (far) => choose(state.row, state.second - far),
    ArrowRight: (far) => choose(state.row, state.second + far),
    ArrowUp: () => choose(state.row - 1, state.second),
    ArrowDown: () => choose(state.row + 1, state.second),
    Home: () => choose(state.row, 0),
    End: () => choose(state.row, seconds - 1),
    Enter: () => seek(state.second),
    "+": () => zoom(0.5),
    "-": () => zoom(2),
    " ": () => video && (video.paused ? video.play() : video.pause()),
  };

  function type(event) {
    if (event.target !== plot || !(event.key in KEYS) || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    event.stopPropagation();
    KEYS[event.key](event.shiftKey ? 5 : 1);
    const h = height(), top = state.row * h;
    if (top < rows.scrollTop) rows.scrollTop = top;
    if (top + h > rows.scrollTop + rows.clientHeight) rows.scrollTop = top + h - rows.clientHeight;
  }

  // ------------------------------------------------------------------------------------------------------- the query
  let waiting = null, opening = "", questions = 0;

  function select(row) {
    state.kind = "all";
    const kinds = tools.querySelector("select[aria-label=rows]");
    if (kinds) kinds.value = "all";
    rows.scrollTop = Math.max(0, shown().indexOf(row) * height() - 60);
    choose(shown().indexOf(row), best(row.scores));
  }

  function submit() {
    const text = input.value.trim().replace(/\s+/g, " "), words = new Set(tokensOf(text));
    const same = stored.find((row) => folded(row.text) === folded(text));
    const found = write(text);
    answerNote.textContent = "";
    if (!text) answerNote.textContent = "Type a sentence first.";
    else if (same) select(same);
    if (text && base !== null) askModels(text);
    else if (text && live && !same) ask({ ask: input.value, video: panel.video });
    else if (text && !same) {
      const near = stored.find((row) => [...words].every((word) => tokensOf(row.text).includes(word)));
      if (near) select(near);
      const none = `Nothing here has these words. Without a kernel only ${stored.length || lines.length} stored sentences answer.`;
      answerNote.textContent = near ? "Without a kernel: the first stored sentence with these words." : found ? "" : none;
    }
  }

  // the server's answer: the best moments of this video, with the sentence's curve where there is one, and of all
  async function askModels(text, anyway = false) {
    const mine = ++questions;
    answerNote.textContent = "Asking the models …";
    const here = await askServer(base, text, anyway, nameOf(location.pathname));
    const answer = await askServer(base, text, anyway);
    if (mine !== questions) return; // another one has been asked since
    answerNote.textContent = here.found || !answer.found ? answer.note : `Not found in this video. ${answer.note}`;
    if ((answer.more || here.more) && !anyway) {
      const rest = node("button", { type: "button", textContent: "show weaker ones" });
      rest.onclick = () => askModels(text, true);
      answerNote.append(" ", rest);
    }
    if (here.curve && here.curve.scores.length) select(add({ ...here.curve, sentence: text, elsewhere: [] }));
    const others = answer.hits.some((hit) => hit.video !== panel.video);
    answers.replaceChildren(...listed("best of this video", here.hits, text),
      ...listed("best of all videos", others ? answer.hits : [], text));
  }

  // a list of the server's hits under its heading; nothing for none
  function listed(heading, all, query) {
    if (!all.length) return [];
    const list = node("ol");
    for (const hit of all.slice(0, MOST_HITS)) {
      const own = hit.video === panel.video, at = exact(hit.start_s ?? 0), how = evidenceOf(hit.evidence);
      const told = own ? [at, hit.text && `“${hit.text}”`, `(${how})`].filter(Boolean).join(" ") : `${hit.video} at ${at} (${how})`;
      const item = own ? node("button", { type: "button", textContent: told })
        : node("a", { href: `${hit.page}#t=${hit.start_s ?? 0}`, textContent: told });
      item.title = hit.text;
      if (own) item.onclick = () => seek(hit.start_s ?? 0);
      list.append(node("li", {}, item, ...cutting(hit.page, hit)));
    }
    const hits = () => all.map((hit) => ({ query, video: hit.video, start_s: hit.start_s ?? 0,
      end_s: hit.end_s ?? hit.seconds, score: hit.score, evidence: evidenceOf(hit.evidence), text: hit.text,
      file: hit.file, fps: hit.fps }));
    const left = all.length > MOST_HITS ? [`The first ${MOST_HITS} of ${all.length}; `] : [];
    return [node("h4", { textContent: heading }), list, node("p", { className: "soft" }, ...left, takeAway(hits, query))];
  }

  // how: "to" another video or "back" to one, "" for a sentence
  function ask(message, how = "") {
    answerNote.textContent = how ? `Opening ${message.open} …` : "Asking the kernel …";
    clearTimeout(waiting);
    waiting = setTimeout(() => { answerNote.textContent = "No answer yet: is the kernel running, and idle?"; }, 15000);
    opening = how;
    model.send({ ...message, view: me });
  }

  function receive(message, buffers) {
    if (!message || !message.answer || (message.view && message.view !== me)) return;
    const answer = message.answer;
    clearTimeout(waiting);
    answerNote.textContent = answer.note;
    if ("panel" in answer) return answer.panel && arrive(answer, message.files || [], buffers || []);
    if (answer.row !== null) return select(stored[answer.row]);
    if (answer.scores.length) select(add(answer));
  }

  function add(answer) {
    const row = { text: answer.sentence, kind: "asked", spoken: null, truth: [], moments: answer.moments,
      elsewhere: answer.elsewhere, note: "", scores: Float32Array.from(answer.scores) };
    const others = asked.filter((one) => one.text !== row.text).slice(0, 4);
    asked.splice(0, asked.length, row, ...others);
    map.hidden = false;
    return row;
  }

  // the kernel has sent another video's panel
  function arrive(answer, files, buffers) {
    if (opening === "back") way.trail.pop();
    else way.trail.push({ video: panel.video, second: state.second, sentence: current() ? current().text : "" });
    way.trail.splice(0, Math.max(0, way.trail.length - TRAIL));
    const media = Object.fromEntries(files.map((name, i) => [name, buffers[i]]));
    way.show({ panel: answer.panel, media }, answer);
  }

  // where the panel opens: at a second, with a sentence's row chosen, or at a row that can be judged by eye
  function enter() {
    const answer = start && start.answer;
    if (answer && answer.row !== null) select(stored[answer.row]);
    else if (answer && answer.scores.length) select(add(answer));
    else if (start && stored.some((row) => row.text === start.sentence))
      select(stored.find((row) => row.text === start.sentence));
    else {
      const judged = panel.first ?? Math.max(0, stored.findIndex((row) => row.truth.length));
      choose(judged, stored.length ? best(stored[judged].scores) : 0);
    }
    if (answer) answerNote.textContent = answer.note;
    if (start) {
      seek(clamp(start.second, 0, seconds - 1));
      plot.focus({ preventScroll: true });
    }
  }

  // a page among others opens at the second that the link to it names
  function jump() {
    const second = Number((window.location.hash.match(/^#t=(\d+(?:\.\d+)?)/) || [])[1]);
    if (second >= 0) seek(clamp(second, 0, Math.max(0, seconds - 0.1)));
  }

  // --------------------------------------------------------------------------------------------------------- start
  build();
  if (video) {
    undo.push(() => { video.pause(); video.removeAttribute("src"); video.load(); });
    for (const name of ["play", "timeupdate", "seeked", "loadedmetadata"]) on(video, name, follow);
    on(video, "error", () => {
      if (video.isConnected && video.src) video.replaceWith(node("p", { className: "nofilm",
        textContent: "This browser cannot play the clip, or it is no longer there. The rest works without it." }));
    });
    video.src = bytes ? blob(bytes, "video/mp4") : source;
  }
  on(plot, "mousemove", point);
  on(plot, "mouseleave", () => tell(state.row, state.second));
  on(plot, "click", press);
  on(plot, "keydown", type);
  on(asking, "click", submit);
  on(input, "keydown", (event) => {
    if (event.key !== "Enter" || event.isComposing) return;
    event.preventDefault();
    event.stopPropagation();
    submit();
  });
  if (!live) on(input, "input", () => write(input.value.trim()));
  model.on("msg:custom", receive);
  write("");
  enter();
  place();
  redraw(plot, draw);
  if (!live) {
    on(window, "hashchange", jump);
    jump();
  }
  return () => {
    clearTimeout(waiting);
    if (model.off) model.off("msg:custom", receive);
    end();
  };
}

export default { render };
