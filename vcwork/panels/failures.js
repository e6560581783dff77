// The panel of vcwork.panels.failures: kinds of errors, ranks, a list of cases, one case in full. Computes no score.

const STYLE = `
.vcwork-failures .body { display: grid; gap: .8rem 1.2rem; grid-template-columns: minmax(13rem, 19rem) minmax(0, 1fr); }
.vcwork-failures .head { grid-column: 1 / -1; display: grid; gap: .3rem 1.2rem; align-items: start;
  grid-template-columns: minmax(0, 1.3fr) minmax(0, 1fr); }
@container (min-width: 1250px) {
  .vcwork-failures .body { grid-template-columns: 27rem 20rem minmax(0, 1fr); }
  .vcwork-failures .head { grid-column: auto; grid-template-columns: minmax(0, 1fr); align-content: start; row-gap: 1rem; } }
@container (max-width: 620px) { .vcwork-failures .body, .vcwork-failures .head { grid-template-columns: minmax(0, 1fr); } }
.vcwork-failures h4 { margin-top: 0; }
.vcwork-failures .kinds { display: grid; gap: 2px .6rem; align-items: center;
  grid-template-columns: auto minmax(3rem, 1fr) auto auto; font-size: .92em; }
.vcwork-failures .kinds button { text-align: left; padding: .1rem .4rem; }
.vcwork-failures .number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
.vcwork-failures .dot { display: inline-block; width: .7em; height: .7em; border-radius: 50%; margin-right: .4em;
  border: 1px solid var(--ink); flex: none; }
.vcwork-failures .share { position: relative; height: .8rem; background: var(--card); }
.vcwork-failures .share i { position: absolute; inset: 0 auto 0 0; }
.vcwork-failures .share b { position: absolute; top: -2px; bottom: -2px; width: 3px; margin-left: -1px; background: var(--ink); }
.vcwork-failures .bars { display: flex; align-items: stretch; gap: 3px; height: 10rem; }
.vcwork-failures .bars button { flex: 1 1 0; min-width: 0; padding: 0; display: flex; flex-direction: column;
  background: none; border-color: transparent; font-size: .8em; }
.vcwork-failures .bars button[aria-pressed="true"] { border-color: var(--mark); background: var(--card); }
.vcwork-failures .bars .well { position: relative; flex: 1 1 auto; border-bottom: 1px solid var(--line); }
.vcwork-failures .bars .well i { position: absolute; inset: auto 12% 0 12%; background: #56B4E9; }
.vcwork-failures .bars .well b { position: absolute; left: 0; right: 0; height: 3px; margin-bottom: -1px; background: #D55E00; }
.vcwork-failures .bars .well span { position: absolute; left: 0; right: 0; padding-bottom: 2px; }
.vcwork-failures .bars .here { box-shadow: inset 0 -3px 0 var(--mark); }
.vcwork-failures .find { width: 12rem; }
.vcwork-failures .list { align-self: start; overflow-y: auto; max-height: 31rem; border: 1px solid var(--line); outline-offset: 2px; }
.vcwork-failures .list > div { padding: .25rem .5rem; border-bottom: 1px solid var(--line); cursor: pointer; display: flex; }
.vcwork-failures .list > div > div { min-width: 0; }
.vcwork-failures .list p { margin: 0; }
.vcwork-failures .list > [aria-selected="true"] { background: var(--card); box-shadow: inset 4px 0 0 var(--mark); }
.vcwork-failures .list .dot { margin-top: .35em; }
.vcwork-failures .asked { font-size: 1.1em; }
.vcwork-failures .cards { display: grid; gap: .8rem; margin: .5rem 0;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 15rem), 1fr)); }
.vcwork-failures .card { padding: .5rem .6rem; background: var(--card); border-left: 5px solid var(--line); min-width: 0; }
.vcwork-failures .strip { display: flex; flex-wrap: wrap; gap: 4px; margin: .3rem 0; }
.vcwork-failures .wide { overflow-x: auto; }
.vcwork.vcwork-failures table { table-layout: auto; margin: 0; }
.vcwork.vcwork-failures :is(td, th) { text-align: left; vertical-align: middle; }
.vcwork-failures td .thumbnail { vertical-align: middle; }
`;

const RIGHT_ONES = "right";

// which cases fit the choices, as places in the direction's cases
function listed(panel, state) {
  const side = panel.directions[state.direction];
  const wanted = new Set(side.kinds.filter((kind) => state.kind === "all" || kind.name === state.kind
    || (state.kind === "errors" && !kind.right) || (state.kind === RIGHT_ONES && kind.right)).map((kind) => kind.name));
  const bar = state.ranks === null ? { low: 0, high: Infinity } : side.bars[state.ranks];
  const words = wordsOf(state.find);
  const told = (one) => [one.kind, ...["query", "truth", "winner"].map((role) => {
    const entry = panel.entries[one[role]];
    return `${entry.text} ${entry.video}`;
  })].join(" ").toLowerCase();
  const found = side.cases.map((one, i) => i).filter((i) => {
    const one = side.cases[i];
    return wanted.has(one.kind) && one.rank >= bar.low && one.rank < bar.high + 1
      && (!words.length || words.every((word) => told(one).includes(word)));
  });
  if (state.by === "rank") found.sort((a, b) => side.cases[b].rank - side.cases[a].rank || a - b);
  return found;
}

// what a query and its winner share: words, and parts that are known of both
function inCommon(query, winner) {
  const words = (entry) => new Set(entry.text.toLowerCase().match(/[\p{L}\p{N}]+/gu) || []), there = words(winner);
  const known = Object.keys(query.parts).filter((part) => part in winner.parts);
  return { common: [...words(query)].filter((word) => there.has(word)).sort(),
    agrees: Object.fromEntries(known.map((part) => [part, query.parts[part] === winner.parts[part]])) };
}

// what a reader of a direction's list has to know
function toldOf(panel, { asks, kinds, ties }) {
  const told = [];
  if (kinds.some((kind) => kind.queries > panel.most)) told.push(`Of each kind ${panel.most} ${asks}s at most are listed: `
    + "errors furthest ahead, right ones evenly over all. Counts are of all.");
  if (ties) told.push(`${ties} ${asks}s have equal answers in the first place: each is listed under the least right one, `
    + "and divided among them where it is counted.");
  return told;
}

function render({ model, el }) {
  const { panel, root, on, blob, redraw, end } = begin({ model, el }, "failures", STYLE);
  const state = { direction: 0, kind: "errors", find: "", ranks: null, by: "margin", place: 0 };
  const url = sheetUrl(model, panel, blob);
  const side = () => panel.directions[state.direction];
  const percent = (share) => `${Math.round(100 * share)} %`;
  const colourOf = (kind) => panel.palette[side().kinds.findIndex((k) => k.name === kind) % panel.palette.length];
  const isRight = (kind) => side().kinds.find((k) => k.name === kind).right;
  const rankText = (rank) => (Number.isInteger(rank) ? String(rank) : rank.toFixed(1));
  const name = `vcwork-${Math.random().toString(36).slice(2)}`;
  let found = [];

  // ------------------------------------------------------------------------------------------ the document
  const kinds = node("div", { className: "kinds", role: "group", "aria-label": "kinds of answers" });
  const bars = node("div", { className: "bars", role: "group", "aria-label": "ranks of the best right answer" });
  const barsTitle = node("h4"), kindsTitle = node("h4");
  const find = node("input", { type: "search", className: "find", placeholder: "a sentence, a video …",
    "aria-label": "find among the cases" });
  const count = node("span", { className: "soft", role: "status" });
  const list = node("div", { className: "list", role: "listbox", tabIndex: 0,
    "aria-label": "cases; arrow keys choose one" });
  const view = node("div", { className: "case", "aria-live": "polite" });

  function chooser(label, key, values, texts) {
    const select = node("select", { "aria-label": label });
    values.forEach((value, i) => select.append(node("option", { value, textContent: texts[i] })));
    on(select, "change", () => {
      if (key === "direction") Object.assign(state, { ranks: null, kind: keep(Number(select.value)) });
      state[key] = key === "direction" ? Number(select.value) : select.value;
      state.place = 0;
      draw();
    });
    return node("label", {}, `${label} `, select);
  }

  // a chosen kind stays chosen where the other direction knows it
  const keep = (direction) => (["errors", "right", "all", ...panel.directions[direction].kinds.map((k) => k.name)]
    .includes(state.kind) ? state.kind : "errors");

  function build() {
    const tools = node("div", { className: "tools" });
    if (panel.directions.length > 1) {
      tools.append(chooser("direction", "direction", panel.directions.map((_, i) => i), panel.directions.map((d) => d.name)));
    }
    tools.append(chooser("order", "by", ["margin", "rank"], ["furthest ahead of the truth", "worst rank of the truth"]));
    tools.append(node("label", {}, "find ", find), count);
    const legend = "Bar: this model. Mark: a constant score, which knows nothing. Choose a kind or a rank to list it.";
    const head = node("div", { className: "head" }, node("div", {}, kindsTitle, kinds,
      node("p", { className: "soft", textContent: legend })), node("div", {}, barsTitle, bars));
    for (const note of panel.directions.flatMap((way) => toldOf(panel, way))) root.append(node("p", { className: "note", textContent: note }));
    root.append(tools, node("div", { className: "body" }, head, list, view));
  }

  // ------------------------------------------------------------------------------------------- kinds and ranks
  function drawKinds() {
    const { n, kinds: all } = side();
    kindsTitle.textContent = `What the first answer is, of ${n} ${side().asks}s`;
    kinds.replaceChildren();
    const sum = (key, right) => all.filter((k) => k.right === right).reduce((total, k) => total + k[key], 0);
    const row = (value, label, number, chance, colour) => {
      const button = node("button", { type: "button" });
      if (colour) button.append(node("span", { className: "dot", style: `background: ${colour}` }));
      button.append(label);
      button.setAttribute("aria-pressed", String(state.kind === value));
      button.onclick = () => pick({ kind: value, place: 0 });
      const share = node("div", { className: "share" }), fill = node("i"), mark = node("b");
      fill.style.width = `${(100 * number) / n}%`;
      fill.style.background = colour || "var(--soft)";
      mark.style.left = `${(100 * chance) / n}%`;
      share.append(fill, mark);
      const told = Number.isInteger(number) ? number : number.toFixed(1);
      kinds.append(button, share, node("span", { className: "number", textContent: `${told} (${percent(number / n)})` }),
        node("span", { className: "number soft", textContent: `chance ${percent(chance / n)}` }));
    };
    row("errors", "all errors", sum("count", false), sum("chance", false));
    all.forEach((kind, i) => {
      if (kind.right && !(i && all[i - 1].right)) row(RIGHT_ONES, "all right ones", sum("count", true), sum("chance", true));
      row(kind.name, kind.name, kind.count, kind.chance, panel.palette[i % panel.palette.length]);
    });
  }

  function drawBars() {
    barsTitle.textContent = `Rank of the best right answer among ${side().items}`;
    bars.replaceChildren();
    const highest = Math.max(...side().bars.map((bar) => Math.max(bar.n, bar.chance))) * 1.15 || 1;
    const chosen = found.length ? side().cases[found[state.place]].rank : null;
    side().bars.forEach((bar, i) => {
      const label = bar.low === bar.high ? String(bar.low) : `${bar.low}–${bar.high}`;
      const told = `rank ${label}: ${bar.n} ${side().asks}s, by chance ${bar.chance.toFixed(1)}`;
      const button = node("button", { type: "button", title: told });
      const well = node("span", { className: "well", "aria-hidden": "true" }), fill = node("i"), mark = node("b");
      const number = node("span", { textContent: String(bar.n) });
      const under = bar.chance >= bar.n && bar.chance - bar.n < 0.14 * highest; // the mark would cross the number
      fill.style.height = `${(100 * bar.n) / highest}%`;
      number.style.bottom = `${(100 * (under ? bar.chance : bar.n)) / highest}%`;
      mark.style.bottom = `${(100 * bar.chance) / highest}%`;
      well.append(fill, number, mark);
      button.append(well, node("span", { textContent: label, "aria-hidden": "true" }), node("span", { className: "unseen", textContent: told }));
      button.setAttribute("aria-pressed", String(state.ranks === i));
      button.classList.toggle("here", chosen !== null && chosen >= bar.low && chosen < bar.high + 1);
      button.onclick = () => pick({ ranks: state.ranks === i ? null : i, kind: "all", place: 0 });
      bars.append(button);
    });
  }

  // the clicked button is made anew, and keeps the focus
  function pick(change) {
    const at = [...root.querySelectorAll(".head button")].indexOf(document.activeElement);
    Object.assign(state, change);
    draw();
    if (at >= 0) root.querySelectorAll(".head button")[at].focus();
  }

  // ---------------------------------------------------------------------------------------------------- the list
  function drawList() {
    list.replaceChildren();
    found.forEach((i, place) => {
      const one = side().cases[i], query = panel.entries[one.query];
      const ahead = one.margin === null ? "nothing wrong to pick"
        : one.margin > 0 ? `winner ${one.margin.toFixed(1)} ahead` : `right by ${(-one.margin).toFixed(1)}`;
      const line = `${one.kind} · ${ahead} · rank ${rankText(one.rank)}${side().asks === "clip" ? ` · ${place_of(query)}` : ""}`;
      const option = node("div", { id: `${name}-${place}`, role: "option", title: one.kind },
        node("span", { className: "dot", style: `background: ${colourOf(one.kind)}` }),
        node("div", {}, node("p", { textContent: query.text || place_of(query) }), node("p", { className: "soft", textContent: line })));
      option.onclick = () => choose(place);
      list.append(option);
    });
    list.style.visibility = found.length ? "" : "hidden"; // the case's place says that nothing fits
    count.textContent = `${found.length} listed`;
  }

  function choose(place) {
    state.place = clamp(place, 0, Math.max(0, found.length - 1));
    [...list.children].forEach((option, i) => option.setAttribute("aria-selected", String(i === state.place)));
    const option = list.children[state.place];
    list.setAttribute("aria-activedescendant", option ? option.id : "");
    const top = option ? option.offsetTop - list.offsetTop : 0, tall = option ? option.offsetHeight : 0;
    if (top < list.scrollTop) list.scrollTop = top;
    if (top + tall > list.scrollTop + list.clientHeight) list.scrollTop = top + tall - list.clientHeight;
    drawBars();
    drawCase();
  }

  // ---------------------------------------------------------------------------------------------------- one case
  const place_of = (entry) => (entry.span ? `${entry.video}, ${entry.span.map((s) => s.toFixed(1)).join(" to ")} s` : entry.video);

  const strip = (entry, size) => node("div", { className: "strip", role: "img", "aria-label": `frames of ${place_of(entry)}` },
    ...entry.at.map((i) => thumbnail(url, panel.sheet, i, size)));

  // the text with the words that query and winner share in bold
  function marked(text, common) {
    const out = node("span"), shared = new Set(common);
    for (const part of text.match(/[\p{L}\p{N}]+|[^\p{L}\p{N}]+/gu) || []) {
      out.append(shared.has(part.toLowerCase()) ? node("strong", { textContent: part }) : part);
    }
    return out;
  }

  // as large as fits into one of two cards, which stand one below the other where it is narrow
  function frameSize() {
    const two = view.clientWidth >= 500, width = two ? (view.clientWidth - 12) / 2 : view.clientWidth;
    return clamp(Math.floor((width - 28) / 4) - 4, 40, panel.sheet.side);
  }

  function card(title, colour, entry, common, lines, frames = true) {
    const made = node("div", { className: "card" }, node("h4", { textContent: title }));
    made.style.borderLeftColor = colour;
    if (entry.text) made.append(node("p", {}, "“", marked(entry.text, common), "”"));
    else made.append(node("p", { className: "soft", textContent: "nothing is annotated here" }));
    if (frames && url && entry.at.length) made.append(strip(entry, frameSize()));
    else if (frames && entry.video) made.append(node("p", { className: "soft", textContent: "no frames of it here" }));
    for (const line of [place_of(entry), ...lines].filter(Boolean)) made.append(node("p", { className: "soft", textContent: line }));
    return made;
  }

  function drawCase() {
    view.replaceChildren();
    if (!found.length) {
      view.append(node("p", { className: "soft", textContent: "Nothing fits these choices: choose another kind, rank or word." }));
      return;
    }
    const seen = side().cases[found[state.place]], right = isRight(seen.kind), clip = side().asks === "clip";
    const [query, truth, winner, best] = ["query", "truth", "winner", "best"].map((role) => panel.entries[seen[role]]);
    const one = { ...seen, ...inCommon(query, winner) };
    const kindly = node("p", {}, node("span", { className: "dot", style: `background: ${colourOf(one.kind)}` }),
      `${right ? "Right" : "Error"}: ${one.kind}. `, verdict(one, right));
    view.append(clip ? node("div", { className: "asked" }, node("span", { textContent: `asked with the clip ${place_of(query)}` }),
      ...(url && query.at.length ? [strip(query, frameSize())] : []))
      : node("p", { className: "asked" }, `asked for the ${side().asks === "step" ? "step" : "clip of"}: “`, marked(query.text, one.common), "”"), kindly);
    if (one.tied > 1) view.append(node("p", { className: "note", textContent: `${one.tied} answers share the first place; the least right of them is shown.` }));
    const cards = node("div", { className: "cards" }), found_it = one.truth === one.winner;
    const ranked = `rank ${rankText(one.truth_rank)} of ${side().items}, score ${one.truth_score.toFixed(2)}`;
    cards.append(card(found_it ? "truth, and the winner" : side().asks === "step" ? "the best right answer" : `the truth: its own ${clip ? "sentence" : "clip"}`,
      "#009E73", truth, one.common, [ranked], !clip));
    const runner = one.top.find(([, , kind]) => !isRight(kind));
    if (!found_it) {
      cards.append(card(`the winner: ${one.kind}`, right ? "#009E73" : "#D55E00", winner, one.common,
        [`rank 1, score ${one.winner_score.toFixed(2)}`, shared(one)]));
    } else if (runner) {
      cards.append(card(`closest wrong answer: ${runner[2]}`, "#D55E00", panel.entries[runner[0]], [],
        [`score ${runner[1].toFixed(2)}`]));
    }
    view.append(cards);
    if (one.best !== one.truth && !right) {
      view.append(node("p", { className: "soft", textContent: `The best right answer is another one of the same step: “${best.text}”, ${place_of(best)}, rank ${rankText(one.rank)}, score ${one.best_score.toFixed(2)}.` }));
    }
    view.append(topTable(one));
    root.dataset.case = String(found[state.place]); // where a test may look
  }

  function verdict(one, right) {
    if (one.margin === null) return "There is nothing wrong that could have won.";
    if (one.margin === 0) return "The best wrong answer has the same score as the best right one.";
    return right ? `The best right answer is ${(-one.margin).toFixed(2)} ahead of the best wrong one.`
      : `The winner is ${one.margin.toFixed(2)} ahead of the best right answer.`;
  }

  function shared(one) {
    const words = one.common.length ? `words in common with the query: ${one.common.join(", ")}` : "no word in common with the query";
    const parts = Object.entries(one.agrees).map(([part, same]) => `${same ? "same" : "another"} ${part}`);
    return [words, ...parts].join("; ");
  }

  function topTable(one) {
    const head = node("tr", {}, ...["", "", "score", "what it is", "text", "where"].map((text) => node("th", { textContent: text })));
    const rows = one.top.map(([i, score, kind], rank) => {
      const entry = panel.entries[i];
      const dot = node("span", { className: "dot", style: `background: ${colourOf(kind)}` });
      return node("tr", {}, node("td", { textContent: String(rank + 1) }),
        node("td", {}, ...(url && entry.at.length ? [thumbnail(url, panel.sheet, entry.at[entry.at.length >> 1], 40)] : [])),
        node("td", { textContent: score.toFixed(2) }), node("td", {}, dot, kind),
        node("td", {}, marked(entry.text, one.common)), node("td", { className: "soft", textContent: place_of(entry) }));
    });
    const table = node("table", {}, node("thead", {}, head), node("tbody", {}, ...rows));
    return node("div", { className: "wide" }, node("h4", { textContent: `the first ${one.top.length} answers` }), table);
  }

  // ------------------------------------------------------------------------------------------------------------ go
  function draw() {
    found = listed(panel, state);
    drawKinds();
    drawList();
    list.scrollTop = 0;
    if (found.length) choose(state.place);
    else {
      drawBars();
      drawCase();
    }
  }

  const KEYS = { ArrowUp: -1, ArrowDown: 1, PageUp: -8, PageDown: 8, Home: -Infinity, End: Infinity };

  build();
  on(find, "input", () => { Object.assign(state, { find: find.value, place: 0 }); draw(); });
  on(list, "keydown", (event) => {
    if (!(event.key in KEYS) || event.ctrlKey || event.metaKey || event.altKey || !found.length) return;
    event.preventDefault();
    event.stopPropagation();
    choose(state.place + KEYS[event.key]);
  });
  draw();
  let width = view.clientWidth;
  redraw(view, () => {
    if (view.clientWidth === width) return;
    width = view.clientWidth;
    drawCase();
  });
  return end;
}

export default { render };
