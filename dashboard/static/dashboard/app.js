// What the pages do beyond plain HTML: live regions, charts, keys, copying. Each page works without.

import { charts } from "./charts.js";
import { duration } from "./duration.js";
import { morph } from "./morph.js";

const HEARTBEAT_LIMIT_MS = 40_000;
const POLL_MS = 5_000;
const MAX_RECONNECT_MS = 30_000;

const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const byId = (id) => document.getElementById(id);

// ---- Regions: `?partial=` of the page's own address, one request at a time.

const regions = {
  dirty: new Set(),
  due: new Map(),
  isBusy: false,
  isPaused: localStorage.getItem("live") === "paused",
  isReachable: true,

  names: () => all("[data-region]").map((element) => element.dataset.region),

  async refresh(names = []) {
    for (const name of names) if (byId(name)) this.dirty.add(name);
    if (this.isBusy || this.isPaused || document.hidden) return;
    this.isBusy = true;
    try {
      for (let due = this.takeDue(); due.length; due = this.takeDue()) await this.fetch(due);
    } finally {
      this.isBusy = false;
    }
    if (this.dirty.size) setTimeout(() => this.refresh(), 1_000);
  },

  takeDue() {
    const now = Date.now();
    const due = [...this.dirty].filter((name) => now >= (this.due.get(name) ?? 0));
    for (const name of due) {
      this.dirty.delete(name);
      this.due.set(name, now + 1_000 * (byId(name)?.dataset.every ?? 0));
    }
    return this.isPaused || document.hidden ? [] : due;
  },

  async fetch(names) {
    const url = new URL(location.href);
    url.searchParams.set("partial", names.join(","));
    let response;
    try {
      response = await fetch(url);
    } catch {
      this.isReachable = false;
      return;
    }
    this.isReachable = response.ok || response.status < 500;
    if (response.redirected || (!response.ok && response.status < 500)) return location.reload();
    if (!response.ok || !url.search.startsWith(location.search)) return;
    const html = await response.text();
    if (!this.isPaused) this.show(html); // it may have been paused meanwhile; resuming asks for all
  },

  show(html) {
    const focused = document.activeElement;
    for (const fresh of all("[data-region]", new DOMParser().parseFromString(html, "text/html"))) {
      const region = byId(fresh.id);
      if (region) morph(region, fresh);
    }
    // A row that moved has lost the focus on its way.
    if (focused?.isConnected && document.activeElement !== focused) focused.focus({ preventScroll: true });
    enhance();
  },
};

// ---- Live: the socket names regions that changed; without it the page polls. The server sends its
// next message only after the last was answered, so a slow page is told less often and never lags.

const live = {
  button: byId("live"),
  socket: null,
  seq: 0,
  failures: 0,
  heardAt: 0,
  hasTrouble: false,

  start() {
    this.button.hidden = false;
    this.button.addEventListener("click", () => this.togglePause());
    document.addEventListener("visibilitychange", () => regions.refresh());
    this.connect();
    setInterval(() => this.poll(), POLL_MS);
    setInterval(() => this.tick(), 1_000);
  },

  connect() {
    const tenant = document.body.dataset.liveTenant;
    const query = tenant ? `?tenant=${encodeURIComponent(tenant)}` : "";
    this.socket = new WebSocket(`${location.origin.replace(/^http/, "ws")}/ws/live${query}`);
    this.heardAt = Date.now();
    this.seq = 0;
    this.socket.addEventListener("message", (event) => this.hear(JSON.parse(event.data)));
    this.socket.addEventListener("close", (event) => this.reconnect(event.code));
  },

  async hear({ seq, changed, trouble = false }) {
    const hasGap = seq !== this.seq + 1;
    Object.assign(this, { seq, failures: 0, heardAt: Date.now(), hasTrouble: trouble });
    this.tell();
    const socket = this.socket;
    await regions.refresh(hasGap ? regions.names() : changed);
    if (socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify({ seen: seq }));
  },

  reconnect(code) {
    if (code === 4401) return location.reload();
    this.failures += 1;
    this.tell();
    const delay = Math.min(1_000 * 2 ** this.failures, MAX_RECONNECT_MS) * (0.5 + Math.random());
    setTimeout(() => this.connect(), delay);
  },

  get isOpen() {
    return this.socket?.readyState === WebSocket.OPEN && this.seq > 0;
  },

  async poll() {
    if (this.isOpen) return;
    await regions.refresh(regions.names());
    this.tell();
  },

  tick() {
    if (this.isOpen && Date.now() - this.heardAt > HEARTBEAT_LIMIT_MS) this.socket.close();
    if (!regions.isPaused) tellTimes();
  },

  togglePause() {
    regions.isPaused = !regions.isPaused;
    localStorage.setItem("live", regions.isPaused ? "paused" : "on");
    this.tell();
    regions.refresh(regions.names());
  },

  get state() {
    if (regions.isPaused) return "paused";
    if (!regions.isReachable || this.hasTrouble) return "offline";
    return this.isOpen ? "live" : this.failures ? "polling" : "connecting";
  },

  tell() {
    if (this.button.dataset.state === this.state) return;
    this.button.dataset.state = this.button.textContent = this.state;
    this.button.title = {
      live: "Changes show at once. Click to pause.",
      polling: `No live connection: asking every ${POLL_MS / 1_000} seconds. Click to pause.`,
      paused: "Nothing is fetched. Click to resume.",
      offline: "The server or its database cannot be reached; trying again.",
      connecting: "Connecting.",
    }[this.state];
  },
};

// ---- Times: told relative to now, as the server tells them.

function tellTimes() {
  for (const element of all("time[data-time]")) {
    const seconds = (Date.now() - Date.parse(element.dateTime)) / 1_000;
    const length = duration(Math.abs(seconds) < 1 ? 0 : Math.floor(Math.abs(seconds)));
    const text = element.dataset.time === "age" ? length : seconds < 0 ? `in ${length}` : `${length} ago`;
    if (Math.abs(seconds) >= 1 && element.textContent !== text) element.textContent = text;
  }
}

// ---- Theme: as the system, light, dark.

const themes = ["system", "light", "dark"];

function showTheme(chosen) {
  if (chosen === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = chosen;
  byId("theme").title = `Theme: ${chosen === "system" ? "as the system" : chosen}`;
}

function nextTheme() {
  const now = localStorage.getItem("theme") ?? "system";
  const chosen = themes[(themes.indexOf(now) + 1) % themes.length];
  localStorage.setItem("theme", chosen);
  showTheme(chosen);
  charts.redraw();
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
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, textarea, select, dialog[open]")) return;
  const link = isGoing && document.querySelector(`nav a[data-key="${CSS.escape(event.key)}"]`);
  isGoing = event.key === "g" && !isGoing;
  if (link) return link.click();
  const action = keys[event.key];
  if (action && action(event) !== false) event.preventDefault();
}

const keys = {
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

// ---- Everything together.

function enhance() {
  for (const button of all("[data-copy], [data-copy-from]")) button.hidden = false;
  charts.draw();
}

document.addEventListener("keydown", onKey);
document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-copy], [data-copy-from]");
  if (button) return copy(button);
  const row = event.target.closest("tr[data-href]");
  if (row && !event.target.closest("a, button, form, summary") && !String(getSelection())) openRow(row);
});
document.addEventListener("change", (event) => event.target.closest("[data-submit-on-change]")?.requestSubmit());
document.addEventListener("htmx:configRequest", ({ detail }) => {
  for (const [name, value] of [...detail.formData.entries()]) if (value === "") detail.formData.delete(name);
});
document.addEventListener("htmx:afterSettle", enhance);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => charts.redraw());

if (byId("theme")) {
  byId("theme").hidden = byId("keys-button").hidden = false;
  showTheme(localStorage.getItem("theme") ?? "system");
  byId("theme").addEventListener("click", nextTheme);
  byId("keys-button").addEventListener("click", () => byId("keys").showModal());
}
if (location.hash === "#search") byId("search")?.focus();
enhance();
if (live.button) live.start();
