// Charts from the tables that say the same in numbers: uPlot draws what is in <figure data-chart>'s table.
import { listen } from "./bus.js";

const COLORS = ["--link", "--wrong", "--warn", "--good"];
const drawn = new Map(); // figure -> [plot, text of its table]

function color(name) {
  // The pairs of light-dark() are only resolved where they are used.
  const probe = document.createElement("span");
  probe.style.color = `var(${name})`;
  document.body.append(probe);
  const value = getComputedStyle(probe).color;
  probe.remove();
  return value;
}

// A logarithmic scale has no zero.
function data(table, logarithmic) {
  const rows = [...table.tBodies[0].rows];
  return Array.from({ length: table.tHead.rows[0].cells.length }, (_, column) =>
    rows.map((row) => {
      const cell = row.cells[column];
      const value = Number(cell.dataset.v ?? cell.textContent);
      return Number.isFinite(value) && (value > 0 || !logarithmic) ? value : null;
    }));
}

function seconds(value) {
  if (value >= 3600) return `${Math.round((value / 3600) * 10) / 10} h`;
  if (value >= 60) return `${Math.round((value / 60) * 10) / 10} min`;
  if (value >= 1 || value === 0) return `${Math.round(value * 10) / 10} s`;
  return `${Math.round(value * 1000)} ms`;
}

function clock(at, tier) {
  const when = new Date(at * 1000);
  if (tier === "day") return when.toLocaleDateString([], { day: "numeric", month: "short", timeZone: "UTC" });
  return when.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", hour12: false });
}

// On a logarithmic scale only spans are marked that people think in.
const MOST_MARKS = 6;
const SPANS = [0.001, 0.01, 0.1, 1, 10, 60, 600, 3600, 36000];

function valueAxis(figure, axis, write) {
  const plain = { ...axis, size: 60, values: (_, all) => all.map(write) };
  if (figure.dataset.unit !== "s") return plain;
  const marks = (_, __, low, high) => {
    const within = SPANS.filter((one) => one >= low && one <= high);
    return within.length > MOST_MARKS ? within.filter((__, at) => at % 2 === 0) : within;
  };
  return { ...plain, splits: marks, filter: (_, splits) => splits };
}

// Lines need two points: one that has no neighbour is drawn by itself.
function alone(plot, series) {
  const values = plot.data[series];
  return [...values.keys()].filter((at) => values[at] !== null && (values[at - 1] ?? null) === null && (values[at + 1] ?? null) === null);
}

// Lines never differ only by color.
const dashed = (series) => series > 2;

function options(figure, names, width) {
  const line = color("--line");
  const soft = color("--soft");
  const write = figure.dataset.unit === "s" ? seconds : (value) => value.toLocaleString("en");
  const axis = { stroke: soft, grid: { stroke: line, width: 1 }, ticks: { stroke: line, width: 1 }, font: "12px system-ui" };
  return {
    width,
    height: 190,
    cursor: { points: { size: 6 } },
    legend: { live: true, markers: { dash: (_, at) => (dashed(at) ? "dashed" : "solid") } },
    scales: { y: figure.dataset.unit === "s"
      ? { distr: 3, log: 10, range: (_, low, high) => [Math.min(low ?? 0.01, 0.1), Math.max(high ?? 1, 1) * 1.5] }
      : { range: (_, low, high) => [0, Math.max(high * 1.1, 4)] } },
    axes: [{ ...axis, values: (_, all) => all.map((at) => clock(at, figure.dataset.tier)) }, valueAxis(figure, axis, write)],
    series: [
      { label: "time", value: (_, at) => (at === null ? "" : clock(at, figure.dataset.tier)) },
      ...names.map((label, at) => ({
        label,
        stroke: color(COLORS[at % COLORS.length]),
        width: 2,
        dash: dashed(at + 1) ? [6, 4] : undefined,
        points: { show: true, size: 5, filter: alone },
        value: (plot, value) => (value !== null ? write(value) : plot.cursor.idx === null ? "" : "–"),
      })),
    ],
  };
}

function draw(figure, again = false) {
  const table = figure.querySelector("details table"); // the plot has one of its own
  const place = figure.querySelector(".plot");
  if (!table || !place || typeof uPlot === "undefined") return;
  const text = table.tBodies[0].textContent;
  const before = drawn.get(figure);
  if (before && !again && before[1] === text && place.contains(before[0].root)) return;
  const values = data(table, figure.dataset.unit === "s");
  if (before && !again && place.contains(before[0].root)) {
    before[0].setData(values);
    drawn.set(figure, [before[0], text]);
    return;
  }
  place.replaceChildren();
  const names = [...table.tHead.rows[0].cells].slice(1).map((cell) => cell.textContent.trim());
  const plot = new uPlot(options(figure, names, place.clientWidth), values, place);
  plot.root.setAttribute("aria-hidden", "true"); // the caption and the table say it
  drawn.set(figure, [plot, text]);
}

function drawAll(again = false) {
  for (const figure of drawn.keys()) if (!figure.isConnected) drawn.delete(figure);
  for (const figure of document.querySelectorAll("[data-chart]")) draw(figure, again);
}

export function startCharts() {
  drawAll();
  listen("morphed", () => drawAll());
  addEventListener("themechange", () => drawAll(true));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawAll(true));
  new ResizeObserver(() => {
    for (const [figure, [plot]] of drawn) {
      const width = figure.querySelector(".plot")?.clientWidth;
      if (width && Math.abs(width - plot.width) > 2) plot.setSize({ width, height: 190 });
    }
  }).observe(document.body);
}
