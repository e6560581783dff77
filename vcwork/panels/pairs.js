// The panel of vcwork.panels.pairs: steps through pairs that Python drew, and counts what was seen. Draws no pair itself.

const STYLE = `
.vcwork-pairs .tools { gap: .3rem .6rem; }
.vcwork-pairs .group { display: inline-flex; flex-wrap: wrap; gap: .3rem; align-items: center; }
.vcwork-pairs .below { display: grid; gap: .4rem 1.4rem; grid-template-columns: minmax(0, 1fr); align-content: start; }
@container (min-width: 700px) { .vcwork-pairs .below { grid-template-columns: minmax(0, 1fr) minmax(0, 1fr); } }
@container (min-width: 1200px) {
  .vcwork-pairs .body { display: grid; gap: .4rem 1.4rem; grid-template-columns: minmax(0, 1fr) 32rem; }
  .vcwork-pairs .below { grid-template-columns: minmax(0, 1fr); } }
.vcwork-pairs .spoken { min-height: 5.6em; margin: .3rem 0; color: var(--soft); }
.vcwork-pairs .spoken .inside { color: var(--ink); text-decoration: underline 2px #E69F00; text-underline-offset: 3px; }
.vcwork-pairs .spoken .names { font-weight: 600; }
.vcwork-pairs input[type="number"] { width: 5rem; }
`;

const GUTTER = 62, RIGHT = 22, TEXT = "#0072B2", CLIP = "#E69F00";
const EARLIER = 6; // pairs kept in sight below the newest
const BINS = 20, STEPS = 10000;
const FEW = 20; // the bars of fewer draws stay low instead of filling the picture

function counts(steps) {
  const bins = new Array(BINS).fill(0);
  for (const step of steps) bins[Math.min(BINS - 1, Math.floor((step * BINS) / STEPS))] += 1;
  return bins;
}

function summary(steps) {
  const n = steps.length, sum = steps.reduce((a, b) => a + b, 0);
  if (!n) return { mean_iou: null, half: null };
  return { mean_iou: Math.floor(sum / n + 0.5) / STEPS, half: steps.filter((step) => 2 * step >= STEPS).length / n };
}

// a rule in a sentence
function ruleWords({ rule, ...r }) {
  const text = `Text: captions around a random one, aiming at ${r.min_text_tokens} to ${r.max_text_tokens} tokens.`;
  return {
    overlapped: `${text} Video: ${r.min_video_s} to ${r.max_video_s} s grown around a moment inside the text.`,
    strict: `${text} Video: its own seconds, cut at ${r.max_video_s}.`,
    each: `Text: one caption, each once. Video: its own seconds, cut at ${r.max_video_s}.`,
    iou: `Text and video: two ranges of up to ${r.max_video_s} s drawn apart from each other, again and again until the `
      + `IoU is at least ${r.min_iou}.`,
    windows: `Text: a random caption. Video: a window that touches it, ${r.max_video_s} s long, every ${r.stride_s} s.`,
    bag: `Text: a random caption and its nearest ${r.bag - 1}. Video: ${r.min_video_s} s around its middle.`,
  }[rule];
}

function render({ model, el }) {
  const { panel, live, root, on, undo, looks, redraw, end } = begin({ model, el }, "pairs", STYLE);
  const drawings = { ...panel.drawings }, rules = Object.keys(drawings);
  const state = { video: 0, rule: rules[0], draw: 0, seed: 0 };
  let waiting = null;

  // -------------------------------------------------------------------------------------------- the pure part
  // what is shown after draws 0 to `draw` of a video: the last pair, its captions, and the numbers of all of them
  function update(id, rule, draw) {
    const i = panel.videos.findIndex((v) => v.id === id), rows = drawings[rule].pairs[i].slice(0, draw + 1);
    const said = panel.videos[i].captions, [first, last, start, stop, tokens, iou, right] = rows[draw];
    const steps = rows.map((row) => row[5]), judged = rows.map((row) => row[6]).filter((shows) => shows !== null);
    return { video: id, rule, draw,
      pair: { first, last, text: [said[first][0], said[last][1]], clip: [start, stop], tokens, iou: iou / STEPS, shows: right },
      words: said.slice(first, last + 1).map((caption) => caption[2]),
      histogram: counts(steps), ...summary(steps),
      shows: judged.length ? judged.filter(Boolean).length / judged.length : null, judged: judged.length };
  }

  // ---------------------------------------------------------------------------------------------- the document
  const tools = node("div", { className: "tools" });
  const videos = node("select", { "aria-label": "video" });
  const buttons = rules.map((rule) => node("button", { type: "button", textContent: rule }));
  const told = node("p", { className: "soft" });
  const plot = node("div", { className: "plot", tabIndex: 0, role: "application", "aria-label":
    "Pairs on the time of the video. Right draws another, left goes back, up and down change the rule, End shows all." });
  const lanes = node("canvas"), readout = node("p", { className: "readout", role: "status" });
  const spoken = node("p", { className: "spoken" }), key = node("div", { className: "key soft" });
  const another = node("button", { type: "button", textContent: "draw another" });
  const back = node("button", { type: "button", textContent: "one back" });
  const more = node("button", { type: "button", textContent: "25 more" });
  const whole = node("button", { type: "button", textContent: "all" });
  const anew = node("button", { type: "button", textContent: "from the first" });
  const counted = node("span", { className: "soft" });
  const chart = node("canvas"), chartBox = node("div"), table = node("table", { className: "numeric" });
  const wishes = node("div", { className: "tools" }), wishNote = node("p", { className: "note", role: "status" });
  const fields = {};

  function build() {
    for (const video of panel.videos) videos.append(node("option", { value: video.id, textContent: video.id }));
    const group = node("span", { className: "group", role: "group", "aria-label": "rule" }, "rule ", ...buttons);
    tools.append(node("label", {}, "video ", videos), group);
    const drawing = node("div", { className: "tools" }, another, back, more, whole, anew, counted);
    plot.append(lanes);
    const help = "Underlined: said while the clip lasts. Bold: names a step. Right and left keys draw and go back, up and "
      + "down change the rule.";
    const left = node("div", {}, told, drawing, plot, readout, spoken, node("p", { className: "soft", textContent: help }), key);
    chartBox.append(node("h4", { textContent: "IoU of the text's and the clip's time" }), chart, chartKey());
    const right = node("div", { className: "below" }, chartBox, node("div", {}, table, newDraws()));
    root.append(tools, node("div", { className: "body" }, left, right));
  }

  function chartKey() {
    return node("div", { className: "key soft" }, node("span", {}, swatch("var(--mark)"), `drawn so far (as shares of at least ${FEW})`),
      node("span", {}, swatch("var(--line)"), "many, all videos"), node("span", {}, swatch(MARK), "this pair"));
  }

  function newDraws() {
    const box = node("div");
    if (!live || !panel.asks) {
      const why = "Stored draws. Run the notebook to draw anew, with other limits.";
      box.append(node("p", { className: "soft", textContent: why }));
      return box;
    }
    for (const [name, label, step] of [["max_text_tokens", "tokens up to", 1], ["max_video_s", "seconds up to", 1],
      ["min_iou", "IoU from", 0.05]]) {
      fields[name] = node("input", { type: "number", min: step, step, "aria-label": label });
      wishes.append(node("label", {}, `${label} `, fields[name]));
    }
    const ask = node("button", { type: "button", textContent: "new draws" });
    on(ask, "click", wish);
    wishes.append(ask);
    box.append(wishes, wishNote);
    return box;
  }

  // ------------------------------------------------------------------------------------------------ what is chosen
  const rows = () => drawings[state.rule].pairs[state.video];

  function choose(change) {
    const other = ("rule" in change && change.rule !== state.rule) || ("video" in change && change.video !== state.video);
    Object.assign(state, change);
    if (other && !("draw" in change)) state.draw = 0;
    state.draw = clamp(state.draw, 0, rows().length - 1);
    if (other) limits();
    show();
  }

  function limits() {
    for (const [name, field] of Object.entries(fields)) {
      field.value = drawings[state.rule].rule[name];
      field.disabled = name === "min_iou" ? state.rule !== "iou" : name === "max_text_tokens" && !["overlapped", "strict"].includes(state.rule);
    }
  }

  function show() {
    root.shown = update(panel.videos[state.video].id, state.rule, state.draw);
    videos.value = panel.videos[state.video].id;
    buttons.forEach((button, i) => button.setAttribute("aria-pressed", String(rules[i] === state.rule)));
    told.textContent = ruleWords(drawings[state.rule].rule);
    counted.textContent = `draw ${state.draw + 1} of ${rows().length}`;
    another.disabled = more.disabled = whole.disabled = state.draw >= rows().length - 1;
    back.disabled = anew.disabled = state.draw === 0;
    say();
    tabulate();
    draw();
  }

  function say() {
    const { pair } = root.shown, video = panel.videos[state.video];
    const seconds = (a, b) => `${a.toFixed(1)} to ${b.toFixed(1)} ${panel.unit === "second" ? "s" : panel.unit}`;
    const right = pair.shows === null ? "the text names no step, or nobody knows" : pair.shows
      ? "the clip shows a step that the text names" : "the clip shows no step that the text names";
    readout.textContent = `text ${seconds(...pair.text)}, ${pair.tokens} tokens · clip ${seconds(...pair.clip)} · `
      + `IoU ${pair.iou.toFixed(2)} · ${right}`;
    spoken.replaceChildren(...video.captions.slice(pair.first, pair.last + 1).flatMap(([start, stop, text], i) => {
      const inside = start < pair.clip[1] && stop > pair.clip[0], names = video.names[pair.first + i];
      return [node("span", { className: `${inside ? "inside" : ""} ${names ? "names" : ""}`, textContent: text,
        title: names ? `names: ${names}` : "" }), " "];
    }));
    const steps = [...new Set(video.truth.map((span) => span[2]))];
    key.replaceChildren(...steps.map((text, i) => node("span", {}, swatch(stepColour(i), String(i + 1)), text)));
    if (!steps.length) key.append("No annotated segment in this video.");
  }

  function tabulate() {
    const shown = root.shown, { many, accepted } = drawings[state.rule];
    const percent = (v) => (v === null ? "–" : `${(100 * v).toFixed(0)} %`), two = (v) => (v === null ? "–" : v.toFixed(2));
    const cells = (tag, texts) => node("tr", {}, ...texts.map((textContent) => node(tag, { textContent })));
    table.replaceChildren(
      cells("th", ["", `so far (${shown.draw + 1})`, `many (${many.n})`]),
      cells("td", ["mean IoU", two(shown.mean_iou), two(many.mean_iou)]),
      cells("td", ["IoU of one half or more", percent(shown.half), percent(many.half)]),
      cells("td", [`clip shows a named step${shown.judged ? ` (of ${shown.judged})` : ""}`, percent(shown.shows), percent(many.shows)]));
    if (accepted !== null) table.append(cells("td", ["tries that the rule keeps", "", `${(100 * accepted).toFixed(1)} %`]));
  }

  // ------------------------------------------------------------------------------------------------------- drawing
  const BAND = 24, THIN = 13;
  const width = () => plot.clientWidth;
  const seconds = () => panel.videos[state.video].seconds;
  const x = (t) => GUTTER + (clamp(t, 0, seconds()) / seconds()) * (width() - GUTTER - RIGHT);
  const stepColour = (i) => panel.palette[(i + 2) % panel.palette.length]; // the first two are the pair's

  function draw() {
    if (!root.isConnected || width() < 60 || !root.shown) return;
    const look = looks();
    drawLanes(look);
    drawChart(look);
  }

  function drawLanes(look) {
    const { ink, soft, line } = look, video = panel.videos[state.video], { pair } = root.shown, tall = 4 * BAND + EARLIER * THIN + 36;
    const p = canvasPen(lanes, width(), tall), steps = [...new Set(video.truth.map((span) => span[2]))];
    ["said", "step", "text", "clip"].forEach((name, i) => lane(p, name, x(0), x(seconds()), i * BAND + 3, BAND - 6, look));
    for (const [start, stop, text] of video.captions) said(p, start, stop, text, line, ink);
    for (const [start, stop, text] of video.truth) bar(p, start, stop, BAND + 3, BAND - 6, stepColour(steps.indexOf(text)), String(steps.indexOf(text) + 1), ink);
    for (const [ends, fill, top] of [[pair.text, TEXT, 2], [pair.clip, CLIP, 3]]) {
      p.fillStyle = fill;
      for (const t of ends) p.fillRect(x(t) - 1, 0, 2, top * BAND + 3);
    }
    bar(p, ...pair.text, 2 * BAND + 3, BAND - 6, TEXT, `${pair.tokens} tokens`, ink);
    bar(p, ...pair.clip, 3 * BAND + 3, BAND - 6, CLIP, `${pair.clip[1] - pair.clip[0]} s`, ink);
    earlier(p, soft, ink);
    timeAxis(p, x, seconds(), 4 * BAND + EARLIER * THIN + 6, panel.unit, look);
  }

  function said(p, start, stop, text, line, ink) {
    const left = x(start), wide = Math.max(1, x(stop) - left - 1);
    p.fillStyle = line;
    p.fillRect(left, 3, wide, BAND - 6);
    p.fillStyle = ink;
    p.textAlign = "left";
    if (wide > 30) p.fillText(fitted(p, text, wide - 6), left + 3, BAND / 2);
  }

  function bar(p, start, stop, top, h, fill, text, ink) {
    const left = x(start), wide = Math.max(1, x(stop) - left - 1);
    p.fillStyle = fill;
    p.fillRect(left, top, wide, h);
    p.strokeStyle = ink;
    p.lineWidth = 0.5;
    if (wide > 3) p.strokeRect(left, top, wide, h); // black on a dark ground is seen, too
    p.fillStyle = dark(fill) ? "#ffffff" : "#000000";
    p.textAlign = "center";
    if (p.measureText(text).width < wide - 4) p.fillText(text, left + wide / 2, top + h / 2 + 1);
  }

  function earlier(p, soft, ink) {
    const captions = panel.videos[state.video].captions, from = 4 * BAND + 4;
    p.fillStyle = soft;
    p.textAlign = "right";
    p.fillText("earlier", GUTTER - 6, from + THIN / 2);
    p.globalAlpha = 0.75;
    for (let i = 0; i < EARLIER && state.draw - 1 - i >= 0; i++) {
      const [first, last, start, stop] = rows()[state.draw - 1 - i], top = from + i * THIN;
      p.fillStyle = TEXT;
      p.fillRect(x(captions[first][0]), top, x(captions[last][1]) - x(captions[first][0]), 4);
      p.fillStyle = CLIP;
      p.fillRect(x(start), top + 5, Math.max(1, x(stop) - x(start)), 4);
    }
    p.globalAlpha = 1;
  }

  // what is drawn so far (bars) before the shares of many (grey)
  function drawChart({ ink, soft, line, mark }) {
    const w = Math.max(80, chartBox.clientWidth), tall = 150, bottom = tall - 22, p = canvasPen(chart, w, tall);
    const { many } = drawings[state.rule], mine = root.shown.histogram, n = Math.max(FEW, state.draw + 1);
    const highest = Math.max(0.1, ...many.histogram.map((c) => c / Math.max(1, many.n)), ...mine.map((c) => c / n));
    const at = (iou) => 46 + iou * (w - 58), up = (share) => bottom - (share / highest) * (bottom - 14);
    for (let i = 0; i < BINS; i++) {
      const left = at(i / BINS), wide = at((i + 1) / BINS) - left;
      p.fillStyle = line;
      p.fillRect(left, up(many.histogram[i] / Math.max(1, many.n)), wide, bottom - up(many.histogram[i] / Math.max(1, many.n)));
      p.fillStyle = mark;
      p.fillRect(left + wide * 0.22, up(mine[i] / n), wide * 0.56, bottom - up(mine[i] / n));
    }
    p.fillStyle = soft;
    p.fillRect(at(0), bottom, at(1) - at(0), 1);
    p.textAlign = "center";
    for (const iou of [0, 0.25, 0.5, 0.75, 1]) p.fillText(String(iou), at(iou), bottom + 12);
    p.textAlign = "right";
    p.fillText(`${(100 * highest).toFixed(0)} %`, 42, 14);
    p.fillText("0", 42, bottom);
    p.fillStyle = MARK;
    p.beginPath();
    p.moveTo(at(root.shown.pair.iou), 12);
    p.lineTo(at(root.shown.pair.iou) - 5, 2);
    p.lineTo(at(root.shown.pair.iou) + 5, 2);
    p.fill();
    p.fillRect(at(root.shown.pair.iou) - 1, 10, 2, bottom - 10);
  }

  // ------------------------------------------------------------------------------------------------------- the kernel
  function wish() {
    const message = { rule: state.rule, seed: (state.seed += 1) };
    for (const [name, field] of Object.entries(fields)) if (!field.disabled) message[name] = Number(field.value);
    wishNote.textContent = "Asking the kernel …";
    clearTimeout(waiting);
    waiting = setTimeout(() => { wishNote.textContent = "No answer: is the kernel running, and idle?"; }, 30000);
    model.send({ draw: message });
  }

  function receive(message) {
    if (!message || !message.answer) return;
    const { rule, note, drawing } = message.answer;
    clearTimeout(waiting);
    wishNote.textContent = note;
    if (!drawing || !(rule in drawings)) return;
    drawings[rule] = drawing;
    choose({ rule, draw: 0 });
    limits();
    wishNote.textContent = `New: ${rows().length} draws of each video.`;
  }

  // ------------------------------------------------------------------------------------------------- pointer and keys
  const KEYS = {
    ArrowRight: (far) => ({ draw: state.draw + far }),
    ArrowLeft: (far) => ({ draw: state.draw - far }),
    ArrowUp: () => ({ rule: rules[(rules.indexOf(state.rule) + rules.length - 1) % rules.length] }),
    ArrowDown: () => ({ rule: rules[(rules.indexOf(state.rule) + 1) % rules.length] }),
    Home: () => ({ draw: 0 }),
    End: () => ({ draw: rows().length - 1 }),
  };

  function type(event) {
    if (event.target !== plot || !(event.key in KEYS) || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    event.stopPropagation();
    choose(KEYS[event.key](event.shiftKey ? 5 : 1));
  }

  function point(event) {
    const t = ((event.clientX - plot.getBoundingClientRect().left - GUTTER) / (width() - GUTTER - RIGHT)) * seconds();
    const y = event.clientY - lanes.getBoundingClientRect().top, video = panel.videos[state.video];
    const spans = y < BAND ? video.captions : y < 2 * BAND ? video.truth : [];
    plot.title = spans.filter(([start, stop]) => start <= t && stop > t).map((span) => span[2]).join("; ");
  }

  // --------------------------------------------------------------------------------------------------------- start
  if (!rules.length) {
    root.append(node("p", { textContent: "There is nothing to draw from." }));
    return end;
  }
  build();
  buttons.forEach((button, i) => on(button, "click", () => choose({ rule: rules[i] })));
  on(videos, "change", () => choose({ video: panel.videos.findIndex((v) => v.id === videos.value) }));
  on(another, "click", () => choose({ draw: state.draw + 1 }));
  on(back, "click", () => choose({ draw: state.draw - 1 }));
  on(more, "click", () => choose({ draw: state.draw + 25 }));
  on(whole, "click", () => choose({ draw: rows().length - 1 }));
  on(anew, "click", () => choose({ draw: 0 }));
  on(plot, "keydown", type);
  on(plot, "mousemove", point);
  model.on("msg:custom", receive);
  root.update = update; // where a test may ask
  undo.push(() => { root.update = root.shown = null; });
  limits();
  show();
  redraw(root, draw);
  return () => {
    clearTimeout(waiting);
    if (model.off) model.off("msg:custom", receive);
    end();
  };
}

export default { render };
