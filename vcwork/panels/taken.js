// A list of hits taken away from a page: the three texts of vcwork/workbench/taken.py, letter for letter, and a way to keep
// them. A hit is {query, video, start_s, end_s, score, evidence, text, file, fps}.

const MOST_EVENTS = 999;

function clockOf(seconds) {
  const all = Math.floor(seconds * 1000 + 0.5), second = Math.floor(all / 1000);
  return `${timeOf(second)}.${String(all % 1000).padStart(3, "0")}`;
}

function timeOf(second) {
  return [Math.floor(second / 3600), Math.floor(second / 60) % 60, second % 60].map((n) => String(n).padStart(2, "0")).join(":");
}

function timecode(frame, fps) {
  const base = Math.max(1, Math.floor(fps + 0.5));
  return `${timeOf(Math.floor(frame / base))}:${String(frame % base).padStart(2, "0")}`;
}

function fixed(value, digits) {
  const scale = 10 ** digits, whole = Math.floor(Math.abs(value) * scale + 0.5);
  const told = `${Math.floor(whole / scale)}.${String(whole % scale).padStart(digits, "0")}`;
  return value < 0 && whole ? `-${told}` : told;
}

function lineOf(text) {
  const space = /[\0-\x20\x7f\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+/g;
  return text.replace(space, " ").replace(/^ | $/g, "");
}

function cellOf(text) {
  const safe = /^(?:[ \n\v\f\u00a0\u200b\ufeff]*[=+\-@\uff1d\uff0b\uff0d\uff20\t\r]|\|)/.test(text) ? `'${text}` : text;
  return /[",\n\r]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

function asCsv(hits) {
  const rows = [["rank", "query", "video", "file", "start", "end", "start_s", "end_s", "score", "evidence", "text"]];
  hits.forEach((hit, i) => {
    const times = [clockOf(hit.start_s), clockOf(hit.end_s), fixed(hit.start_s, 3), fixed(hit.end_s, 3)];
    rows.push([String(i + 1), ...[hit.query, hit.video, hit.file].map(cellOf), ...times, fixed(hit.score, 4),
      cellOf(hit.evidence), cellOf(hit.text)]);
  });
  return "\ufeff" + rows.map((row) => row.join(",") + "\r\n").join("");
}

function queriesOf(hits) {
  return [...new Set(hits.map((hit) => lineOf(hit.query)))].join(", ");
}

function asEdl(hits) {
  const fps = (hits.find((hit) => hit.fps > 0) || { fps: 25 }).fps, queries = [...queriesOf(hits)].slice(0, 60).join("");
  const lines = [`TITLE: ${queries || "hits"} (${fixed(fps, 3)} frames a second)`, "FCM: NON-DROP FRAME"];
  let at = 0;
  hits.slice(0, MOST_EVENTS).forEach((hit, i) => {
    const start = Math.floor(hit.start_s * fps + 0.5), end = Math.max(start + 1, Math.floor(hit.end_s * fps + 0.5));
    const codes = [start, end, at, at + end - start].map((frame) => timecode(frame, fps));
    at += end - start;
    lines.push("", `${String(i + 1).padStart(3, "0")}  AX       B     C        ${codes.join(" ")}`,
      `* FROM CLIP NAME: ${lineOf(hit.file || hit.video)}`,
      `* COMMENT: ${lineOf([hit.evidence, hit.text].filter(Boolean).join(": "))}`);
  });
  if (hits.length > MOST_EVENTS) lines.push(`* COMMENT: ${hits.length - MOST_EVENTS} more hits have no room in this format`);
  return lines.join("\n") + "\n";
}

function asVtt(hits) {
  const parts = ["WEBVTT", `NOTE ${queriesOf(hits).replaceAll("-->", "→")}`];
  for (const hit of [...hits].sort((a, b) => a.start_s - b.start_s || a.end_s - b.end_s)) {
    const text = lineOf(hit.text || hit.evidence || hit.query);
    const safe = text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
    parts.push(`${clockOf(hit.start_s)} --> ${clockOf(Math.max(hit.end_s, hit.start_s + 0.001))}\n${safe}`);
  }
  return parts.join("\n\n") + "\n";
}

// buttons that keep a list: CSV and EDL, and WebVTT where all hits are of one video; hits: a function, asked when pressed
function takeAway(hits, name) {
  const bar = node("span", { className: "take" }), kinds = [["CSV", "csv", asCsv], ["EDL", "edl", asEdl]];
  if (new Set(hits().map((hit) => hit.video)).size === 1) kinds.push(["WebVTT", "vtt", asVtt]);
  bar.append("keep this list as ");
  for (const [label, ending, made] of kinds) {
    const button = node("button", { type: "button", textContent: label });
    button.onclick = () => {
      const url = URL.createObjectURL(new Blob([made(hits())], { type: "text/plain;charset=utf-8" }));
      node("a", { href: url, download: `${name.replace(/[^\p{L}\p{N} _-]+/gu, "_").slice(0, 60) || "hits"}.${ending}` }).click();
      setTimeout(() => URL.revokeObjectURL(url), 10000);
    };
    bar.append(button, " ");
  }
  return bar;
}
