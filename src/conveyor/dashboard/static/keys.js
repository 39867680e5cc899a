// The keyboard: single keys where no field has focus, g and a letter for pages, rows.
import { listen, remember, remembered } from "./bus.js";
import { paused, setPaused } from "./live.js";
import { changeTheme } from "./shell.js";

let afterG = false;
let row = -1;

const on = () => remembered("keys", "on") === "on";
const rows = () => [...document.querySelectorAll("main [data-row]")];

export function showKeys() {
  document.getElementById("keys-dialog").showModal();
}

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
  else if (key === "?") showKeys();
  else if (key === "/") seek();
  else if (key === "j") choose(1);
  else if (key === "k") choose(-1);
  else if (key === "x") rows()[row]?.querySelector("input[type=checkbox]")?.click();
  else return false;
  return true;
}

function onKey(event) {
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

export function startKeys() {
  document.addEventListener("keydown", onKey);
  document.getElementById("keys").addEventListener("click", showKeys);
  const box = document.getElementById("keys-on");
  box.checked = on();
  box.addEventListener("change", () => remember("keys", box.checked ? "on" : "off"));
  listen("morphed", () => { row = rows().findIndex((one) => one.classList.contains("chosen")); });
}
