// Live regions: the socket names those that changed, `?partial=` of the page's own address fetches
// them, one request at a time. Without a socket the page polls. A page that is paused or hidden
// closes its socket and fetches nothing.

import { morph } from "./morph.js";

const STALE_AFTER_MS = 10_000; // two heartbeats
const HEARTBEAT_LIMIT_MS = 40_000;
const POLL_SECONDS = 5;
const MAX_RECONNECT_MS = 30_000;
const MAX_UNANSWERED_SECONDS = 15; // the server gives up on a page that is silent for a minute
const HIDDEN_FOR_MS = 10_000; // a glance at another tab keeps the socket

const PACES = [1, 2, 5, 15, 30, 60, 0];

function keptPace() {
  const kept = Number(localStorage.getItem("pace") ?? 1);
  return PACES.includes(kept) ? kept : 1;
}

const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const byId = (id) => document.getElementById(id);

export const regions = {
  dirty: new Set(),
  due: new Map(),
  notBefore: 0,
  isBusy: false,
  isReachable: true,
  timer: 0,
  afterShow: () => {},

  names: () => all("[data-region]").map((element) => element.dataset.region),

  async refresh(names = []) {
    for (const name of names) if (byId(name)) this.dirty.add(name);
    if (this.isBusy || live.isResting) return;
    this.isBusy = true;
    try {
      for (let due = this.takeDue(); due.length; due = this.takeDue()) await this.fetch(due);
    } finally {
      this.isBusy = false;
    }
    clearTimeout(this.timer);
    if (this.dirty.size) this.timer = setTimeout(() => this.refresh(), 1_000);
  },

  // All at once, whatever the pace: somebody is waiting.
  refreshNow() {
    this.notBefore = 0;
    this.due.clear();
    return this.refresh(this.names());
  },

  takeDue() {
    const now = Date.now();
    if (live.isResting || now < this.notBefore) return [];
    const due = [...this.dirty].filter((name) => now >= (this.due.get(name) ?? 0));
    for (const name of due) {
      this.dirty.delete(name);
      this.due.set(name, now + 1_000 * (byId(name)?.dataset.every ?? 0));
    }
    if (due.length && live.pace > 1) this.notBefore = now + 1_000 * live.pace;
    return due;
  },

  async fetch(names) {
    const asked = location.search;
    const url = new URL(location.href);
    url.searchParams.set("partial", names.join(","));
    const response = await fetch(url).catch(() => null);
    this.isReachable = response !== null && response.status < 500;
    live.tell();
    if (!this.isReachable) return this.fetchLater(names);
    if (response.redirected || !response.ok) return location.reload();
    const html = await response.text();
    if (asked !== location.search) return; // another filter's list stands there by now
    if (!live.isPaused) this.show(html); // it may have been paused meanwhile; resuming asks for all
  },

  // What could not be fetched may not change again, so nobody would ask for it once more.
  fetchLater(names) {
    for (const name of names) this.dirty.add(name);
    this.notBefore = Date.now() + 1_000 * POLL_SECONDS;
  },

  show(html) {
    const focused = document.activeElement;
    for (const fresh of all("[data-region]", new DOMParser().parseFromString(html, "text/html"))) {
      const region = byId(fresh.id);
      if (region) morph(region, fresh);
    }
    // A row that moved has lost the focus on its way.
    if (focused?.isConnected && document.activeElement !== focused) focused.focus({ preventScroll: true });
    this.afterShow();
  },
};

// The server sends its next message only after the last was answered, so a slow page is told less
// often and never lags.
export const live = {
  button: byId("live"),
  picker: byId("pace"),
  socket: null,
  seq: 0,
  failures: 0,
  heardAt: 0,
  hiddenAt: 0,
  hasTrouble: false,

  // Seconds between two updates at least; 0 is paused.
  pace: keptPace(),
  lastPace: 1,

  get isPaused() {
    return this.pace === 0;
  },

  get isResting() {
    return this.isPaused || document.hidden;
  },

  start() {
    this.button.hidden = this.picker.hidden = false;
    this.picker.value = String(this.pace);
    this.button.addEventListener("click", () => this.togglePause());
    this.picker.addEventListener("change", () => this.setPace(Number(this.picker.value)));
    document.addEventListener("visibilitychange", () => this.look());
    if (!this.isResting) this.connect();
    setInterval(() => this.poll(), 1_000 * POLL_SECONDS);
    setInterval(() => this.tick(), 1_000);
    this.tell();
  },

  connect() {
    const tenant = document.body.dataset.liveTenant;
    const query = tenant ? `?tenant=${encodeURIComponent(tenant)}` : "";
    const socket = new WebSocket(`${location.origin.replace(/^http/, "ws")}/ws/live${query}`);
    this.socket = socket;
    this.heardAt = Date.now();
    this.seq = 0;
    socket.addEventListener("message", (event) => this.hear(socket, JSON.parse(event.data)));
    socket.addEventListener("close", (event) => this.socket === socket && this.lose(event.code));
  },

  disconnect() {
    const socket = this.socket;
    this.socket = null;
    socket?.close();
  },

  async hear(socket, { seq, changed, trouble = false }) {
    const hasGap = seq !== this.seq + 1;
    Object.assign(this, { seq, failures: 0, heardAt: Date.now(), hasTrouble: trouble });
    this.tell();
    await regions.refresh(hasGap ? regions.names() : changed);
    const answer = () => socket.readyState === WebSocket.OPEN && socket.send(JSON.stringify({ seen: seq }));
    if (this.pace > 1) setTimeout(answer, 1_000 * Math.min(this.pace, MAX_UNANSWERED_SECONDS));
    else answer();
  },

  lose(code) {
    if (code === 4401) return location.reload();
    this.socket = null;
    this.failures += 1;
    this.tell();
    const delay = Math.min(1_000 * 2 ** this.failures, MAX_RECONNECT_MS) * (0.5 + Math.random());
    setTimeout(() => this.socket || this.isResting || this.connect(), delay);
  },

  get isOpen() {
    return this.socket?.readyState === WebSocket.OPEN && this.seq > 0;
  },

  get silentMs() {
    return Date.now() - this.heardAt;
  },

  // A slow pace answers late, and so hears late.
  get isStale() {
    const ownDelay = this.pace > 1 ? 1_000 * Math.min(this.pace, MAX_UNANSWERED_SECONDS) : 0;
    return this.isOpen && this.silentMs > STALE_AFTER_MS + ownDelay;
  },

  // Seen again, or resumed: what changed meanwhile is fetched, and the socket opened anew.
  look() {
    if (document.hidden) {
      this.hiddenAt = Date.now();
    } else {
      if (!this.socket && !this.isPaused) this.connect();
      regions.refreshNow();
    }
  },

  async poll() {
    if (this.isOpen || this.isResting) return;
    await regions.refresh(regions.names());
    this.tell();
  },

  tick() {
    if (this.isOpen && this.silentMs > HEARTBEAT_LIMIT_MS) this.socket.close();
    if (document.hidden && this.socket && Date.now() - this.hiddenAt > HIDDEN_FOR_MS) this.disconnect();
    if (!this.isResting) this.refreshByTime();
    if (this.isStale) this.tell();
  },

  // What becomes true by the mere passing of time.
  refreshByTime() {
    const isDue = ({ dataset }) => Math.floor(Date.now() / 1_000) % Number(dataset.refresh) === 0;
    const names = all("[data-refresh]").filter(isDue).map((element) => element.dataset.region);
    if (names.length) regions.refresh(names);
  },

  togglePause() {
    this.setPace(this.isPaused ? this.lastPace : 0);
  },

  setPace(seconds) {
    if (this.pace) this.lastPace = this.pace;
    this.pace = seconds;
    localStorage.setItem("pace", seconds);
    if (!this.button) return;
    this.picker.value = String(seconds);
    if (this.isPaused) this.disconnect();
    this.look();
    this.tell();
  },

  get state() {
    if (this.isPaused) return "paused";
    if (!regions.isReachable || this.hasTrouble) return "offline";
    if (this.isStale) return "stale";
    return this.isOpen ? "live" : this.failures ? "polling" : "connecting";
  },

  tell() {
    const { button, state } = this;
    byId("trouble").hidden = state !== "offline";
    if (state === "stale") button.textContent = `stale for ${Math.round(this.silentMs / 1_000)} s`;
    if (button.dataset.state === state && button.title) return;
    button.dataset.state = state;
    if (state !== "stale") button.textContent = state;
    button.setAttribute("aria-label", `${state}: ${this.isPaused ? "resume" : "pause"} the updates`);
    button.title = {
      live: "What changes shows at once. Click to pause.",
      polling: `No live connection: asking every ${Math.max(POLL_SECONDS, this.pace)} seconds. Click to pause.`,
      stale: "The server says nothing any more: what is shown is as old as that. Click to pause.",
      paused: "Nothing is fetched. Click to resume.",
      offline: "The server or its database cannot be reached; trying again.",
      connecting: "Connecting.",
    }[state];
  },
};
