// Keeps every <time data-time> current: ago, for, in, or the clock; in the reader's zone, UTC on hover.
import { listen } from "./bus.js";

const UNITS = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
let skew = 0; // seconds that the server's clock is ahead of this one

export function span(seconds) {
  if (seconds < 1) return "0 s";
  const whole = Math.floor(seconds);
  const at = UNITS.findIndex(([unit]) => whole >= unit);
  const [unit, name] = UNITS[at];
  const next = UNITS[at + 1];
  const rest = next ? Math.floor((whole % unit) / next[0]) : 0;
  return `${Math.floor(whole / unit)} ${name}` + (rest && at < 3 ? ` ${rest} ${next[1]}` : "");
}

export function now() {
  return Date.now() / 1000 + skew;
}

export function show(element) {
  const at = Date.parse(element.dateTime) / 1000;
  const kind = element.dataset.time;
  let text;
  if (kind === "clock") text = new Date(at * 1000).toLocaleString([], { hour12: false });
  else if (kind === "for") text = span(now() - at);
  else if (kind === "in") text = at > now() ? `in ${span(at - now())}` : "now";
  else text = now() - at < 2 ? "just now" : `${span(now() - at)} ago`;
  if (element.textContent !== text) element.textContent = text;
  if (!element.title) element.title = `${element.dateTime.slice(0, 19).replace("T", " ")} UTC`;
}

function showAll() {
  if (document.documentElement.hasAttribute("data-paused")) return;
  for (const element of document.querySelectorAll("time[data-time]")) show(element);
}

export function startTimes() {
  const main = document.getElementById("main");
  if (main) skew = Number(main.dataset.at) - Date.now() / 1000;
  if (Math.abs(skew) < 2) skew = 0;
  showAll();
  setInterval(showAll, 1000);
  listen("morphed", showAll);
}
