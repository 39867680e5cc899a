// Numbers that every pulse brings, written into the text nodes that show them.
import { listen } from "./bus.js";
import { show as showTime } from "./times.js";

const RATES = new Set(["rate_in", "rate_out"]);

export function written(name, value) {
  if (RATES.has(name)) {
    const digits = value === 0 || value >= 100 ? 0 : value >= 10 ? 1 : 2;
    return value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
  }
  return value.toLocaleString("en");
}

export function put(element, text) {
  if (element.firstChild?.nodeType === Node.TEXT_NODE && element.childNodes.length === 1) {
    if (element.firstChild.data !== text) element.firstChild.data = text;
  } else element.textContent = text;
}

// A moment since when something is so; the element of the time keeps it current.
function putSince(element, at) {
  const shown = element.querySelector("time");
  if (!at) { put(element, "–"); return; }
  const time = shown ?? document.createElement("time");
  time.dateTime = new Date(at * 1000).toISOString();
  time.dataset.time = "for";
  time.title = new Date(at * 1000).toISOString().slice(0, 19).replace("T", " ") + " UTC";
  if (!shown) element.replaceChildren(time);
  showTime(time);
}

function show(pulse) {
  for (const element of document.querySelectorAll("[data-total]")) {
    const name = element.dataset.total;
    if (Number.isFinite(pulse[name])) put(element, written(name, pulse[name]));
  }
  for (const element of document.querySelectorAll("[data-while]")) element.hidden = !pulse[element.dataset.while];
  for (const element of document.querySelectorAll("[data-total-since]")) putSince(element, pulse[element.dataset.totalSince]);
  for (const row of document.querySelectorAll("[data-queue]")) {
    const numbers = pulse.queues[row.dataset.queue];
    if (!numbers) continue;
    for (const element of row.querySelectorAll("[data-fills]")) element.classList.toggle("is-full", numbers.state === "full");
    for (const element of row.querySelectorAll("[data-n]")) {
      if (element.dataset.n in numbers) put(element, written(element.dataset.n, numbers[element.dataset.n]));
      if ("alarm" in element.dataset) element.classList.toggle("wrong-text", numbers[element.dataset.n] > 0);
    }
  }
}

export function startNumbers() {
  listen("pulse", show);
}
