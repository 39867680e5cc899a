// The keyboard: single keys where no field has focus, g and a letter for pages, rows, and the palette that goes anywhere.
import { hear, remember, remembered, root } from "./bus.js";
import { paused, setPaused } from "./live.js";
import { changeTheme } from "./shell.js";

let afterG = false;
let row = -1;
let queues = [];

const on = () => remembered("keys", "on") === "on";
const rows = () => [...document.querySelectorAll("main [data-row]")];

function choose(step) {
  const all = rows();
  if (!all.length) return;
  row = Math.min(Math.max(row + step, 0), all.length - 1);
  for (const [at, one] of all.entries()) one.classList.toggle("chosen", at === row);
  const link = all[row].querySelector("a") ?? all[row];
  link.focus();
  all[row].scrollIntoView({ block: "nearest" });
}

// What is behind the menu button on a narrow screen comes out for it.
function seek() {
  const field = document.querySelector("main [data-filter]") ?? document.getElementById("find");
  if (!field.checkVisibility()) field.closest("[popover]")?.showPopover();
  field.focus();
}

function onSingle(key) {
  if (key === "p") setPaused(!paused());
  else if (key === "t") changeTheme();
  else if (key === "?") document.getElementById("keys-dialog").showModal();
  else if (key === "/") seek();
  else if (key === "j") choose(1);
  else if (key === "k") choose(-1);
  else if (key === "x") rows()[row]?.querySelector("input[type=checkbox]")?.click();
  else return false;
  return true;
}

function onKey(event) {
  if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "k") {
    event.preventDefault();
    openPalette();
    return;
  }
  const field = event.target.closest("input:not([type=checkbox]), textarea, select, [contenteditable]");
  if (event.key === "Escape" && field && !field.closest("dialog")) field.blur();
  if (field || !on() || event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  if (afterG) {
    afterG = false;
    const link = document.querySelector(`.menu nav a[data-key="${CSS.escape(event.key)}"]`);
    if (link) { event.preventDefault(); link.click(); }
  } else if (event.key === "g") {
    afterG = true;
    setTimeout(() => { afterG = false; }, 1500);
  } else if (onSingle(event.key)) event.preventDefault();
}

function places(text) {
  const wanted = text.trim().toLowerCase();
  const found = [...document.querySelectorAll(".menu nav a")].map((link) => [link.textContent, link.getAttribute("href")]);
  found.push(...queues.map((name) => [`queue ${name}`, `${root}/queues/${encodeURIComponent(name)}`]));
  const fitting = found.filter(([words]) => words.toLowerCase().includes(wanted)).slice(0, 12);
  if (wanted.length > 3) fitting.push([`job ${text.trim()}`, `${root}/jobs?id=${encodeURIComponent(text.trim())}`]);
  return fitting;
}

function showPlaces() {
  const list = document.getElementById("palette-list");
  list.replaceChildren(...places(document.getElementById("palette-text").value).map(([words, href], at) => {
    const option = document.createElement("li");
    option.id = `place-${at}`;
    option.setAttribute("role", "option");
    option.setAttribute("aria-selected", String(at === 0));
    option.dataset.href = href;
    option.textContent = words;
    return option;
  }));
  markPlace(0);
}

function markPlace(at) {
  const options = [...document.querySelectorAll("#palette-list [role=option]")];
  if (!options.length) return;
  const place = (at + options.length) % options.length;
  for (const [one, option] of options.entries()) option.setAttribute("aria-selected", String(one === place));
  document.getElementById("palette-text").setAttribute("aria-activedescendant", options[place].id);
  options[place].scrollIntoView({ block: "nearest" });
}

function openPalette() {
  document.getElementById("palette-text").value = "";
  document.getElementById("palette").showModal();
  showPlaces();
}

function onPaletteKey(event) {
  const options = [...document.querySelectorAll("#palette-list [role=option]")];
  const at = options.findIndex((option) => option.getAttribute("aria-selected") === "true");
  if (event.key === "ArrowDown") markPlace(at + 1);
  else if (event.key === "ArrowUp") markPlace(at - 1);
  else if (event.key === "Enter") { if (options[at]) location.assign(options[at].dataset.href); } else return;
  event.preventDefault();
}

export function startKeys() {
  document.addEventListener("keydown", onKey);
  document.getElementById("keys").addEventListener("click", () => document.getElementById("keys-dialog").showModal());
  const box = document.getElementById("keys-on");
  box.checked = on();
  box.addEventListener("change", () => remember("keys", box.checked ? "on" : "off"));
  document.getElementById("palette-text").addEventListener("input", showPlaces);
  document.getElementById("palette-text").addEventListener("keydown", onPaletteKey);
  document.getElementById("palette-list").addEventListener("click", (event) => {
    const option = event.target.closest("[role=option]");
    if (option) location.assign(option.dataset.href);
  });
  hear("pulse", (pulse) => { queues = Object.keys(pulse.queues); });
  hear("morphed", () => { row = rows().findIndex((one) => one.classList.contains("chosen")); });
}
