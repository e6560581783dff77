// The panel of vcwork.panels.wall: one search over the stored sentences and names, and a card for each video.
//
// Words are looked for here; meaning and what is shown were computed by Python for the stored sentences, and a page that
// `explore --serve` serves asks it for others. Cards and hits are drawn some at a time.

const STYLE = `
.vcwork-wall a { color: var(--mark); }
.vcwork-wall .ask { display: flex; flex-wrap: wrap; gap: .4rem .8rem; align-items: center; margin-bottom: .3rem; }
.vcwork-wall input[type=search] { flex: 1 1 16rem; max-width: 40rem; min-width: 0; padding: .4rem .6rem; }
.vcwork-wall .grid { display: grid; gap: .6rem; grid-template-columns: repeat(auto-fill, minmax(min(17rem, 100%), 1fr)); }
.vcwork-wall .card { display: grid; grid-template-columns: auto minmax(0, 1fr); gap: .1rem .6rem; padding: .5rem;
  background: var(--card); border: 1px solid var(--line); border-radius: 6px; align-content: start; }
.vcwork-wall .card > :first-child { grid-row: span 3; }
.vcwork-wall .picture { display: inline-block; object-fit: cover; background: #808080; border-radius: 3px; flex: none; }
.vcwork-wall .name { font-weight: 600; overflow-wrap: anywhere; }
.vcwork-wall .like { grid-column: 1 / -1; display: flex; flex-wrap: wrap; gap: .3rem; align-items: center;
  margin-top: .3rem; }
.vcwork-wall .like a, .vcwork-wall .like .one { display: inline-flex; gap: .3rem; align-items: center; font-size: .88em; }
.vcwork-wall .card .note { grid-column: 1 / -1; font-size: .88em; }
.vcwork-wall ol { list-style: none; margin: .3rem 0 1rem !important; padding: 0 !important; }
.vcwork-wall ol li { display: grid; grid-template-columns: auto minmax(0, 1fr); gap: .1rem .6rem; padding: .4rem 0;
  border-top: 1px solid var(--line); align-items: center; }
.vcwork-wall .about { display: flex; flex-wrap: wrap; gap: .1rem .7rem; align-items: center; font-size: .92em; }
.vcwork-wall .how { border: 1px solid var(--line); border-radius: 9px; padding: 0 .5rem; font-size: .88em; }
.vcwork-wall .plain { border: none; background: none; color: var(--mark); padding: 0; text-decoration: underline; }
.vcwork-wall .said { overflow-wrap: anywhere; }
.vcwork-wall .more { margin: .6rem 0; }
`;

const LENGTHS = { "under a minute": [0, 60], "1 to 10 minutes": [60, 600], "over 10 minutes": [600, Infinity] };
const DRAWN = 12; // hits and cards drawn in one frame; more when the last comes near
const AT_ONCE = 4000; // sentences that are taken in before the page is let alone again
const HOWS = { said: "only said", meant: "only meant", shown: "only shown", described: "only described",
  "said,shown": "both", "meant,said": "both" }; // by all evidence of a hit
const WARM = 2; // searches that are tried first: after so many a browser has compiled them
const PAUSE_MS = 350; // of typing, before the server is asked

function render({ model, el }) {
  const { panel, root, on, undo, end } = begin({ model, el }, "wall", STYLE);
  const base = served(""), cards = panel.cards, place = new Map(cards.map((card, i) => [card.id, i]));
  const words = new Words(), names = new Words(), stored = new Map(), // a sentence -> its place
    filter = { how: "", words: "", length: "" };
  let said = [], ready = false, hits = [], asked = 0, waiting = 0, undrawn = [], visible = [], below = null,
    seen = base !== null; // is it known what is shown? Then what is meant counts as said
  cards.forEach((card) => names.add(card.id));

  // ------------------------------------------------------------------------------------------- what a thing looks like
  // a link to a video's own page, at a second where one is meant; plain text where it has no page
  function link(i, second, ...inside) {
    const card = cards[i];
    if (!card.page) return node("span", { className: "one" }, ...inside);
    return node("a", { href: card.page + (second ? `#t=${Math.floor(second * 10) / 10}` : "") }, ...inside);
  }

  function picture(i, size) {
    const made = node(cards[i].picture ? "img" : "span", { className: "picture" });
    Object.assign(made.style, { width: `${size}px`, height: `${size}px` });
    if (cards[i].picture) Object.assign(made, { alt: "", loading: "lazy", decoding: "async", src: cards[i].picture });
    return made;
  }

  function time(seconds) {
    const whole = Math.floor(seconds), hours = Math.floor(whole / 3600), rest = String(Math.floor(whole / 60) % 60);
    return `${hours ? `${hours}:${rest.padStart(2, "0")}` : rest}:${String(whole % 60).padStart(2, "0")}`;
  }

  function wordsIn(card) {
    if (!card.captions) return "no words";
    if (card.words === "described") return `described in ${card.captions} ${card.captions === 1 ? "line" : "lines"}`;
    return `${card.captions} ${card.captions === 1 ? "caption" : "captions"}${card.words ? ` from ${card.words}` : ""}`;
  }

  function cardOf(card, i) {
    const made = node("div", { className: "card" }, picture(i, 72), node("div", { className: "name" }, link(i, null, card.id)),
      node("div", { className: "soft", textContent: `${time(card.seconds)} · ${wordsIn(card)}` }), node("div"));
    if (card.near.length) {
      const like = node("div", { className: "like" }, node("span", { className: "soft", textContent: "like it" }));
      for (const [other, cosine] of card.near) {
        const one = link(other, null, picture(other, 28), cosine.toFixed(2));
        one.title = cards[other].id;
        one.setAttribute("aria-label", `${cards[other].id}, ${cosine.toFixed(2)}`);
        like.append(one);
      }
      made.append(like);
    }
    for (const note of card.notes) made.append(node("p", { className: "note", textContent: note }));
    return made;
  }

  function hitOf(hit) {
    const item = node("li", {}, picture(hit.video, 56)), right = node("div"), about = node("div", { className: "about" });
    if (hit.text) right.append(node("div", { className: "said", textContent: `“${hit.text}”` }));
    about.append(node("span", { className: "how", textContent: evidenceOf(hit.hows) }));
    const id = cards[hit.video].id, at = hit.start_s === null ? id : `${id} at ${time(hit.start_s)}`;
    about.append(link(hit.video, hit.peak_s ?? hit.start_s, hit.hows.includes("shown") ? `${at} to ${time(hit.end_s)}` : at));
    for (const [more, where] of [[hit.folded, "more beside it"], [hit.like?.length, "like it"]])
      if (more) about.append(node("span", { className: "soft", textContent: `and ${more} ${where}` }));
    if (hit.stored !== undefined && said[hit.stored][4].length + said[hit.stored][5].length && hit.text !== input.value) {
      const more = node("button", { type: "button", className: "plain", textContent: "more like this sentence" });
      more.onclick = () => { input.value = hit.text; search(); root.scrollIntoView(); };
      about.append(more);
    }
    if (base !== null && hit.start_s !== null) about.append(node("a", { textContent: "save as mp4", download: "",
      href: cutOf(base, cards[hit.video].page, hit) }));
    right.append(about);
    item.append(right);
    return item;
  }

  // --------------------------------------------------------------------------------------------------------- searching
  const passes = (i) => (!filter.words || cards[i].words === filter.words)
    && (!filter.length || inside(cards[i].seconds, LENGTHS[filter.length]));
  const inside = (value, [low, high]) => value >= low && value < high;
  const chosen = () => filter.words || filter.length;
  const kindsOf = (hit) => [...new Set(hit.hows.map((how) => (seen && how === "meant" ? "said" : how)))].sort().join();

  function sentence(i, how) {
    const [text, video, start_s, end_s] = said[i];
    const way = start_s === null && how === "said" ? "described" : how;
    return { video, start_s, end_s: end_s ?? start_s, text, how: way, stored: i, score: 0 };
  }

  // what the page itself knows: hits, and what has to be said of them; called: the videos with this name
  function own(query, called = []) {
    const { places, count, whole } = words.find(query, (i) => passes(said[i][1]), 5 * panel.most);
    const lists = [places.map((i) => sentence(i, "said"))];
    const same = stored.get(folded(query));
    if (same !== undefined) {
      const [, , , , shown, like] = said[same];
      lists.push(like.filter((i) => passes(said[i][1])).map((i) => sentence(i, "meant")));
      lists.push(shown.filter(([video]) => passes(video)).map(([video, start_s, end_s, peak_s, score]) =>
        ({ video, start_s, end_s, peak_s, text: "", how: "shown", score })));
    }
    const left = count > places.length ? `The best of ${count} sentences.` : "";
    const where = chosen() ? "in the chosen videos" : "here", how = called.length ? "said" : "said or named";
    if (!lists.some((list) => list.length)) return { hits: [], note: `Nothing ${where} is ${how} with these words.` };
    const some = `No sentence${chosen() ? " in the chosen videos" : ""} has all these words; these have some of them.`;
    return { hits: fused(lists), note: whole ? left : `${some} ${left}` };
  }

  function named(query) {
    const found = names.find(query, passes);
    return found.whole ? found.places : [];
  }

  async function search(anyway = false) {
    const query = input.value.trim().replace(/\s+/g, " "), mine = ++asked;
    clearTimeout(waiting);
    if (!query) return show([], cards.map((_, i) => i).filter(passes), "");
    const called = named(query), { hits: found, note } = own(query, called);
    show(found, called, base === null ? note : "Asking the models …");
    if (base === null) return;
    const answer = await askServer(base, query, anyway);
    if (mine !== asked) return; // another query has been typed since
    const known = answer.hits.filter((hit) => place.has(hit.video) && passes(place.get(hit.video)));
    const theirs = known.map((hit) => ({ ...hit, video: place.get(hit.video), hows: hit.evidence }));
    const others = answer.hits.length && !known.length ? `None of ${answer.hits.length} hits is in the chosen videos.` : "";
    show(theirs, called, `${others} ${answer.note}`.trim());
    if (answer.more && !anyway) {
      const rest = node("button", { type: "button", textContent: "show weaker ones" });
      rest.onclick = () => search(true);
      told.append(" ", rest);
    }
  }

  function show(found, called, note) {
    const query = input.value.trim();
    hits = found.filter((hit) => !filter.how || kindsOf(hit) === filter.how);
    const videos = [...new Set([...called, ...hits.map((hit) => hit.video)])], parts = [note];
    if (query && found.length && !hits.length) parts.unshift(`None of ${found.length} hits is ${HOWS[filter.how]}.`);
    if (hits.length) parts.unshift(`${hits.length === 1 ? "1 hit" : `${hits.length} hits`} in ${new Set(hits.map((h) => h.video)).size} of ${cards.length} videos`
      + (hits.length > panel.most ? `, the first ${panel.most}:` : "."));
    if (query && called.length) parts.push(`${called.length} ${called.length === 1 ? "video is" : "videos are"} named so.`);
    if (!query) parts.push(panel.stored ? `${panel.stored} stored sentences.` : "There are no words in these videos.");
    told.replaceChildren(parts.filter(Boolean).join(" "));
    for (const old of [list, grid]) old.replaceChildren();
    keep.replaceChildren(...(hits.length ? [takeAway(taken, query)] : []));
    visible = query ? videos : called;
    undrawn = [...hits.slice(0, panel.most).map((hit) => () => list.append(hitOf(hit))),
      ...visible.map((i) => () => grid.append(cardOf(cards[i], i)))];
    drawMore();
    root.dataset.found = JSON.stringify(hits.slice(0, panel.most).map((hit) => [hit.video, hit.start_s, hit.hows])); // for tests
  }

  const taken = () => hits.map((hit) => ({ query: input.value.trim(), video: cards[hit.video].id, start_s: hit.start_s ?? 0,
    end_s: hit.start_s === null ? cards[hit.video].seconds : hit.end_s, score: hit.worth ?? hit.score,
    evidence: evidenceOf(hit.hows), text: hit.text, file: cards[hit.video].file, fps: cards[hit.video].fps }));

  function drawMore() {
    for (const draw of undrawn.splice(0, DRAWN)) draw();
    rest.hidden = !undrawn.length;
    rest.textContent = `show more (${undrawn.length} left)`;
    below?.unobserve(rest); // seen anew, it tells again that it is near
    below?.observe(rest);
  }

  // ---------------------------------------------------------------------------------------------------------- document
  const hint = base === null ? "words that are said, or a name" : "any sentence";
  const input = node("input", { type: "search", placeholder: hint, "aria-label": "search", disabled: !cards.length });
  const told = node("p", { className: "soft", role: "status" }), keep = node("div", { className: "soft" });
  const bar = node("div", { className: "ask", role: "search" }, input), list = node("ol");
  const grid = node("div", { className: "grid" }), rest = node("button", { type: "button", className: "more" });

  // a choice is offered where it changes something
  function chooser(label, key, values) {
    if (values.length < 2) return;
    const select = node("select", { "aria-label": label }, node("option", { value: "", textContent: label }));
    for (const [value, text] of values) select.append(node("option", { value, textContent: text }));
    on(select, "change", () => { filter[key] = select.value; search(); });
    bar.append(select);
  }

  function filters() {
    seen ||= said.some((one) => one[4].length);
    const kinds = seen ? ["said", "shown", "said,shown"] : [];
    if (!seen && said.some((one) => one[5].length)) kinds.push("said", "meant", "meant,said");
    if (kinds.length && said.some((one) => one[2] === null)) kinds.push("described");
    chooser(seen ? "said or shown" : "said or meant", "how", kinds.map((kind) => [kind, HOWS[kind]]));
    chooser("words from anywhere", "words", [...new Set(cards.map((card) => card.words))].filter(Boolean).map((w) => [w, w]));
    const there = Object.keys(LENGTHS).filter((name) => cards.some((card) => inside(card.seconds, LENGTHS[name])));
    chooser("any length", "length", there.map((name) => [name, name]));
  }

  // the sentences, some at a time, so that the page can be used meanwhile
  function takeIn(rows) {
    said = rows;
    let at = 0, warm = 0;
    const some = () => {
      for (const stop = Math.min(said.length, at + AT_ONCE); at < stop; at++) {
        words.add(said[at][0]);
        stored.set(folded(said[at][0]), at);
      }
      if (at < said.length) {
        told.textContent = `Reading ${at} of ${said.length} stored sentences …`;
        waiting = setTimeout(some);
        return;
      }
      if (warm < WARM) { // words sorted and all this compiled: the first query need not wait
        warm += 1;
        own((said[0]?.[0] || "").slice(0, 2));
        waiting = setTimeout(some);
        return;
      }
      filters();
      search();
      root.dataset.ready = "yes";
      ready = true;
    };
    some();
  }

  root.append(bar, told, keep, list);
  const like = "“Like it”: the videos nearest to it; the number is the cosine of both videos' mean vectors, without what all "
    + "videos have in common (1 the same, 0 no more alike than any two).";
  if (cards.some((card) => card.near.length)) root.append(node("p", { className: "soft", textContent: like }));
  root.append(grid, rest);
  rest.onclick = drawMore;
  below = new IntersectionObserver((seen) => seen.some((one) => one.isIntersecting) && !rest.hidden && drawMore(),
    { rootMargin: "600px" });
  on(input, "input", () => {
    if (!ready) return;
    if (base === null) search();
    else {
      clearTimeout(waiting);
      waiting = setTimeout(search, PAUSE_MS);
    }
  });
  show([], cards.map((_, i) => i), "");
  if (panel.beside) {
    window.vcworkWords = takeIn;
    const file = node("script", { src: panel.beside });
    on(file, "error", () => { told.textContent = `The sentences are not beside this page: ${panel.beside} is missing.`; });
    setTimeout(() => document.head.append(file)); // after the first cards are seen
  } else takeIn(panel.said);
  undo.push(() => { clearTimeout(waiting); below.disconnect(); root.replaceChildren(); });
  return end;
}

export default { render };
