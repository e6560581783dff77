// What the panels of vcwork.panels share: looks, the document, drawing, and the host without a kernel.
//
// One text, two hosts: a panel's own module follows this one and defines `render`; anywidget calls it with a live model,
// a standalone page through `standalone`. Modules draw what Python computed. Data reaches the document through
// textContent and canvas text only. What listens is given back by the function that `render` returns.

const LIGHT = "--own-ink: #1c2026; --soft: #565e69; --own-line: #c9d0d8; --own-ground: #ffffff; --own-card: #f2f4f7; "
  + "--own-mark: #0b62b8; color-scheme: light;";
const DARK = "--own-ink: #e4e8ed; --soft: #b4bdc7; --own-line: #3d4650; --own-ground: #14171b; --own-card: #22272e; "
  + "--own-mark: #7db4f5; color-scheme: dark;";
const LOOK = `
.vcwork { ${LIGHT} --ink: var(--jp-content-font-color1, var(--own-ink));
  --line: var(--jp-border-color1, var(--own-line)); --ground: var(--jp-layout-color0, var(--own-ground));
  --card: var(--jp-layout-color2, var(--own-card)); --mark: var(--jp-brand-color1, var(--own-mark));
  font: 14px/1.4 system-ui, sans-serif; color: var(--ink); background: var(--ground); padding: .5rem;
  container-type: inline-size; }
@media (prefers-color-scheme: dark) { .vcwork { ${DARK} } }
body[data-jp-theme-light="true"] .vcwork { ${LIGHT} }
body[data-jp-theme-light="false"] .vcwork { ${DARK} }
.vcwork * { box-sizing: border-box; }
.vcwork [hidden] { display: none !important; }
.vcwork h3 { margin: 0 0 .4rem; font-size: 1.05rem; overflow-wrap: anywhere; }
.vcwork h4 { margin: .4rem 0 0; font-size: .88em; font-weight: 600; }
.vcwork .unseen { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
.vcwork p { margin: .2rem 0; overflow-wrap: anywhere; }
.vcwork .soft { color: var(--soft); font-size: .88em; }
.vcwork .note { border-left: 3px solid #D55E00; padding-left: .5rem; }
.vcwork .note:empty { display: none; }
.vcwork input, .vcwork button, .vcwork select { font: inherit; color: var(--ink);
  background: var(--card); border: 1px solid var(--line); border-radius: 4px; padding: .2rem .5rem; }
.vcwork input[type="range"] { padding: 0; accent-color: var(--mark); }
.vcwork button { cursor: pointer; }
.vcwork button[aria-pressed="true"] { border-color: var(--mark); box-shadow: inset 0 0 0 1px var(--mark); }
.vcwork .tools { display: flex; flex-wrap: wrap; gap: .3rem 1rem; align-items: center; margin-bottom: .3rem; }
.vcwork .plot { position: relative; outline-offset: 3px; cursor: crosshair; }
.vcwork .plot canvas { display: block; width: 100%; }
.vcwork .readout { min-height: 2.8em; margin-top: .3rem; }
.vcwork table { border-collapse: collapse; color: var(--ink); font-size: .92em; }
.vcwork td, .vcwork th { padding: .15rem .6rem .15rem 0; text-align: left; background: none; }
.vcwork table.numeric { width: 100%; table-layout: auto; font-variant-numeric: tabular-nums; }
.vcwork .numeric :is(td, th):first-child { text-align: left; }
.vcwork .numeric :is(td, th) + :is(td, th) { text-align: right; }
.vcwork .numeric td + td { white-space: nowrap; }
.vcwork .key { display: flex; flex-wrap: wrap; gap: .1rem 1rem; margin: .3rem 0; }
.vcwork .key .swatch { display: inline-block; min-width: 1.3em; margin-right: .35em; text-align: center;
  border: 1px solid var(--line); font-size: .88em; }
.vcwork :focus-visible { outline: 2px solid var(--mark); }
`;

const FONT = "12px system-ui, sans-serif";
const MARK = "#D55E00";

// JupyterLab takes keys (arrows, Enter) from whatever has the focus inside a notebook, unless that element itself, not
// only one around it, says otherwise
const SUPPRESS = "data-lm-suppress-shortcuts";
const TYPED = ["input", "select", "button", "textarea", "video", "summary", "a"];

function node(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  if (TYPED.includes(tag) || "tabIndex" in properties) made.setAttribute(SUPPRESS, "true");
  for (const [key, value] of Object.entries(properties)) {
    if (key in made && key !== "list") made[key] = value;
    else made.setAttribute(key, value);
  }
  made.append(...children); // strings become text nodes
  return made;
}

function clamp(value, low, high) {
  return Math.max(low, Math.min(high, value));
}

function clock(seconds, unit = "second") {
  if (unit !== "second") return `${unit} ${Math.floor(seconds) + 1}`;
  const whole = Math.floor(seconds);
  return whole < 60 ? `${whole} s` : `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}

// the text, or its beginning, in so many pixels
function fitted(pen, text, width) {
  if (pen.measureText(text).width <= width) return text;
  let low = 0, high = text.length;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (pen.measureText(text.slice(0, middle) + "…").width <= width) low = middle;
    else high = middle - 1;
  }
  return text.slice(0, low).trimEnd() + "…";
}

function dark(hex) {
  const [r, g, b] = [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
  return 0.3 * r + 0.59 * g + 0.11 * b < 140;
}

// a patch of colour for a `.key`, with what stands in it
function swatch(fill, text = "\u00a0") {
  const made = node("span", { className: "swatch", textContent: text });
  made.style.background = fill;
  if (fill.startsWith("#")) made.style.color = dark(fill) ? "#ffffff" : "#000000";
  return made;
}

// a canvas of so many CSS pixels, sharp on dense screens; its context
function canvasPen(canvas, w, h) {
  const dense = Math.min(window.devicePixelRatio || 1, 16000 / Math.max(w, h));
  canvas.width = Math.round(w * dense);
  canvas.height = Math.round(h * dense);
  canvas.style.width = `${w}px`;
  canvas.style.height = `${h}px`;
  const context = canvas.getContext("2d");
  context.scale(dense, dense);
  context.font = FONT;
  context.textBaseline = "middle";
  return context;
}

// seconds between two marks of a time axis that is `seconds` long on `width` pixels
function tick(seconds, width) {
  const steps = [1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600];
  return steps.find((step) => (step / seconds) * width >= 44) || 7200;
}

// an empty lane of a time axis from `left` to `right`, its name before it
function lane(p, name, left, right, top, h, { ink, card }) {
  p.fillStyle = card;
  p.fillRect(left, top, right - left, h);
  p.fillStyle = ink;
  p.textAlign = "right";
  p.fillText(name, left - 6, top + h / 2);
}

// marks and times below lanes; x: place of a second
function timeAxis(p, x, seconds, base, unit, { soft }) {
  const step = tick(Math.max(1, seconds), x(seconds) - x(0));
  p.fillStyle = soft;
  p.textAlign = "center";
  for (let t = 0; t <= seconds; t += step) {
    p.fillRect(x(t), base, 1, 4);
    p.fillText(unit === "second" ? clock(t) : String(t), x(t), base + 13);
  }
}

// bytes of a media file as the host gives them
function fileOf(model, name) {
  const data = (model.get("media") || {})[name];
  return data && data.byteLength ? data : null;
}

// where the sheet of thumbnails can be had, null where there is none
function sheetUrl(model, panel, blob) {
  const bytes = fileOf(model, "sheet");
  return bytes && panel.sheet ? blob(bytes, "image/jpeg") : null;
}

function wordsOf(text) {
  return text.toLowerCase().split(/\s+/).filter(Boolean);
}

// what a panel begins with: its root below title and notes, its listeners, its colours, redrawing when looks change
function begin({ model, el }, name, style = "") {
  const panel = model.get("panel"), live = Boolean(model.get("live")), undo = [];
  const root = node("div", { className: `vcwork vcwork-${name}`, [SUPPRESS]: "true" });
  root.append(node("style", { textContent: LOOK + style }));
  if (panel.title) root.append(node("h3", { textContent: panel.title }));
  for (const note of panel.notes) root.append(node("p", { className: "note", textContent: note }));
  el.replaceChildren(root);
  const on = (target, name, act, options) => {
    target.addEventListener(name, act, options);
    undo.push(() => target.removeEventListener(name, act, options));
  };
  const colour = (name) => getComputedStyle(root).getPropertyValue(`--${name}`).trim();
  const looks = () => Object.fromEntries(["ink", "soft", "card", "line", "mark", "ground"].map((name) => [name, colour(name)]));
  const blob = (file, type) => {
    const made = URL.createObjectURL(new Blob([file], { type }));
    undo.push(() => URL.revokeObjectURL(made));
    return made;
  };
  // calls draw now, and whenever `target` changes its size or the page its theme
  const redraw = (target, draw) => {
    const sized = new ResizeObserver(() => root.isConnected && draw());
    sized.observe(target);
    // JupyterLab hides itself while it changes its theme and is back in the next frame: before that nothing has a width
    const themed = new MutationObserver(() => requestAnimationFrame(() => draw()));
    themed.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-name", "data-jp-theme-light"] });
    on(window.matchMedia("(prefers-color-scheme: dark)"), "change", () => draw());
    undo.push(() => { sized.disconnect(); themed.disconnect(); });
    draw();
  };
  const end = () => undo.splice(0).forEach((act) => act());
  return { panel, live, root, on, undo, colour, looks, blob, redraw, end };
}

// the i-th thumbnail of a sheet made by vcwork.panels.base.sheet, as an element; `where` is its {side, columns, n}; what
// it belongs to is told in words beside it
function thumbnail(url, where, i, size = where.side) {
  const scale = size / where.side, rows = Math.max(1, Math.ceil(where.n / where.columns));
  const made = node("span", { className: "thumbnail", "aria-hidden": "true" });
  Object.assign(made.style, { display: "inline-block", width: `${size}px`, height: `${size}px`,
    backgroundImage: `url("${url}")`, backgroundSize: `${where.columns * size}px ${rows * size}px`,
    backgroundPosition: `-${(i % where.columns) * where.side * scale}px -${Math.floor(i / where.columns) * where.side * scale}px` });
  return made;
}

// the same, stretching with its element: sizes in shares of it, not in pixels
function stretched(url, where, i) {
  const made = thumbnail(url, where, i), rows = Math.max(1, Math.ceil(where.n / where.columns));
  const x = i % where.columns, y = Math.floor(i / where.columns), share = (at, n) => (n > 1 ? (100 * at) / (n - 1) : 0);
  made.style.backgroundSize = `${where.columns * 100}% ${rows * 100}%`;
  made.style.backgroundPosition = `${share(x, where.columns)}% ${share(y, rows)}%`;
  return made;
}

// The host without a kernel: a model that only knows what is in the page.
function standalone(digest, state, media) {
  const files = {};
  for (const [name, data] of Object.entries(media)) files[name] = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
  const model = { get: (key) => (key === "media" ? files : state[key]), on() {}, off() {}, send() {} };
  for (const el of document.querySelectorAll(`[data-panel="${digest}"]:not([data-ready])`)) {
    el.dataset.ready = "yes";
    render({ model, el });
  }
}
