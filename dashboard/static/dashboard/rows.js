// Choosing rows: x at the cursor, a range with Shift, all of a page. Without this the boxes are those
// of a plain form.

const bar = document.getElementById("chosen");
const boxes = () => [...document.querySelectorAll('#jobs input[name="id"]')];
const whole = () => document.querySelector("[data-pick-all]");
let last = null; // the box that was clicked before this one

function tell() {
  const all = boxes();
  const chosen = all.filter((box) => box.checked);
  const text = chosen.length ? `${chosen.length} chosen` : "";
  const count = document.getElementById("chosen-count");
  if (count.textContent !== text) count.textContent = text;
  for (const button of bar.querySelectorAll("[data-acts-on]")) {
    const statuses = button.dataset.actsOn.split(" ");
    button.hidden = !chosen.some((box) => statuses.includes(box.dataset.status));
  }
  const head = whole();
  if (!head) return;
  head.checked = all.length > 0 && chosen.length === all.length;
  head.indeterminate = chosen.length > 0 && !head.checked;
}

function chooseUpTo(box) {
  const all = boxes();
  const [from, to] = [all.indexOf(last), all.indexOf(box)].sort((a, b) => a - b);
  if (from >= 0) for (const one of all.slice(from, to + 1)) one.checked = box.checked;
}

function onClick(event) {
  if (!event.target.closest("td.pick, th.pick")) return;
  event.stopPropagation(); // a click beside the box opens no job
  const box = event.target;
  if (box.name !== "id") return;
  if (event.shiftKey) chooseUpTo(box);
  last = box;
  tell();
}

function onChange({ target }) {
  if (target === whole()) for (const box of boxes()) box.checked = target.checked;
  if (target.closest("td.pick, th.pick")) tell();
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest('input:not([type="checkbox"]), textarea, select, dialog[open]')) return;
  if (event.key === "x") {
    const box = document.querySelector('tr[data-at] input[name="id"]');
    if (!box) return;
    box.checked = !box.checked;
    last = box;
    tell();
  } else if (event.key === "Escape" && boxes().some((box) => box.checked)) {
    clear();
  }
}

function clear() {
  for (const box of boxes()) box.checked = false;
  tell();
}

if (bar) {
  const main = document.getElementById("main");
  main.addEventListener("click", onClick);
  main.addEventListener("change", onChange);
  bar.addEventListener("submit", () => (bar.elements.next.value = location.pathname + location.search));
  bar.addEventListener("reset", () => setTimeout(tell));
  document.addEventListener("keydown", onKey);
  // Rows come and go while they are looked at.
  new MutationObserver(tell).observe(main, { childList: true, subtree: true, attributeFilter: ["data-status"] });
  window.addEventListener("pageshow", tell);
  bar.dataset.counts = "";
  tell();
}
