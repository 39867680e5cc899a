// The palette: goes to any page, queue, task, worker, or job by its id, and does what can be taken back.
import { call } from "./act.js";
import { listen, root } from "./bus.js";
import { showKeys } from "./keys.js";
import { paused, setPaused } from "./live.js";
import { pauseOrResume } from "./queue.js";
import { changeTheme } from "./shell.js";

const MOST_SHOWN = 12;
const MOST_KNOWN = 1000; // of each kind
const KNOWN_FOR = 30_000; // ms
const LEAST_OF_AN_ID = 4; // characters

const part = encodeURIComponent;
const element = (id) => document.getElementById(`palette${id}`);
const options = () => [...element("-list").children];

let known = { tasks: [], workers: [], at: 0 };
const queues = new Map(); // name -> whether it is paused
let learning = Promise.resolve();
let shown = [];
let moved = false; // by arrow keys: until then the first one is marked, whatever comes in

async function list(path, rows) {
  const found = [];
  let next = "";
  do {
    const { ok, data } = await call(`/api/v1/${path}?count=200&cursor=${part(next)}`, "GET");
    if (!ok) break;
    found.push(...rows(data));
    ({ next } = data);
  } while (next && found.length < MOST_KNOWN);
  return found;
}

async function learn() {
  if (Date.now() - known.at < KNOWN_FOR) return;
  const [lines, tasks, workers] = await Promise.all([
    list("queues", (data) => data.queues),
    list("tasks", (data) => data.tasks.map((one) => one.name)),
    list("workers", (data) => data.consumers.flatMap((consumer) => consumer.workers.map((one) => one.name))),
  ]);
  known = { tasks, workers, at: Date.now() };
  queues.clear();
  for (const one of lines) queues.set(one.name, one.paused);
  if (element("").open) refresh();
}

const place = (words, path) => ({ words, run: () => location.assign(root + path) });

function workerPath(name) {
  const end = name.lastIndexOf("/");
  return `/workers/${part(name.slice(0, end))}/${part(name.slice(end + 1))}`;
}

function pausing([name, held]) {
  return { words: `${held ? "Resume" : "Pause"} queue ${name}`, run: () => pauseOrResume(name, held ? "resume" : "pause") };
}

function everything() {
  const pages = [...document.querySelectorAll(".menu nav a")].map((link) => ({ words: link.textContent, run: () => link.click() }));
  return [
    ...pages,
    ...[...queues.keys()].map((name) => place(`queue ${name}`, `/queues/${part(name)}`)),
    ...known.tasks.map((name) => place(`task ${name}`, `/enqueue?task=${part(name)}`)),
    ...known.workers.map((name) => place(`worker ${name}`, workerPath(name))),
    ...("controls" in element("").dataset ? [...queues].map(pausing) : []),
    { words: "Change between light and dark", run: changeTheme },
    { words: paused() ? "Resume updates" : "Pause updates", run: () => setPaused(!paused()) },
    { words: "Keys", run: showKeys },
  ];
}

// Every word that was typed must be in it; what begins with one stands before the rest.
function fitting(text) {
  const wanted = text.toLowerCase().split(/\s+/).filter(Boolean);
  const begins = ({ words }) => wanted.some((word) => words.toLowerCase().startsWith(word));
  const all = everything().filter(({ words }) => wanted.every((word) => words.toLowerCase().includes(word)));
  const found = [...all.filter(begins), ...all.filter((one) => !begins(one))].slice(0, MOST_SHOWN);
  const id = text.trim();
  if (id.length >= LEAST_OF_AN_ID && !/\s/.test(id)) found.push(place(`job ${id}`, `/jobs?id=${part(id)}`));
  return found;
}

function show(before) {
  shown = fitting(element("-text").value);
  element("-list").replaceChildren(...shown.map(({ words }, at) => {
    const option = document.createElement("li");
    option.id = `place-${at}`;
    option.setAttribute("role", "option");
    option.textContent = words;
    return option;
  }));
  element("-list").hidden = !shown.length;
  element("-text").setAttribute("aria-expanded", String(shown.length > 0));
  element("-none").textContent = shown.length ? "" : "No match.";
  mark(Math.max(0, shown.findIndex(({ words }) => words === before)));
}

const refresh = () => show(moved ? shown[marked()]?.words : undefined);

function mark(at) {
  if (!shown.length) { element("-text").removeAttribute("aria-activedescendant"); return; }
  const chosen = (at + shown.length) % shown.length;
  for (const [one, option] of options().entries()) option.setAttribute("aria-selected", String(one === chosen));
  element("-text").setAttribute("aria-activedescendant", `place-${chosen}`);
  options()[chosen].scrollIntoView({ block: "nearest" });
}

const marked = () => options().findIndex((option) => option.ariaSelected === "true");

function choose(at) {
  const one = shown[at];
  if (!one) return;
  element("").close();
  one.run();
}

function open() {
  element("-text").value = "";
  moved = false;
  if (!element("").open) element("").showModal();
  show();
  learning = learn();
}

function onKey(event) {
  if (event.key.startsWith("Arrow")) moved = true;
  if (event.key === "ArrowDown") mark(marked() + 1);
  else if (event.key === "ArrowUp") mark(marked() - 1);
  else if (event.key === "Enter") learning.then(() => choose(marked())); else return;
  event.preventDefault();
}

function onPulse(pulse) {
  const changed = Object.entries(pulse.queues).filter(([name, one]) => queues.get(name) !== one.paused);
  for (const [name, one] of changed) queues.set(name, one.paused);
  if (changed.length && element("").open) refresh();
}

export function startPalette() {
  listen("pulse", onPulse);
  document.addEventListener("keydown", (event) => {
    if (!(event.ctrlKey || event.metaKey) || event.key.toLowerCase() !== "k") return;
    event.preventDefault();
    if (!document.querySelector("dialog[open]:not(#palette)")) open();
  });
  element("-text").addEventListener("input", () => { moved = false; show(); });
  element("-text").addEventListener("keydown", onKey);
  element("-list").addEventListener("click", (event) => choose(options().indexOf(event.target.closest("[role=option]"))));
}
