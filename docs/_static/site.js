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
  });
})();
