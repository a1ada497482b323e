// The charts of the overview, drawn by uPlot from the figures that the page carries.

import { exactDuration } from "./duration.js";

// Where the marks of an axis of seconds may stand: round in seconds, minutes, hours or days.
const ROUND_TIMES = [
  ...[0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30],
  ...[60, 120, 300, 600, 1_200, 1_800],
  ...[3_600, 7_200, 14_400, 21_600, 43_200, 86_400, 172_800, 604_800, 2_592_000],
];

const all = (selector, root = document) => [...root.querySelectorAll(selector)];

export const charts = {
  plots: [],

  draw() {
    const holder = document.querySelector("[data-chart]");
    if (!holder || !window.uPlot) return;
    const series = JSON.parse(holder.dataset.chart);
    const data = [endedData(series), [series.at, series.wait_p95, series.oldest]];
    if (this.plots.length && this.step === holder.dataset.step) {
      return this.plots.forEach((plot, index) => plot.setData(data[index]));
    }
    this.step = holder.dataset.step;
    this.plots.forEach((plot) => plot.destroy());
    this.plots = all("[data-plot]", holder).map((mount, index) => makePlot(mount, data[index]));
  },

  redraw() {
    this.step = null;
    this.draw();
  },
};

// Stacked: each column is drawn over the one before it, the largest first.
function endedData({ at, done, failed, dead }) {
  const bad = failed.map((count, index) => count + dead[index]);
  return [at, done.map((count, index) => count + bad[index]), bad, dead];
}

function makePlot(mount, data) {
  const isEnded = mount.dataset.plot === "ended";
  const bars = uPlot.paths.bars({ size: [0.8, 24], align: 1 });
  const filled = (name) => ({ fill: colour(name), width: 0, paths: bars, points: { show: false } });
  const line = (name, width) => ({ stroke: colour(name), width, points: { show: true, size: 4 } });
  const series = isEnded
    ? [filled("done"), filled("failed"), filled("dlq")]
    : [line("pending", 2), line("failed", 1)];
  const axis = { stroke: colour("soft"), font: "11px system-ui", ticks: { show: false }, grid: { stroke: colour("line"), width: 1 } };
  const unit = isEnded ? (value) => value : (value) => (value ? exactDuration(value) : "0");
  const time = isOfDays(data[0]) ? day : clock;
  const marks = isEnded ? { size: 52 } : { size: 66, incrs: ROUND_TIMES };
  const plot = new uPlot(
    {
      width: mount.clientWidth,
      height: mount.clientHeight,
      legend: { show: false },
      cursor: { y: false, sync: { key: "time" }, drag: { x: false, y: false }, points: { show: false } },
      tzDate: (at) => uPlot.tzDate(new Date(at * 1_000), "Etc/UTC"),
      // Each bucket is drawn from its beginning on, the newest as well.
      scales: { x: { range: ({ data: [at] }, first, last) => [first, last + at[1] - at[0]] }, y: { range: (_, __, top) => [0, Math.max(top || 0, isEnded ? 4 : 0.1) * 1.08] } },
      axes: [{ ...axis, size: 26, grid: { show: false }, values: (_, ticks) => ticks.map(time) }, { ...axis, ...marks, values: (_, ticks) => ticks.map(unit) }],
      series: [{}, ...series],
      hooks: { setCursor: [(plot) => tell(plot, isEnded)] },
    },
    data,
    mount,
  );
  new ResizeObserver(() => plot.setSize({ width: mount.clientWidth, height: mount.clientHeight })).observe(mount);
  return plot;
}

// The figures under the cursor, in words; the cursors of both charts move together.
function tell(plot, isEnded) {
  const told = document.getElementById(isEnded ? "ended-at" : "wait-at");
  const { idx } = plot.cursor;
  if (idx == null) return told.replaceChildren();
  const [at, first, second, third] = plot.data.map((column) => column[idx]);
  const length = (value) => (value == null ? "—" : exactDuration(value));
  const figures = isEnded
    ? `${first - second} done, ${second - third} failed, ${third} dead`
    : `p95 ${length(first)}, oldest ${length(second)}`;
  told.textContent = `${isOfDays(plot.data[0]) ? `${day(at)} ` : ""}${clock(at)}: ${figures}`;
}

const isOfDays = (times) => times.at(-1) - times[0] > 2 * 86_400;
const day = (at) => new Date(at * 1_000).toISOString().slice(5, 10);

// Hours and minutes, in UTC like every exact time on the pages.
const clock = (at) => new Date(at * 1_000).toISOString().slice(11, 16);

// The colour that a custom property has now, in the theme in force.
function colour(name) {
  const probe = document.createElement("i");
  probe.style.color = `var(--${name})`;
  document.body.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}
