// The panel of vcwork.panels.clusters: a batch as tiles, its numbers, what moved between epochs. Numbers come from
// Python; here only labels are compared, to say which tiles share a step, and pools, to say who stayed.

const STYLE = `
.vcwork-clusters .body { display: grid; gap: .8rem; grid-template-columns: minmax(0, 1fr); }
.vcwork-clusters .side { display: grid; gap: .4rem 1.5rem; grid-template-columns: minmax(0, 26rem) minmax(0, 1fr); align-content: start; }
@container (max-width: 640px) { .vcwork-clusters .side { grid-template-columns: minmax(0, 1fr); } }
@container (min-width: 1200px) {
  .vcwork-clusters .body { grid-template-columns: minmax(0, 1fr) 26rem; }
  .vcwork-clusters .side { grid-template-columns: minmax(0, 1fr); order: 2; } }
.vcwork-clusters label select { max-width: 26rem; }
.vcwork-clusters th { white-space: nowrap; }
.vcwork-clusters .tiles { outline-offset: 4px; }
.vcwork-clusters .group { display: grid; gap: .5rem; grid-template-columns: repeat(auto-fill, minmax(11.6rem, 1fr)); margin: .3rem 0 .6rem; }
.vcwork-clusters .tile { border: 1px solid var(--line); border-radius: 6px; padding: .3rem; background: var(--card);
  cursor: pointer; min-width: 0; font-size: .86em; outline: 3px solid transparent; outline-offset: -1px; }
.vcwork-clusters .tile.out { background: none; border-style: dotted; }
.vcwork-clusters .tile.out:not(.query) .frames { opacity: .6; }
.vcwork-clusters .tile.false { outline: 3px dashed #D55E00; }
.vcwork-clusters .tile[aria-selected="true"] { outline: 3px solid var(--mark); }
.vcwork-clusters .frames { display: grid; grid-auto-flow: column; grid-auto-columns: minmax(0, 1fr); gap: 2px; min-height: 3rem; }
.vcwork-clusters .frames .thumbnail { width: auto !important; aspect-ratio: 1; height: auto !important; max-width: 6rem; }
.vcwork-clusters .frames .none { color: var(--soft); align-self: center; }
.vcwork-clusters .name { font-weight: 600; line-height: 1.25; overflow-wrap: anywhere; }
.vcwork-clusters .badges { display: flex; flex-wrap: wrap; gap: .15rem .25rem; min-height: 1.5em; }
.vcwork-clusters .badge { border: 1px solid var(--soft); border-radius: 3px; padding: 0 .3em; white-space: nowrap; }
.vcwork-clusters .badge.strong { border-color: #D55E00; box-shadow: inset 3px 0 0 #D55E00; padding-left: .5em; }
.vcwork-clusters .meter { position: relative; height: 12px; background: var(--card); border: 1px solid var(--line); margin: .2rem 0; }
.vcwork-clusters .meter i { position: absolute; top: 0; bottom: 0; background: var(--soft); opacity: .55; }
.vcwork-clusters .meter b { position: absolute; top: -3px; bottom: -3px; width: 4px; margin-left: -2px; background: #D55E00; }
.vcwork-clusters ul { margin: .1rem 0 .3rem !important; padding-left: 1.1rem !important; }
`;

const percent = (share) => `${(100 * share).toFixed(share && share < 0.1 ? 1 : 0)} %`;

function render({ model, el }) {
  const { panel, root, on, blob, end } = begin({ model, el }, "clusters", STYLE);
  const url = sheetUrl(model, panel, blob);
  const last = panel.epochs.length - 1;
  const state = { query: 0, draw: 0, epoch: last, since: 0, tile: 0, hover: null };
  let tiles = []; // what is drawn, in order: {video, group, rank, distance, cosine, drawn, past}

  // ------------------------------------------------------------------------------------------ the document
  const tools = node("div", { className: "tools" }), selects = {};
  const grid = node("div", { className: "tiles", tabIndex: 0, role: "listbox",
    "aria-label": "Videos of the batch. Arrow keys move, Enter makes the chosen video the query." });
  const table = node("div"), readout = node("div", { className: "readout", role: "status" });
  const hint = node("p", { className: "soft", textContent: "Arrow keys move through the tiles, Enter or a double click "
    + "makes the chosen video the query. Dashed frame: shares a step with the chosen tile, a false negative if the two "
    + "meet in the loss. Distance: L2 to the query's vector; similarity: cosine of vectors around their mean." });

  function build() {
    if (!panel.queries.length) {
      root.append(node("p", { className: "note", textContent: "No video can be asked for: the list of queries is empty." }));
      return false;
    }
    chooser("query video", "query", panel.queries.map((v) => `${panel.videos[v].title || panel.videos[v].id} · ${panel.videos[v].id}`));
    chooser("batch", "draw", Array.from({ length: panel.draws }, (_, d) => `draw ${d + 1}`));
    chooser("epoch", "epoch", panel.epochs);
    if (last > 0) chooser("compared with", "since", panel.epochs);
    root.append(tools, node("div", { className: "body" }, node("div", { className: "side" }, table, readout),
      node("div", {}, grid, hint)));
    return true;
  }

  function chooser(label, key, texts) {
    const select = node("select", { "aria-label": label });
    texts.forEach((text, i) => select.append(node("option", { value: String(i), textContent: text })));
    select.value = String(state[key]);
    on(select, "change", () => {
      state[key] = Number(select.value);
      state.tile = 0;
      draw();
    });
    selects[key] = select;
    tools.append(node("label", {}, `${label} `, select));
  }

  // ------------------------------------------------------------------------------------------- who is in the batch
  const query = () => panel.queries[state.query];
  const pool = (epoch) => panel.pools[epoch][state.query];
  const others = (epoch) => pool(epoch).videos.filter((v) => v !== query());
  const numbers = () => panel.numbers[state.epoch][state.query][state.draw];

  function entry(epoch, v, group, drawn) {
    const { videos, distance, cosine } = pool(epoch), place = videos.indexOf(v);
    return { video: v, group, drawn, rank: others(epoch).indexOf(v) + 1, distance: distance[place], cosine: cosine[place] };
  }

  function listed() {
    const drawn = panel.places[state.query][state.draw].map((place) => pool(state.epoch).videos[place]);
    const left = others(state.since).filter((v) => !pool(state.epoch).videos.includes(v));
    const first = pool(state.epoch).videos.includes(query()) ? entry(state.epoch, query(), "query", drawn.includes(query()))
      : { video: query(), group: "query", drawn: false, rank: 0, distance: 0, cosine: 1 };
    return [first,
      ...drawn.filter((v) => v !== query()).map((v) => entry(state.epoch, v, "drawn", true)),
      ...others(state.epoch).filter((v) => !drawn.includes(v)).map((v) => entry(state.epoch, v, "near, but not drawn", false)),
      ...left.map((v) => ({ ...entry(state.since, v, `left since ${panel.epochs[state.since]}`, false), past: true }))];
  }

  function kin(v, w) {
    const a = panel.videos[v], b = panel.videos[w];
    if (!a.recipe || !b.recipe) return "";
    if (a.recipe === b.recipe) return "same recipe";
    return a.lookalike === b.recipe || b.lookalike === a.recipe ? "look-alike" : "other";
  }

  const clipsOf = (v) => (panel.clips.length ? panel.clips[state.draw][v] : []);

  // steps that clips of both show; none of a video with itself
  function shared(v, w) {
    if (v === w) return [];
    const there = new Set(clipsOf(w).map((clip) => clip[2]));
    return [...new Set(clipsOf(v).map((clip) => clip[2]))].filter((step) => step >= 0 && there.has(step)).sort((a, b) => a - b);
  }

  const falseTo = (tile) => tiles.filter((other) => other.drawn && tile.drawn && shared(tile.video, other.video).length);

  // ------------------------------------------------------------------------------------------------------- drawing
  const made = []; // the elements of the tiles

  function draw() {
    for (const [key, select] of Object.entries(selects)) select.value = String(state[key]);
    tiles = listed();
    state.tile = clamp(state.tile, 0, tiles.length - 1);
    state.hover = null;
    grid.replaceChildren();
    made.length = 0;
    for (const name of [...new Set(tiles.map((tile) => tile.group))]) {
      const group = node("div", { className: "group", role: "group", "aria-label": heading(name) });
      tiles.forEach((tile, i) => { if (tile.group === name) group.append(made[i] = card(tile, i)); });
      if (name !== "query") grid.append(node("h4", { textContent: heading(name), role: "presentation" }));
      grid.append(group);
    }
    tell();
    count();
    root.dataset.shown = JSON.stringify({ drawn: tiles.filter((t) => t.drawn).map((t) => panel.videos[t.video].id), tile: state.tile });
  }

  function heading(name) {
    const n = tiles.filter((tile) => tile.group === name).length;
    return name === "drawn" ? `${n} others drawn of the ${pool(state.epoch).videos.length} nearest` : `${name} (${n})`;
  }

  function card(tile, i) {
    const video = panel.videos[tile.video], frames = node("div", { className: "frames" });
    const where = panel.pictures[String(tile.video)];
    if (url && where) for (const at of where) frames.append(stretched(url, panel.sheet, at));
    else frames.append(node("span", { className: "none", textContent: "no picture" }));
    const far = tile.group === "query" ? (tile.drawn ? "query, in its batch" : "query, dropped from its batch")
      : tile.past ? `was rank ${tile.rank} · ${tile.distance.toFixed(2)} away`
        : `rank ${tile.rank} · ${tile.distance.toFixed(2)} away · cos ${tile.cosine.toFixed(2)}`;
    const badges = node("div", { className: "badges" });
    const one = node("div", { className: `tile${tile.drawn ? "" : " out"}${tile.group === "query" ? " query" : ""}`, role: "option", id: `${uid}-${i}`, title: video.title || video.id },
      frames, node("div", { className: "name", textContent: video.title || video.id }), node("div", { textContent: far }), badges);
    one.onclick = () => choose(i);
    one.ondblclick = () => ask(i);
    one.onmouseenter = () => { state.hover = i; tell(); };
    one.onmouseleave = () => { state.hover = null; tell(); };
    return one;
  }

  // marks and badges of all tiles, and the readout: for the tile under the pointer, or else the chosen one
  function tell() {
    const at = state.hover ?? state.tile, near = falseTo(tiles[at]);
    tiles.forEach((tile, i) => {
      made[i].setAttribute("aria-selected", String(i === state.tile));
      made[i].classList.toggle("false", near.includes(tile));
      made[i].querySelector(".badges").replaceChildren(...badges(tile, near.includes(tile)));
    });
    grid.setAttribute("aria-activedescendant", `${uid}-${state.tile}`);
    readout.replaceChildren(...details(tiles[at]));
  }

  function badges(tile, isFalse) {
    const relation = kin(query(), tile.video), n = falseTo(tile).length, found = [];
    if (isFalse) found.push(node("span", { className: "badge strong", textContent: "false negative" }));
    else if (n) found.push(node("span", { className: "badge", textContent: `false with ${n}` }));
    if (tile.group !== "query" && relation && relation !== "other") found.push(node("span", { className: "badge", textContent: relation }));
    if (state.epoch !== state.since && ["drawn", "near, but not drawn"].includes(tile.group))
      if (!pool(state.since).videos.includes(tile.video)) found.push(node("span", { className: "badge", textContent: "came" }));
    return found;
  }

  function details(tile) {
    const video = panel.videos[tile.video], relation = kin(query(), tile.video);
    const where = { query: tile.drawn ? "The query video; it is in this batch." : "The query video; the draw dropped it." };
    const parts = [node("h4", { textContent: video.title || video.id }),
      node("p", { textContent: [video.id, where[tile.group] || `${tile.past ? "was " : ""}rank ${tile.rank}, distance ${tile.distance.toFixed(3)}, `
        + `cosine ${tile.cosine.toFixed(3)}`, tile.group === "query" || !relation ? "" : relation === "other" ? "another recipe" : relation,
      tile.group === "query" ? "" : tile.group].filter(Boolean).join(" · ") })];
    const clips = clipsOf(tile.video);
    if (tile.drawn && clips.length) {
      parts.push(node("p", { className: "soft", textContent: `Its ${clips.length} clips here: ` + clips.map(([start, stop, step]) =>
        `${start}–${stop} s ${step >= 0 ? panel.steps[step] : "(no step)"}`).join("; ") }));
    }
    const near = falseTo(tile).map((other) => node("li", { textContent: `${panel.videos[other.video].title || panel.videos[other.video].id}: `
      + shared(tile.video, other.video).map((step) => `“${panel.steps[step]}”`).join(", ") }));
    if (near.length) parts.push(node("p", { textContent: "False negatives: clips of both show" }), node("ul", {}, ...near));
    else if (tile.drawn && clips.some((clip) => clip[2] >= 0)) parts.push(node("p", { className: "soft", textContent: "No clip of another video here shows one of its steps." }));
    return parts;
  }

  // ------------------------------------------------------------------------------------------------- the numbers
  function count() {
    const mine = numbers(), random = panel.random[state.epoch], rows = [];
    const show = (value, form) => (value === null ? "not known" : form(value));
    rows.push(["hardness: mean cosine of two videos", mine.hardness.toFixed(3), random.hardness.toFixed(3)]);
    rows.push(["purity: share of the commonest recipe", show(mine.purity, percent), show(random.purity, percent)]);
    rows.push(["steps in common, of two videos", show(mine.steps_in_common, percent), show(random.steps_in_common, percent)]);
    rows.push(["false negatives, of pairs of clips of different videos",
      show(mine.false_negatives, (share) => `${(100 * share).toFixed(2)} % (${mine.false_pairs})`), show(random.false_negatives, (share) => `${(100 * share).toFixed(2)} %`)]);
    const made = node("table", { className: "numeric" }, node("tr", {}, ...["", "this batch", "random ones"].map((text) => node("th", { textContent: text }))));
    for (const [name, ...values] of rows) {
      made.append(node("tr", {}, node("td", { textContent: name }), ...values.map((text) => node("td", { textContent: text }))));
    }
    table.replaceChildren(node("h4", { textContent: "how hard, and how false" }), made, meter(mine.hardness, random));
    table.append(node("p", { className: "soft", textContent: `Hardness: mark, this batch; band, 95 % of random batches (${random.low.toFixed(2)} to ${random.high.toFixed(2)}).` }));
    if (last > 0) table.append(...drift());
  }

  function meter(value, random) {
    const low = Math.min(-0.2, random.low, value), high = Math.max(1, random.high, value);
    const at = (v) => `${(100 * (v - low)) / (high - low)}%`;
    const band = node("i"), mark = node("b");
    Object.assign(band.style, { left: at(random.low), right: `calc(100% - ${at(random.high)})` });
    mark.style.left = at(value);
    return node("div", { className: "meter", role: "img", "aria-label": `hardness ${value}, random ${random.low} to ${random.high}` }, band, mark);
  }

  function drift() {
    const now = others(state.epoch), then = others(state.since), stayed = now.filter((v) => then.includes(v)).length;
    const heading = node("h4", { textContent: "drift of the neighbours" });
    if (state.epoch === state.since) return [heading, node("p", { className: "soft", textContent: "Choose two different epochs to compare." })];
    const all = panel.kept[state.epoch][state.since];
    const text = `From ${panel.epochs[state.since]} to ${panel.epochs[state.epoch]}: ${stayed} of ${now.length} neighbours stayed, `
      + `${now.length - stayed} came, ${then.filter((v) => !now.includes(v)).length} left.`
      + (all === null ? "" : ` Over all queries ${percent(all)} stayed.`);
    return [heading, node("p", { className: "drift", textContent: text })];
  }

  // ------------------------------------------------------------------------------------------------- pointer and keys
  const uid = `vcwork-${Math.random().toString(36).slice(2)}`;

  function choose(i) {
    state.tile = clamp(i, 0, tiles.length - 1);
    state.hover = null;
    tell();
    root.dataset.shown = JSON.stringify({ ...JSON.parse(root.dataset.shown), tile: state.tile });
  }

  function ask(i) {
    const at = panel.queries.indexOf(tiles[i].video);
    if (at < 0) {
      readout.append(node("p", { className: "note", textContent: "This video is not among the stored queries." }));
      return;
    }
    Object.assign(state, { query: at, tile: 0 });
    draw();
  }

  // the tile above or below: in the nearest line of tiles, the one whose middle is nearest
  function vertical(way) {
    const boxes = made.map((one) => one.getBoundingClientRect()), from = boxes[state.tile];
    const lines = boxes.map((box, i) => ({ i, dy: way * (box.top - from.top), dx: Math.abs(box.left - from.left) })).filter(({ dy }) => dy > 1);
    const next = Math.min(...lines.map(({ dy }) => dy));
    const line = lines.filter(({ dy }) => dy < next + 2).sort((a, b) => a.dx - b.dx);
    if (line.length) choose(line[0].i);
  }

  const KEYS = {
    ArrowLeft: () => choose(state.tile - 1),
    ArrowRight: () => choose(state.tile + 1),
    ArrowUp: () => vertical(-1),
    ArrowDown: () => vertical(1),
    Home: () => choose(0),
    End: () => choose(tiles.length - 1),
    Enter: () => ask(state.tile),
  };

  function type(event) {
    if (event.target !== grid || !(event.key in KEYS) || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    event.stopPropagation();
    KEYS[event.key]();
    made[state.tile].scrollIntoView({ block: "nearest" });
  }

  // --------------------------------------------------------------------------------------------------------- start
  if (build()) {
    const telling = panel.queries.findIndex((_, q) => panel.numbers[last][q][0].false_pairs); // something to look at
    state.query = Math.max(0, telling);
    on(grid, "keydown", type);
    draw();
    choose(Math.max(0, tiles.findIndex((tile) => falseTo(tile).length)));
  }
  return end;
}

export default { render };
