// The palette: pages, tenants, queues, a job by its id, and what can be done here, by a few letters.
// A dialog with a combobox; what it offers is on the pages too.

const MOST = 16;
const PATIENCE_MS = 150;

const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const byId = (id) => document.getElementById(id);

const dialog = byId("palette");
const input = dialog?.querySelector("input");
const list = byId("palette-list");

let options = [];
let at = 0;
let asked = 0;

// What the page itself offers: its links, the tenants of its choice, and buttons that say so.
function local() {
  const pages = all("nav[data-palette] a").map((link) => ({ label: link.textContent, kind: "page", go: () => link.click() }));
  const tenants = all("#tenant-choice option").map((option) => ({
    label: option.textContent,
    kind: "tenant",
    go: () => chooseTenant(option),
  }));
  const actions = all("[data-action]").filter((button) => !button.hidden).map((button) => ({
    label: button.dataset.action,
    kind: "action",
    go: () => button.click(),
  }));
  return [...pages, ...tenants, ...actions];
}

function chooseTenant(option) {
  option.selected = true;
  option.closest("form").requestSubmit();
}

// The beginning of a word counts for more than what is within one.
function rank(label, words) {
  const text = label.toLowerCase();
  if (!words.every((word) => text.includes(word))) return 0;
  return words.every((word) => text.startsWith(word) || text.includes(` ${word}`)) ? 2 : 1;
}

async function remote(text) {
  const url = new URL(dialog.dataset.find, location.href);
  url.searchParams.set("q", text);
  const response = await fetch(url);
  if (!response.ok || response.redirected) return [];
  const { found } = await response.json();
  return found.map(({ label, kind, href }) => ({ label, kind, go: () => location.assign(href) }));
}

async function look() {
  const text = input.value.trim();
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  const ranked = local().map((option) => ({ ...option, rank: rank(option.label, words) }));
  const own = ranked.filter((option) => option.rank).sort((one, other) => other.rank - one.rank);
  show(own);
  const asking = ++asked;
  if (!text) return;
  await new Promise((resolve) => setTimeout(resolve, PATIENCE_MS));
  if (asking !== asked) return;
  const more = await remote(text).catch(() => []);
  if (asking === asked && more.length) show([...own.slice(0, MOST - more.length), ...more], at);
}

function show(found, place = 0) {
  options = found.slice(0, MOST);
  list.replaceChildren(...options.map(drawn));
  byId("palette-none").hidden = options.length > 0;
  choose(Math.min(place, options.length - 1));
}

function drawn(option, index) {
  const item = document.createElement("li");
  const kind = document.createElement("small");
  kind.textContent = option.kind;
  item.append(option.label.trim(), " ", kind);
  Object.assign(item, { id: `palette-${index}`, role: "option" });
  item.addEventListener("click", () => take(index));
  return item;
}

function choose(index) {
  at = Math.max(index, 0);
  all("li", list).forEach((item, place) => item.setAttribute("aria-selected", place === at));
  const chosen = list.children[at];
  chosen?.scrollIntoView({ block: "nearest" });
  if (chosen) input.setAttribute("aria-activedescendant", chosen.id);
  else input.removeAttribute("aria-activedescendant");
}

function take(index) {
  const option = options[index];
  if (!option) return;
  dialog.close();
  option.go();
}

const keys = {
  ArrowDown: () => choose((at + 1) % Math.max(options.length, 1)),
  ArrowUp: () => choose((at - 1 + options.length) % Math.max(options.length, 1)),
  Enter: () => take(at),
};

export function openPalette() {
  if (dialog.open) return dialog.close();
  input.value = "";
  dialog.showModal();
  look();
}

input?.addEventListener("input", look);
input?.addEventListener("keydown", (event) => {
  if (!keys[event.key]) return;
  event.preventDefault();
  keys[event.key]();
});
dialog?.addEventListener("click", (event) => event.target === dialog && dialog.close());
