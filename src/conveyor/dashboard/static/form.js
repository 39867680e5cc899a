// The form that puts a job. While it is filled in, the API checks it and says how the same is typed in a terminal.
import { call } from "./act.js";
import { root } from "./bus.js";
import { opened, sentences } from "./sentences.js";
import { toast } from "./shell.js";

const AFTER = 300; // ms without a key
const NUMBERS = new Set(["priority", "delay", "expires", "count"]);
let later;
let asked = 0;
let touched = new Set();

const problem = (data) => ({ "": sentences(data.detail ?? data.title, opened(data.hint)) });
const MASK = "•••";

function text(field) {
  if (field.type === "checkbox") return field.checked ? "yes" : "no";
  if ("lines" in field.dataset) return listed(field);
  const short = { "datetime-local": 16, time: 5 }[field.type]; // browsers leave out seconds that are 0
  return field.value.length === short ? `${field.value}:00` : field.value;
}

// One item a line, as JSON; who writes JSON is understood as well.
function listed(field) {
  try { if (Array.isArray(JSON.parse(field.value))) return field.value; } catch { /* lines it is */ }
  const lines = field.value.split("\n").map((line) => line.trim()).filter(Boolean);
  if (lines.length) return JSON.stringify(lines);
  return field.dataset.default && field.dataset.required === "no" ? "[]" : "";
}

// What is left at its default is not sent; neither is an empty field, unless emptying it is what says something.
function values(form) {
  const found = {};
  for (const field of form.querySelectorAll("[data-argument]")) {
    const value = text(field);
    const { argument, default: otherwise, required } = field.dataset;
    if (value === otherwise && required === "no") continue;
    if (value === "" && (required === "yes" || field.type === "number")) continue;
    found[argument] = value;
  }
  return found;
}

function options(form, names) {
  const found = {};
  for (const name of names) {
    const { value } = form.querySelector(`[data-option="${name}"]`);
    if (value !== "") found[name] = NUMBERS.has(name) ? Number(value) : value;
  }
  return found;
}

function showErrors(form, errors, all) {
  for (const place of form.querySelectorAll("[data-error]")) {
    const name = place.dataset.error;
    const says = (all || name === "" || touched.has(name)) ? errors[name] ?? "" : "";
    place.textContent = says;
    place.hidden = !says;
    const field = form.querySelector(`[data-argument="${CSS.escape(name)}"]`);
    if (!field) continue;
    if (says) field.setAttribute("aria-invalid", "true"); else field.removeAttribute("aria-invalid");
  }
}

// The preview shows the last valid input: it is marked as stale and cannot be copied.
function showStale(form, stale) {
  form.querySelector("[data-stale]").hidden = !stale;
  for (const one of form.querySelectorAll("[data-command], [data-python]")) one.classList.toggle("stale", stale);
  if (stale) form.querySelector("[data-copy]").hidden = true;
}

// Shows the valid part; there is nothing to copy yet.
function showPartial(form, partial) {
  showStale(form, false);
  form.querySelector("[data-command]").textContent = partial;
  form.querySelector("[data-python]").textContent = "";
  form.querySelector("[data-copy]").hidden = true;
  form.querySelector("[data-partial]").hidden = !partial.includes("…");
  form.querySelector("[data-masked]").hidden = !partial.includes(MASK);
  form.dataset.previewed = "yes";
}

async function preview(form) {
  const mine = ++asked;
  const body = {
    arguments: values(form),
    split: form.dataset.split === "yes",
    ...options(form, ["queue", "priority", "delay", "expires", "count"]),
  };
  const { ok, data } = await call(`/api/v1/tasks/${encodeURIComponent(form.dataset.enqueue)}/preview`, "POST", body);
  if (mine !== asked || !form.isConnected) return;
  const verdict = form.querySelector("[data-verdict]");
  if (ok && data.ok) {
    showErrors(form, {}, false);
    const copy = form.querySelector("[data-copy]");
    copy.dataset.copy = data.command;
    copy.hidden = !data.command;
    form.querySelector("[data-command]").textContent = data.command || "the command line would split this into several jobs";
    form.querySelector("[data-python]").textContent = data.python;
    form.querySelector("[data-masked]").hidden = !data.python.includes(MASK);
    form.dataset.previewed = "yes";
    form.querySelector("[data-partial]").hidden = true;
    showStale(form, false);
    verdict.textContent = "";
  } else {
    const errors = data.errors ?? problem(data);
    showErrors(form, errors, false);
    if (data.partial) showPartial(form, data.partial);
    else showStale(form, form.dataset.previewed === "yes");
    const missing = Object.keys(errors).filter((name) => name && !touched.has(name));
    verdict.textContent = missing.length ? `Missing: ${missing.join(", ")}` : "";
  }
}

async function submit(form) {
  const button = form.querySelector("button[type=submit]");
  if (!button) return;
  const body = {
    task: form.dataset.enqueue,
    arguments: values(form),
    split: form.dataset.split === "yes",
    ...options(form, ["queue", "priority", "delay", "expires", "count", "reason"]),
  };
  clearTimeout(later);
  asked += 1;
  button.disabled = true;
  const { ok, data } = await call("/api/v1/jobs", "POST", body);
  button.disabled = false;
  if (ok) {
    toast(data.message, "good");
    location.assign(root + data.go);
    return;
  }
  if (data.accepted) toast(data.detail, "wrong", 12_000);
  showErrors(form, data.errors ?? problem(data), true);
  form.querySelector("[aria-invalid]")?.focus();
}

const formOf = (event) => event.target.closest?.("form[data-enqueue]");

export function startForms() {
  document.addEventListener("input", (event) => {
    const form = formOf(event);
    if (!form) return;
    if (event.target.dataset.argument) touched.add(event.target.dataset.argument);
    clearTimeout(later);
    later = setTimeout(() => preview(form), AFTER);
  });
  document.addEventListener("focusout", (event) => {
    const name = event.target.dataset?.argument;
    if (formOf(event) && name && text(event.target) !== "") touched.add(name);
  });
  document.addEventListener("submit", (event) => {
    const form = formOf(event);
    if (!form) return;
    event.preventDefault();
    submit(form);
  });
  const form = document.querySelector("form[data-enqueue]");
  if (form) { touched = new Set(); preview(form); }
}
