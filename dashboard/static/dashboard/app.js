// What the pages do beyond plain HTML: live regions, charts, keys, copying. Each page works without.

import { charts } from "./charts.js";
import { duration } from "./duration.js";
import { live, regions } from "./live.js";
import { openPalette } from "./palette.js";

const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const byId = (id) => document.getElementById(id);

// ---- Times: told relative to now, as the server tells them.

// The clock of this device can be wrong by more than it took the page to come.
const WRONG_MS = 60_000;
const ahead = Date.now() - 1_000 * Number(document.body.dataset.now);
const now = () => Date.now() - (Math.abs(ahead) > WRONG_MS ? ahead : 0);

function tellTimes() {
  for (const element of all("time[data-time]")) {
    const seconds = (now() - Date.parse(element.dateTime)) / 1_000;
    const length = duration(Math.abs(seconds) < 1 ? 0 : Math.floor(Math.abs(seconds)));
    const text = element.dataset.time === "age" ? length : seconds < 0 ? `in ${length}` : `${length} ago`;
    if (Math.abs(seconds) >= 1 && element.textContent !== text) element.textContent = text;
  }
}

// ---- Theme: as the system, light, dark; in the words of the admin, which keeps its own in the same place.

const themes = ["auto", "light", "dark"];

function theme() {
  const kept = localStorage.getItem("theme");
  return themes.includes(kept) ? kept : "auto";
}

function showTheme(chosen) {
  document.documentElement.dataset.theme = chosen;
  byId("theme").title = `Theme: ${chosen === "auto" ? "as the system" : chosen}`;
  for (const control of all('[data-setting="theme"]')) control.value = chosen;
}

function setTheme(chosen) {
  localStorage.setItem("theme", chosen);
  showTheme(chosen);
  charts.redraw();
}

const nextTheme = () => setTheme(themes[(themes.indexOf(theme()) + 1) % themes.length]);

// ---- Settings of this browser; each control names what it sets.

const settings = {
  theme: { get: theme, set: setTheme },
  pace: { get: () => String(live.pace), set: (value) => live.setPace(Number(value)) },
  payloads: {
    get: () => localStorage.getItem("payloads") ?? "shown",
    set(value) {
      localStorage.setItem("payloads", value);
      document.documentElement.dataset.payloads = value;
    },
  },
};

function showSettings() {
  for (const control of all("[data-setting]")) {
    control.disabled = false;
    control.value = settings[control.dataset.setting].get();
    control.addEventListener("change", () => settings[control.dataset.setting].set(control.value));
  }
}

// ---- Things that can be hidden for good, in this browser.

const hides = (name) => `hides ${name}`;

function hideHidden() {
  for (const thing of all("[data-hideable]")) thing.hidden = localStorage.getItem(hides(thing.dataset.hideable)) !== null;
  for (const button of all("[data-hide]")) button.hidden = false;
}

function hide(name) {
  localStorage.setItem(hides(name), "yes");
  hideHidden();
}

// ---- Copying; the fallback is for plain HTTP, where browsers hide the clipboard.

async function copy(button) {
  const { copy: id, copyFrom: url } = button.dataset;
  const text = id ? byId(id).textContent : await (await fetch(url)).text();
  if (navigator.clipboard) await navigator.clipboard.writeText(text);
  else copyBySelection(text);
  button.classList.add("copied");
  const label = button.title;
  button.title = "Copied";
  setTimeout(() => Object.assign(button, { title: label }).classList.remove("copied"), 1_200);
}

function copyBySelection(text) {
  const area = document.createElement("textarea");
  area.value = text;
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}

// ---- Keys.

let isGoing = false;

function onKey(event) {
  if ((event.ctrlKey || event.metaKey) && event.key === "k" && byId("palette")) {
    event.preventDefault();
    return openPalette();
  }
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, textarea, select, dialog[open]")) return;
  const link = isGoing && document.querySelector(`nav a[data-key="${CSS.escape(event.key)}"]`);
  isGoing = event.key === "g" && !isGoing;
  if (link) return link.click();
  const action = keys[event.key];
  if (action && action(event) !== false) event.preventDefault();
}

function closeMenu() {
  const menu = document.querySelector("details.menu[open]");
  if (!menu) return false;
  menu.open = false;
  menu.querySelector("summary").focus();
}

const keys = {
  Escape: closeMenu,
  j: () => moveRow(1),
  k: () => moveRow(-1),
  Enter: () => document.activeElement === document.body && openRow(document.querySelector("tr[data-at]")),
  "/": () => (byId("search") ? byId("search").focus() : location.assign(`${byHref("j")}#search`)),
  p: () => live.button?.click(),
  t: nextTheme,
  "?": () => byId("keys").showModal(),
};

const byHref = (key) => document.querySelector(`nav a[data-key="${key}"]`).href;

function moveRow(step) {
  const rows = all("table.rows tr[data-href]");
  const at = rows.findIndex((row) => row.hasAttribute("data-at"));
  const next = rows[Math.min(Math.max(at + step, 0), rows.length - 1)];
  if (!next) return;
  rows[at]?.removeAttribute("data-at");
  next.setAttribute("data-at", "");
  next.scrollIntoView({ block: "nearest" });
}

function openRow(row) {
  if (!row) return false;
  location.assign(row.dataset.href);
}

// ---- Another tenant: the same page with its filter and range, from the beginning of its list.

function switchTenant(event) {
  const form = event.target.closest(".tenant-choice");
  if (!form) return;
  event.preventDefault();
  const there = new URL(form.action, location.href);
  there.search = there.pathname === location.pathname ? location.search : "";
  for (const name of ["before", "after", "tenant"]) there.searchParams.delete(name);
  if (form.elements.tenant.value) there.searchParams.set("tenant", form.elements.tenant.value);
  location.assign(there);
}

// ---- Everything together.

// What scrolls sideways can be scrolled by keys, too.
function reachScrolling() {
  for (const box of all(".scroll, .json-box, pre.raw")) {
    if (box.scrollWidth > box.clientWidth || box.scrollHeight > box.clientHeight) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
  }
}

function enhance() {
  reachScrolling();
  for (const button of all("[data-copy], [data-copy-from]")) button.hidden = false;
  hideHidden();
  charts.draw();
}

addEventListener("resize", reachScrolling);
document.addEventListener("keydown", onKey);
document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-copy], [data-copy-from]");
  if (button) return copy(button);
  const hider = event.target.closest("[data-hide]");
  if (hider) return hide(hider.dataset.hide);
  for (const menu of all("details.menu[open]")) if (!menu.contains(event.target)) menu.open = false;
  const row = event.target.closest("tr[data-href]");
  if (row && !event.target.closest("a, button, form, summary") && !String(getSelection())) openRow(row);
});
// On a phone these rows go sideways.
for (const chosen of all(".bar nav [aria-current], .facets [aria-current]")) chosen.scrollIntoView({ block: "nearest", inline: "nearest" });
document.addEventListener("change", (event) => event.target.closest("[data-submit-on-change]")?.requestSubmit());
document.addEventListener("submit", switchTenant);
document.addEventListener("htmx:configRequest", ({ detail }) => {
  for (const [name, value] of [...detail.formData.entries()]) if (value === "") detail.formData.delete(name);
});
document.addEventListener("htmx:afterSettle", enhance);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => charts.redraw());

if (byId("theme")) {
  byId("theme").hidden = byId("keys-button").hidden = byId("palette-button").hidden = false;
  showTheme(theme());
  byId("theme").addEventListener("click", nextTheme);
  byId("keys-button").addEventListener("click", () => byId("keys").showModal());
  byId("palette-button").addEventListener("click", openPalette);
}
if (location.hash === "#search") byId("search")?.focus();
regions.afterShow = enhance;
showSettings();
enhance();
setInterval(() => live.isPaused || document.hidden || tellTimes(), 1_000);
if (live.button) live.start();
