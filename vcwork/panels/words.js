// Search by words in a page: BM25 (k1 1.2, b 0.75) over texts, with prefixes; and hits of several lists made one list.
//
// A word is a run of letters and digits, small and without accents; scripts that put no spaces are read letter by letter:
// all as vcwork/search/evidence.py reads them, apostrophes aside.
// A word of a query also finds the words that begin with it, for a little less.

const K1 = 1.2, B = 0.75;
const PREFIX = 0.6; // of what the whole word would count
const FOLD_S = 2; // hits of one video so near to each other are one
const RRF = 60; // Cormack et al. 2009: a hit counts 1 / (60 + its rank), in each list
const ONE_SIGN = "[\\u0e00-\\u0eff\\u1000-\\u109f\\u1780-\\u17ff\\u2e80-\\u2fdf\\u3005-\\u3007\\u3021-\\u3029"
  + "\\u3031-\\u30ff\\u31f0-\\u31ff\\u3400-\\u4dbf\\u4e00-\\u9fff\\ua9e0-\\ua9ff\\uaa60-\\uaa7f\\uf900-\\ufaff\\u{1b000}-\\u{1b16f}\\u{20000}-\\u{3ffff}]";
const TOKEN = new RegExp(`(?=[\\p{L}\\p{N}])${ONE_SIGN}|(?:(?!${ONE_SIGN})[\\p{L}\\p{N}])+`, "gu");

// small letters, as Python's casefold makes them: ß is ss, a final ς is σ
function folded(text) {
  return text.toUpperCase().toLowerCase().replaceAll("ς", "σ");
}

function tokensOf(text) {
  return folded(text).normalize("NFKD").replace(/\p{M}+/gu, "").replace(/['’]/g, "").match(TOKEN) || [];
}

class Words {
  constructor() {
    this.postings = new Map(); // word -> [place, times it stands there, place, ...]
    this.lengths = [];
    this.all = 0;
    this.sorted = this.room = null;
  }

  add(text) {
    const words = tokensOf(text), place = this.lengths.length;
    for (const word of words) {
      const list = this.postings.get(word);
      if (!list) this.postings.set(word, [place, 1]);
      else if (list[list.length - 2] === place) list[list.length - 1] += 1;
      else list.push(place, 1);
    }
    this.lengths.push(words.length);
    this.all += words.length;
    this.sorted = this.room = null;
  }

  // what a search works in, kept from one to the next: new arrays each time would be swept up in the middle of typing
  makeRoom() {
    const n = this.lengths.length, mean = this.all / Math.max(1, n) || 1;
    const norms = Float32Array.from(this.lengths, (length) => K1 * (1 - B + (B * length) / mean));
    const [total, best, scores] = [0, 1, 2].map(() => new Float32Array(n));
    return { norms, total, best, scores, met: new Uint8Array(n), places: new Int32Array(n) };
  }

  // words that begin with this one, itself first
  begunWith(word) {
    this.sorted = this.sorted || [...this.postings.keys()].sort();
    let low = 0, high = this.sorted.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.sorted[middle] < word) low = middle + 1;
      else high = middle;
    }
    const found = [];
    while (low < this.sorted.length && this.sorted[low].startsWith(word)) found.push(this.sorted[low++]);
    return word.length > 1 ? found : found.filter((one) => one === word);
  }

  // {places: the `most` best first, count: of all, whole: do they hold every word of the query?}; keep: which places count
  find(query, keep = () => true, most = Infinity) {
    const asked = [...new Set(tokensOf(query))], n = this.lengths.length;
    const { norms, total, met, best, places, scores } = this.room ??= this.makeRoom();
    total.fill(0);
    met.fill(0);
    for (const word of asked) {
      for (const one of this.begunWith(word)) {
        const list = this.postings.get(one), df = list.length / 2, share = one === word ? 1 : PREFIX;
        const idf = share * Math.log(1 + (n - df + 0.5) / (df + 0.5));
        for (let i = 0; i < list.length; i += 2) {
          const place = list[i], tf = list[i + 1];
          const score = (idf * tf * (K1 + 1)) / (tf + norms[place]);
          if (score > best[place]) best[place] = score;
        }
      }
      for (let place = 0; place < n; place++) {
        if (!best[place]) continue;
        total[place] += best[place];
        met[place] += 1;
        best[place] = 0;
      }
    }
    let found = 0, whole = false; // once one place has every word, only such places
    for (let place = 0; place < n; place++) {
      if (!met[place] || (whole && met[place] < asked.length) || !keep(place)) continue;
      if (!whole && met[place] === asked.length) [whole, found] = [true, 0];
      places[found++] = place;
    }
    const count = found;
    if (count > most) { // numbers alone sort ten times as fast as places by their numbers
      for (let i = 0; i < count; i++) scores[i] = total[places[i]];
      const least = scores.subarray(0, count).sort()[count - most];
      let equal = most; // how many of those at the least score still fit
      for (let i = 0; i < count; i++) if (total[places[i]] > least) equal -= 1;
      found = 0;
      for (let i = 0; i < count; i++) {
        const score = total[places[i]];
        if (score > least || (score === least && equal-- > 0)) places[found++] = places[i];
      }
    }
    const ordered = [...places.subarray(0, found)].sort((a, b) => total[b] - total[a] || a - b);
    return { places: ordered, count, whole };
  }
}

// Lists of hits {video, start_s, end_s, how, ...}, each best first, fused by their ranks into one; what lies within
// FOLD_S of a better hit of its video is folded into it: `hows` names all ways in which it was found, `folded` counts.
function fused(lists) {
  const kept = new Map(); // video -> hits
  for (const list of lists) {
    list.forEach((hit, i) => {
      const there = kept.get(hit.video) || [], worth = 1 / (RRF + i + 1);
      const same = there.find((one) => near(one, hit));
      if (!same) there.push({ ...hit, hows: [hit.how], worth, folded: 0 });
      else if (same.hows.includes(hit.how)) same.folded += 1;
      else Object.assign(same, { hows: [...same.hows, hit.how], worth: same.worth + worth, text: same.text || hit.text });
      kept.set(hit.video, there);
    });
  }
  return [...kept.values()].flat().sort((a, b) => b.worth - a.worth);
}

function near(one, other) {
  if (one.start_s === null || other.start_s === null) return one.start_s === other.start_s && one.text === other.text;
  return other.start_s <= one.end_s + FOLD_S && one.start_s <= other.end_s + FOLD_S;
}

// "said and shown"
function evidenceOf(hows) {
  return hows.length > 1 ? `${hows.slice(0, -1).join(", ")} and ${hows.at(-1)}` : hows[0];
}

// where a page that is served asks for answers, null where it lies on a disk
function served(up) {
  const told = document.querySelector("meta[name=vcwork-served]");
  return told && location.protocol.startsWith("http") ? up : null;
}

// where a server answers with a hit as a film; it knows a video by the plain name of its page
function cutOf(base, page, hit) {
  return `${base}cut?${new URLSearchParams({ video: nameOf(page), start: hit.start_s, end: hit.end_s })}`;
}

function nameOf(page) {
  return page.split("/").at(-1).replace(/\.html$/, "");
}

// the answer of the server to a query, of one video where it is named; a fault becomes its `note`
async function askServer(base, query, anyway, video = "") {
  try { // in the body there is room for a long one
    const body = new URLSearchParams({ q: query, video, anyway: anyway ? "1" : "" });
    const answer = await fetch(`${base}search`, { method: "POST", body });
    return answer.ok ? await answer.json() : { hits: [], found: false, note: `The server refused: ${answer.status}.` };
  } catch {
    return { hits: [], found: false, note: "The server does not answer: is it still running?" };
  }
}
