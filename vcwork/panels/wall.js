// The panel of vcwork.panels.wall: a card for each video, and a search over the stored sentences. Computes no score.

const STYLE = `
.vcwork-wall .cards { display: grid; gap: .6rem; grid-template-columns: repeat(auto-fill, minmax(17rem, 1fr)); }
.vcwork-wall .card { display: grid; grid-template-columns: auto minmax(0, 1fr); gap: .1rem .6rem; padding: .5rem;
  background: var(--card); border: 1px solid var(--line); border-radius: 6px; align-content: start; }
.vcwork-wall .card > .thumbnail { grid-row: span 3; }
.vcwork-wall .card.meant { border-color: var(--mark); box-shadow: inset 0 0 0 1px var(--mark); }
.vcwork-wall .name { font-weight: 600; overflow-wrap: anywhere; }
.vcwork-wall a { color: var(--mark); }
.vcwork-wall .near { grid-column: 1 / -1; display: flex; flex-wrap: wrap; gap: .3rem; align-items: center;
  margin-top: .3rem; }
.vcwork-wall .near a, .vcwork-wall .near span.one { display: inline-flex; gap: .3rem; align-items: center;
  font-size: .88em; }
.vcwork-wall .note { grid-column: 1 / -1; font-size: .88em; }
.vcwork-wall input { width: min(34rem, 100%); }
.vcwork-wall ol { list-style: none; margin: .3rem 0 1rem !important; padding: 0 !important; }
.vcwork-wall ol li { padding: .3rem 0; border-top: 1px solid var(--line); }
.vcwork-wall .hits { display: flex; flex-wrap: wrap; gap: .1rem .9rem; font-size: .92em; }
`;

// places of the stored sentences that hold all the words, in their order; none for no word
function placesOf(panel, words) {
  if (!words.length) return [];
  return panel.said.flatMap(([text], i) => (words.every((word) => text.toLowerCase().includes(word)) ? [i] : []));
}

function render({ model, el }) {
  const { panel, root, on, undo, blob, end } = begin({ model, el }, "wall", STYLE);
  const thumbs = sheetUrl(model, panel, blob);
  const cards = [];

  // a link to a video's own page, at a second where one is meant; plain text where it has no page
  function link(place, second, ...inside) {
    const card = panel.cards[place];
    if (!card.page) return node("span", { className: "one" }, ...inside);
    const at = second === null ? "" : `#t=${Math.floor(second)}`;
    return node("a", { href: card.page + at }, ...inside);
  }

  function picture(place, size) {
    const at = panel.pictures[String(place)];
    if (at && thumbs) return thumbnail(thumbs, panel.sheet, at[0], size);
    const grey = node("span", { className: "thumbnail" });
    Object.assign(grey.style, { display: "inline-block", width: `${size}px`, height: `${size}px`, background: "#808080" });
    return grey;
  }

  function time(seconds) {
    const whole = Math.floor(seconds), minutes = Math.floor(whole / 60);
    return `${minutes}:${String(whole % 60).padStart(2, "0")}`;
  }

  function cardOf(card, place) {
    const made = node("div", { className: "card" });
    made.append(picture(place, 72));
    made.append(node("div", { className: "name" }, link(place, null, card.id)));
    const captions = card.captions === 1 ? "1 caption" : `${card.captions} captions`;
    made.append(node("div", { className: "soft", textContent: `${time(card.seconds)} · ${card.captions ? captions : "no captions"}` }));
    made.append(node("div"));
    if (card.near.length) {
      const near = node("div", { className: "near" }, node("span", { className: "soft", textContent: "like it" }));
      for (const [other, cosine] of card.near) {
        const one = link(other, null, picture(other, 28), cosine.toFixed(2));
        one.title = panel.cards[other].id;
        one.setAttribute("aria-label", `${panel.cards[other].id}, ${cosine.toFixed(2)}`);
        near.append(one);
      }
      made.append(near);
    }
    for (const note of card.notes) made.append(node("p", { className: "note", textContent: note }));
    return made;
  }

  function sentence(i) {
    const [text, place, start, hits] = panel.said[i];
    const where = start === null ? panel.cards[place].id : `${panel.cards[place].id} at ${time(start)}`;
    const item = node("li", {}, `“${text}” `, node("span", { className: "soft", textContent: "said in " }), link(place, start, where));
    if (hits.length) {
      const list = node("div", { className: "hits" }, node("span", { className: "soft", textContent: "seen best in" }));
      for (const [other, from, to, peak, score] of hits) {
        const told = `${panel.cards[other].id}, ${time(from)} to ${time(to)}`;
        const one = link(other, peak, told);
        one.title = `score ${score.toFixed(2)}`;
        list.append(node("span", {}, one));
      }
      item.append(list);
    }
    return item;
  }

  const input = node("input", { type: "search", placeholder: "words that are said", "aria-label": "search what is said",
    disabled: !panel.said.length });
  const told = node("p", { className: "soft", role: "status" });
  const found = node("ol");

  function search() {
    const words = wordsOf(input.value), places = placesOf(panel, words);
    found.replaceChildren(...places.slice(0, panel.most).map(sentence));
    const meant = new Set(places.map((i) => panel.said[i][1]));
    cards.forEach((card, place) => card.classList.toggle("meant", meant.has(place)));
    const all = `${panel.said.length} stored sentences.`;
    if (!panel.said.length) told.textContent = "Nothing is said in these videos: no captions were found.";
    else if (!words.length) told.textContent = all;
    else if (!places.length) told.textContent = `None of ${panel.said.length} stored sentences has these words.`;
    else told.textContent = places.length > panel.most ? `${places.length} of ${all} The first ${panel.most}:` : `${places.length} of ${all}`;
    root.dataset.found = JSON.stringify(places.slice(0, panel.most)); // where a test may look
  }

  root.append(node("div", { className: "tools", role: "search" }, input), told, found);
  const like = "“Like it”: the videos nearest to it; the number is the cosine of both videos' mean vectors, without what all "
    + "videos have in common (1 the same, 0 no more alike than any two).";
  if (panel.cards.some((card) => card.near.length)) root.append(node("p", { className: "soft", textContent: like }));
  const grid = node("div", { className: "cards" });
  panel.cards.forEach((card, place) => cards.push(cardOf(card, place)));
  grid.append(...cards);
  root.append(grid);
  on(input, "input", search);
  search();
  undo.push(() => root.replaceChildren());
  return end;
}

export default { render };
