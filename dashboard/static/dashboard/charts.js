// The charts of the overview, drawn by uPlot from the figures that the page carries.

import { exactDuration } from "./duration.js";

// Where the marks of the axis of waits may stand. It is logarithmic: where one queue stands still, its
// oldest job has waited for hours, and the p95 of the others is still told from twice as much.
const ROUND_TIMES = [0.001, 0.01, 0.1, 1, 10, 60, 600, 3_600, 21_600, 86_400, 604_800, 2_592_000];

const all = (selector, root = document) => [...root.querySelectorAll(selector)];

export const charts = {
  plots: [],

  draw() {
    const holder = document.querySelector("[data-chart]");
    if (!holder || !window.uPlot) return;
    const series = JSON.parse(holder.dataset.chart);
    const waits = holder.dataset.wait === "p95" ? series.wait_p95 : series.wait_avg;
    const data = [endedData(series), [series.at, waits.map(atLeastOne), series.oldest.map(atLeastOne)]];
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

const atLeastOne = (seconds) => (seconds == null ? null : Math.max(seconds, ROUND_TIMES[0]));

// From mark to mark, and two of them at least.
function rangeOfTimes(_, least, most) {
  const from = Math.max(ROUND_TIMES.findLastIndex((time) => time <= (least ?? 0.01)), 0);
  const to = ROUND_TIMES.findIndex((time) => time >= (most ?? 1));
  return [ROUND_TIMES[from], ROUND_TIMES[Math.max(to, from + 1)] ?? ROUND_TIMES.at(-1)];
}

// The newest one is not over, and paler.
function barsOf(name) {
  const [full, pale] = [`var(--${name})`, `color-mix(in srgb, var(--${name}) 50%, var(--card))`].map(colour);
  const values = (plot, index) => plot.data[index].map((_, at, whole) => (at < whole.length - 1 ? full : pale));
  return uPlot.paths.bars({ size: [0.8, 24], align: 1, disp: { fill: { unit: 3, values } } });
}

function makePlot(mount, data) {
  const isEnded = mount.dataset.plot === "ended";
  const filled = (name) => ({ fill: colour(`var(--${name})`), width: 0, paths: barsOf(name), points: { show: false } });
  const line = (name, width) => ({ stroke: colour(`var(--${name})`), width, points: { show: true, size: 4 } });
  const series = isEnded
    ? [filled("done"), filled("failed"), filled("dlq")]
    : [line("pending", 2), line("ink", 1)];
  const axis = { stroke: colour("var(--soft)"), font: "11px system-ui", ticks: { show: false }, grid: { stroke: colour("var(--line)"), width: 1 } };
  const between = (_, __, from, to) => ROUND_TIMES.filter((one) => from <= one && one <= to);
  const time = isOfDays(data[0]) ? day : clock;
  const marks = isEnded
    ? { size: 52 }
    : { size: 66, splits: between, filter: (_, ticks) => ticks, values: (_, ticks) => ticks.map(exactDuration) };
  const plot = new uPlot(
    {
      width: mount.clientWidth,
      height: mount.clientHeight,
      legend: { show: false },
      cursor: { y: false, sync: { key: "time" }, drag: { x: false, y: false }, points: { show: false } },
      tzDate: (at) => uPlot.tzDate(new Date(at * 1_000), "Etc/UTC"),
      // Each bucket is drawn from its beginning on, the newest as well.
      scales: { x: { range: ({ data: [at] }, first, last) => [first, last + at[1] - at[0]] }, y: isEnded ? { range: (_, __, top) => [0, Math.max(top || 0, 4) * 1.08] } : { distr: 3, range: rangeOfTimes } },
      axes: [{ ...axis, size: 26, grid: { show: false }, values: (_, ticks) => ticks.map(time) }, { ...axis, ...marks }],
      series: [{}, ...series],
      hooks: { setCursor: [(plot) => tell(plot, isEnded)], ready: [({ over }) => over.addEventListener("click", () => openTime(plot))] },
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
  const idx = bucketAt(plot);
  if (idx < 0) return told.replaceChildren();
  const [at, first, second, third] = plot.data.map((column) => column[idx]);
  const length = (value) => (value == null ? "—" : exactDuration(value));
  const figures = isEnded
    ? `${first - second} done, ${second - third} failed, ${third} dead`
    : `${plot.root.closest("[data-wait]").dataset.wait} ${length(first)}, oldest ${length(second)}`;
  told.textContent = `${isOfDays(plot.data[0]) ? `${day(at)} ` : ""}${clock(at)}: ${figures}`;
}

// The one under the cursor: a bucket is drawn from its beginning on.
const bucketAt = ({ cursor, data, posToVal }) => (cursor.left < 0 ? -1 : data[0].findLastIndex((at) => at <= posToVal(cursor.left, "x")));

// What ended then is where the table leads; a finger, which cannot point without that, goes there.
function openTime(plot) {
  const at = plot.data[0][bucketAt(plot)];
  if (matchMedia("(hover: hover)").matches) document.querySelector(`#throughput-table a[data-at="${at}"]`)?.click();
}

const isOfDays = (times) => times.at(-1) - times[0] > 2 * 86_400;
const day = (at) => new Date(at * 1_000).toISOString().slice(5, 10);

// Hours and minutes, in UTC like every exact time on the pages.
const clock = (at) => new Date(at * 1_000).toISOString().slice(11, 16);

// What a colour of the stylesheet is now, in the theme in force.
function colour(written) {
  const probe = document.createElement("i");
  probe.style.color = written;
  document.body.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}
