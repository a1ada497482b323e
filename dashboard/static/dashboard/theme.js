// Runs before the page is painted, so that what was chosen does not flash.
(() => {
  const { dataset } = document.documentElement;
  const chosen = localStorage.getItem("theme");
  if (chosen === "light" || chosen === "dark") dataset.theme = chosen;
  dataset.payloads = localStorage.getItem("payloads") ?? "shown";
})();
