// What the filter box offers: words of the grammar, and values that there are. It stays a plain box
// for who types on: Enter takes an offer only after an arrow key has gone to one.

const box = document.querySelector("[data-complete]");
const list = document.getElementById("completions");
const WAIT_MS = 120;

let offers = [];
let at = -1;
let asked = 0;

// The piece before the caret: `-queue:mail,ho` is the word `queue` and the beginning `ho`.
function piece() {
  const before = box.value.slice(0, box.selectionStart);
  const found = /(?:^|\s)-?(?:([a-z_]+):(?:[^\s",]*,|"(?:[^"\\]|\\.)*",)*)?([^\s,":<>]*)$/i.exec(before);
  return found && { word: (found[1] ?? "").toLowerCase(), start: found[2] };
}

async function offersFor({ word, start }) {
  if (!word) return box.dataset.words.split(" ").filter((one) => start && one.startsWith(start.toLowerCase())).map((one) => `${one}:`);
  const url = new URL(box.dataset.complete, location.href);
  url.searchParams.set("word", word);
  url.searchParams.set("start", start);
  const response = await fetch(url);
  return response.ok && !response.redirected ? (await response.json()).values : [];
}

async function look() {
  const turn = ++asked;
  const wanted = piece();
  const found = wanted ? await offersFor(wanted).catch(() => []) : [];
  if (turn === asked) show(found.filter((one) => one !== wanted.start));
}

function show(found) {
  const chosen = offers[at];
  offers = found;
  list.replaceChildren(...found.map(option));
  list.hidden = !found.length;
  box.setAttribute("aria-expanded", String(found.length > 0));
  go(found.indexOf(chosen)); // letters that came late must not take a choice back
}

function option(text, index) {
  const item = document.createElement("li");
  Object.assign(item, { id: `completion-${index}`, textContent: text });
  item.setAttribute("role", "option");
  return item;
}

function go(to) {
  at = to;
  [...list.children].forEach((item, index) => item.setAttribute("aria-selected", String(index === at)));
  if (at < 0) return box.removeAttribute("aria-activedescendant");
  box.setAttribute("aria-activedescendant", `completion-${at}`);
  list.children[at].scrollIntoView({ block: "nearest" });
}

function take(index) {
  const from = box.selectionStart - piece().start.length;
  const text = offers[index];
  const ending = text.endsWith(":") ? "" : " ";
  box.setRangeText(text + ending, from, box.selectionStart, "end");
  box.focus();
  if (ending) show([]);
  else look();
}

const keys = {
  ArrowDown: () => go((at + 1) % offers.length),
  ArrowUp: () => go(at <= 0 ? offers.length - 1 : at - 1),
  Enter: () => at >= 0 && take(at),
  Tab: () => at >= 0 && take(at),
  Escape: () => show([]),
};

function onKey(event) {
  if (!offers.length || event.ctrlKey || event.metaKey || event.altKey || !(event.key in keys)) return;
  if (keys[event.key]() !== false) event.preventDefault();
}

if (box) {
  let timer = 0;
  for (const [name, value] of Object.entries({ role: "combobox", "aria-autocomplete": "list", "aria-controls": list.id, "aria-expanded": "false" })) box.setAttribute(name, value);
  box.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(look, WAIT_MS);
  });
  box.addEventListener("keydown", onKey);
  box.addEventListener("blur", () => show([]));
  box.form.addEventListener("submit", () => show([]));
  list.addEventListener("pointerdown", (event) => {
    event.preventDefault(); // the box keeps the focus
    const item = event.target.closest("[role=option]");
    if (item) take([...list.children].indexOf(item));
  });
}
