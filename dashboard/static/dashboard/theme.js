// Runs before the page is painted, so that what was chosen does not flash.
(() => {
  const { dataset } = document.documentElement;
  dataset.theme = localStorage.getItem("theme") ?? "auto";
  dataset.payloads = localStorage.getItem("payloads") ?? "shown";
})();
