// Tells panels whether the page is light or dark, in the words of JupyterLab, which they know.
(() => {
  const system = window.matchMedia("(prefers-color-scheme: dark)");
  const tell = () => {
    const theme = document.body.dataset.theme;
    const dark = theme === "dark" || (theme !== "light" && system.matches);
    const light = String(!dark);
    if (document.body.dataset.jpThemeLight !== light) document.body.dataset.jpThemeLight = light;
  };
  document.addEventListener("DOMContentLoaded", () => {
    new MutationObserver(tell).observe(document.body, { attributes: true, attributeFilter: ["data-theme"] });
    system.addEventListener("change", tell);
    tell();
    for (const wide of document.querySelectorAll("pre")) if (wide.scrollWidth > wide.clientWidth) wide.tabIndex = 0; // for keys
  });
})();

// What can be scrolled sideways can be reached by keyboard.
(() => {
  const reach = () => document.querySelectorAll("pre").forEach((text) => {
    if (text.scrollWidth > text.clientWidth) text.tabIndex = 0;
    else text.removeAttribute("tabindex");
  });
  for (const when of ["load", "resize"]) window.addEventListener(when, reach);
})();

// Under what a search finds: the words around it, where most of those asked for stand together.
(() => {
  const AROUND = 110, LEAST = 4; // characters on each side; letters of a word's beginning that still count as the word

  // The words as they stand in the text, or else the longest beginning of each that does: "searching" finds "search".
  const known = (words, text) => words.map((word) => {
    while (word.length > LEAST && !text.includes(word)) word = word.slice(0, -1);
    return word;
  }).filter((word) => text.includes(word));

  const places = (words, text) => words.flatMap((word) => {
    const found = [];
    for (let at = text.indexOf(word); at >= 0; at = text.indexOf(word, at + word.length)) found.push([at, word]);
    return found;
  }).sort((a, b) => a[0] - b[0]);

  function excerpt(text, words) {
    const all = places(known(words, text.toLowerCase()), text.toLowerCase());
    const near = (at) => all.filter(([other]) => other >= at && other < at + AROUND);
    const most = ([at]) => new Set(near(at).map(([, word]) => word)).size;
    const first = all.reduce((best, one) => (most(one) > most(best) ? one : best), all[0] ?? [0, ""]);
    const from = Math.max(0, text.lastIndexOf(" ", first[0] - AROUND / 2) + 1), to = first[0] + 2 * AROUND;
    const line = document.createElement("p");
    line.className = "context";
    let done = from;
    line.append(from ? "… " : "");
    for (const [at, word] of all.filter(([at]) => at >= first[0] && at < to)) {
      if (at < done) continue;
      const mark = document.createElement("mark");
      mark.textContent = text.slice(at, at + word.length);
      line.append(text.slice(done, at), mark);
      done = at + word.length;
    }
    line.append(text.slice(done, to).replace(/\S*$/, ""), "…");
    return line;
  }

  document.addEventListener("DOMContentLoaded", () => {
    const list = document.getElementById("search-results");
    if (!list || !window.excerpts) return;
    const asked = (new URLSearchParams(location.search).get("q") ?? "").toLowerCase().match(/[\p{L}\p{N}_]+/gu) ?? [];
    new MutationObserver(() => {
      for (const hit of list.querySelectorAll("li:not([data-told])")) {
        hit.dataset.told = "";
        const link = hit.querySelector("a"), page = link.getAttribute("href").split(/[?#]/)[0].replace(/\.html$/, "");
        const own = hit.classList.contains("kind-object") ? [link.textContent.split(".").pop().toLowerCase()] : asked;
        if (window.excerpts[page]) hit.append(excerpt(window.excerpts[page], own));
      }
    }).observe(list, { childList: true, subtree: true });
  });
})();
