// The panel of vcwork.panels.training: small curves over updates, all read at the same one.

const STYLE = `
.vcwork-training .plots { display: grid; gap: .6rem .9rem; grid-template-columns: repeat(3, minmax(0, 1fr));
  outline-offset: 4px; }
@container (min-width: 1250px) { .vcwork-training .plots { grid-template-columns: repeat(5, minmax(0, 1fr)); } }
@container (max-width: 560px) { .vcwork-training .plots { grid-template-columns: minmax(0, 1fr); } }
.vcwork-training .one { min-width: 0; }
.vcwork-training .legend { display: flex; flex-wrap: wrap; gap: 0 .8rem; font-size: .82em; min-height: 1.3em;
  font-variant-numeric: tabular-nums; }
.vcwork-training .legend i { display: inline-block; width: 1.4em; margin-right: .35em; vertical-align: middle; }
.vcwork-training canvas { display: block; width: 100%; cursor: crosshair; }
.vcwork-training .tall { overflow: auto; max-height: 11rem; }
.vcwork.vcwork-training table { table-layout: auto; margin: 0; }
.vcwork-training progress { width: 8rem; accent-color: var(--mark); }
`;

const DASHES = [[], [6, 3], [2, 3]]; // of the bold curves: none is told by its colour alone
const TALL = 118, LEFT = 52, LOW = 16;

// which point is read at an update, as in Python's update(); null where there is none
function pointAt(points, step) {
  if (!points.to.length) return null;
  const found = step === null ? -1 : points.to.findIndex((end) => end >= step);
  return found < 0 ? points.to.length - 1 : found;
}

// running means over n points; where too few are known there is none
function smoothed(values, n) {
  if (n < 2 || values.length < n) return values;
  return values.map((_, i) => {
    const from = i - ((n - 1) >> 1), some = values.slice(Math.max(0, from), from + n).filter((v) => v !== null);
    return from < 0 || from + n > values.length || some.length < n ? null : some.reduce((a, b) => a + b, 0) / n;
  });
}

function short(value) {
  if (value === null || value === undefined) return "–";
  const size = Math.abs(value);
  return size >= 1000 || (size < 0.001 && size > 0) ? value.toExponential(1) : String(Number(value.toPrecision(3)));
}

// two digits, for an axis
function brief(value) {
  return Math.abs(value) >= 100 ? value.toFixed(0) : short(Number(value.toPrecision(2)));
}

function render({ model, el }) {
  const { live, root, on, looks, redraw, end } = begin({ model, el }, "training", STYLE);
  let panel = model.get("panel");
  const state = { step: null }; // the update that is read; null: the last

  // ------------------------------------------------------------------------------------------ the document
  const place = node("span", { role: "status" }), bar = node("progress", { max: 1, value: 0 });
  // no button here: what a page sends while a cell runs is read when the cell has ended
  const ways = node("p", { className: "soft", textContent: "To stop, press ■ (interrupt) in the notebook's bar: training ends "
    + "after the current update and keeps its state, and the same cell goes on from there. Pressed twice, it does not wait." });
  const readout = node("p", { className: "readout", role: "status" });
  const grid = node("div", { className: "plots", tabIndex: 0, role: "application",
    "aria-label": "Curves of training. Arrow keys move to another update, End to the last." });
  const cells = panel.plots.map((plot) => cell(plot.title));
  const checks = cell("validation after each epoch");
  const table = node("div", { className: "tall" });

  function cell(title) {
    const legend = node("div", { className: "legend" }), canvas = node("canvas"), heading = node("h4", { textContent: title });
    return { root: node("div", { className: "one" }, heading, legend, canvas), heading, legend, canvas, title };
  }

  function build() {
    root.append(node("div", { className: "tools" }, bar, place), ways);
    grid.append(...cells.map((one) => one.root), checks.root);
    checks.root.append(table);
    root.append(grid, readout);
    const marks = "Pale: as it is. Bold: mean of ten updates. Grey ground: batches of similar videos. "
      + "Upright lines: an epoch ends. Point at a curve to read all of them there.";
    root.append(node("p", { className: "soft", textContent: marks }));
  }

  // ------------------------------------------------------------------------------------------------------ drawing
  let wide = 0, look = {}; // asked for once a drawing: each question after a change lays the page out anew
  const width = () => wide;
  const last = () => Math.max(1, panel.done);
  const x = (step) => LEFT + ((step + 1) / last()) * (width() - LEFT - 6);

  function draw() {
    wide = cells[0].root.clientWidth;
    if (!root.isConnected || wide < 40) return;
    look = looks();
    panel.plots.forEach((plot, i) => drawPlot(plot, cells[i]));
    drawChecks();
    tell();
  }

  function drawPlot(plot, one) {
    const { points } = panel, names = Object.entries(plot.curves);
    const known = names.some(([, key]) => points[key].some((v) => v !== null));
    const at = pointAt(points, state.step);
    one.legend.replaceChildren();
    if (!known) {
      const why = !points.to.length ? "no update yet" : "false_negatives" === names[0][1] ? "truth unknown" : "not recorded";
      one.legend.append(node("span", { className: "soft", textContent: why }));
      canvasPen(one.canvas, width(), TALL);
      return;
    }
    const [low, high, room] = range(plot, names), y = (v) => 6 + (1 - (v - low) / (high - low)) * (TALL - 6 - LOW);
    const p = ground(one.canvas, low, high, room);
    Object.entries(plot.lines).forEach(([name, value]) => {
      p.strokeStyle = look.soft;
      p.setLineDash([5, 3]);
      line(p, [[x(0), y(value)], [x(last() - 1), y(value)]]);
      p.setLineDash([]);
      item(one.legend, `${name} ${short(value)}`, null);
    });
    names.forEach(([name, key], i) => {
      const middle = points.to.map((to, j) => (points.from[j] + to) / 2), hue = inkOf(i);
      const bold = smoothed(points[key], panel.smooth);
      const pairs = (values) => values.map((v, j) => (v === null ? null : [x(middle[j]), y(v)]));
      p.strokeStyle = hue;
      p.globalAlpha = bold === points[key] ? 1 : 0.35;
      line(p, pairs(points[key]));
      p.globalAlpha = 1;
      p.lineWidth = 2;
      p.setLineDash(DASHES[i % DASHES.length]);
      if (bold !== points[key]) line(p, pairs(bold));
      p.setLineDash([]);
      p.lineWidth = 1;
      const v = points[key][at];
      item(one.legend, `${name} ${short(v)}`, hue, ["solid", "dashed", "dotted"][i % 3]);
      if (v === null) return;
      p.fillStyle = hue;
      p.beginPath();
      p.arc(x(middle[at]), y(v), 3.5, 0, 7);
      p.fill();
    });
  }

  // the first colour of the palette is hard to see on a dark ground
  const inkOf = (i) => (i ? panel.palette[i % panel.palette.length] : look.mark);

  function item(legend, text, hue, way = hue ? "solid" : "dashed") {
    const mark = node("i");
    mark.style.borderTop = `${hue ? 3 : 2}px ${way} ${hue || "var(--soft)"}`;
    legend.append(node("span", {}, mark, text));
  }

  function range(plot, names) {
    const values = [...names.flatMap(([, key]) => panel.points[key]), ...Object.values(plot.lines)].filter((v) => v !== null);
    const low = values.reduce((a, b) => Math.min(a, b)), high = values.reduce((a, b) => Math.max(a, b));
    const room = 0.04 * (high - low) || 0.5;
    return [low - room, high + room, room];
  }

  // axes, batches of similar videos, ends of epochs, the update that is read
  function ground(canvas, low, high, room = 0) {
    const p = canvasPen(canvas, width(), TALL), { points } = panel, bottom = TALL - LOW;
    p.fillStyle = look.card;
    points.similar.forEach((similar, i) => {
      if (!similar || points.similar[i - 1]) return;
      let j = i; // one ground for a run of points: between two there would be a seam
      while (points.similar[j + 1]) j += 1;
      p.fillRect(x(points.from[i] - 0.5), 6, Math.min(x(points.to[j] + 0.5), width() - 4) - x(points.from[i] - 0.5), bottom - 6);
    });
    p.strokeStyle = look.line;
    points.epoch.forEach((epoch, i) => i && epoch !== points.epoch[i - 1] && line(p, [[x(points.from[i] - 0.5), 6], [x(points.from[i] - 0.5), bottom]]));
    line(p, [[LEFT, 6], [LEFT, bottom], [width() - 4, bottom]]);
    const at = pointAt(points, state.step);
    if (state.step !== null) {
      p.strokeStyle = MARK;
      const here = x((points.from[at] + points.to[at]) / 2);
      line(p, [[here, 6], [here, bottom]]);
    }
    p.fillStyle = look.soft;
    p.font = "11px system-ui, sans-serif";
    p.textAlign = "right";
    const [top, foot] = [brief(high - room), brief(low + room)];
    p.fillText(top, LEFT - 5, top === foot ? (6 + bottom) / 2 : 11); // a curve that stays has one value
    if (top !== foot) p.fillText(foot, LEFT - 5, bottom - 4);
    p.fillText(String(panel.done), width() - 4, TALL - 6);
    p.textAlign = "left";
    p.fillText("update 1", LEFT, TALL - 6);
    return p;
  }

  function line(p, pairs) {
    p.beginPath();
    let open = false;
    for (const pair of pairs) {
      if (pair) p[open ? "lineTo" : "moveTo"](...pair);
      open = pair !== null;
    }
    p.stroke();
  }

  function drawChecks() {
    const { names, epochs } = panel.checks, name = names[0];
    checks.legend.replaceChildren();
    table.replaceChildren();
    const known = epochs.filter((one) => name !== undefined && one[name] !== null && one[name] !== undefined);
    if (!known.length) {
      checks.legend.append(node("span", { className: "soft", textContent: panel.running ? "after the first epoch" : "none" }));
      canvasPen(checks.canvas, width(), 1);
      return;
    }
    item(checks.legend, `${name} ${short(known[known.length - 1][name])}`, inkOf(0));
    const values = known.map((one) => one[name]), low = Math.min(0, ...values), high = Math.max(...values) || 1;
    const p = ground(checks.canvas, low, high), y = (v) => 6 + (1 - (v - low) / (high - low || 1)) * (TALL - 6 - LOW);
    p.strokeStyle = p.fillStyle = inkOf(0);
    p.lineWidth = 2;
    line(p, known.map((one) => [x(one.step), y(one[name])]));
    for (const one of known) {
      p.beginPath();
      p.arc(x(one.step), y(one[name]), 3.5, 0, 7);
      p.fill();
    }
    if (names.length < 2) return;
    const head = node("tr", {}, ...["epoch", ...names].map((text) => node("th", { textContent: text })));
    const rows = epochs.map((one) => node("tr", {}, ...[one.epoch + 1, ...names.map((key) => short(one[key]))]
      .map((text) => node("td", { textContent: String(text) }))));
    table.append(node("table", {}, head, ...rows));
  }

  // ------------------------------------------------------------------------------------------------------- in words
  function tell() {
    const { points } = panel, at = pointAt(points, state.step);
    bar.hidden = panel.done >= panel.total;
    bar.max = Math.max(1, panel.total);
    bar.value = panel.done;
    const share = panel.total > panel.done ? `${panel.done} of ${panel.total}` : String(panel.done);
    place.textContent = panel.done ? `${share} updates. ${panel.status}` : panel.status || (live ? "Waiting for the first update." : "No update yet.");
    ways.hidden = !panel.running || !live;
    root.dataset.point = at === null ? "" : String(at); // where a test may look
    if (at === null) {
      readout.textContent = "";
      return;
    }
    const first = points.from[at] + 1, to = points.to[at] + 1;
    const which = first === to ? `update ${first}` : `updates ${first} to ${to}`;
    readout.textContent = `${which}, epoch ${points.epoch[at] + 1}, batches of ${points.similar[at] ? "similar" : "random"} videos`
      + ` · loss ${short(points.loss[at])} · in-batch accuracy ${short(points.in_batch_accuracy[at])}`
      + ` · gradient norm ${short(points.grad_norm[at])} · learning rate ${short(points.lr[at])}`;
  }

  // ------------------------------------------------------------------------------------------------ pointer and keys
  function read(event) {
    const box = event.target.getBoundingClientRect();
    const step = Math.round(((event.clientX - box.left - LEFT) / (box.width - LEFT - 6)) * last() - 1);
    state.step = clamp(step, 0, last() - 1);
    draw();
  }

  function type(event) {
    const { points } = panel, at = pointAt(points, state.step);
    const moves = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10, Home: -Infinity };
    if (at === null || event.ctrlKey || event.metaKey || event.altKey || !(event.key in moves || event.key === "End")) return;
    event.preventDefault();
    event.stopPropagation();
    state.step = event.key === "End" ? null : points.to[clamp(at + moves[event.key], 0, points.to.length - 1)];
    draw();
  }

  function refresh() {
    panel = model.get("panel");
    draw();
  }

  build();
  for (const one of [...cells, checks]) {
    on(one.canvas, "mousemove", read);
    on(one.canvas, "mouseleave", () => { state.step = null; draw(); });
  }
  on(grid, "keydown", type);
  model.on("change:panel", refresh);
  redraw(grid, draw);
  return () => {
    if (model.off) model.off("change:panel", refresh);
    end();
  };
}

export default { render };
