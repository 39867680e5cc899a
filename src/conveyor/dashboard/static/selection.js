// Rows that are chosen, and what is done to all of them. In the page: a checkbox data-select in each row, named by its
// value or by the row's id after an r-; one data-select-all for the page; and a bar data-bulk with data-bulk-words,
// data-bulk-none, maybe data-bulk-all='{…}' (what stands for everything, in data-words), and buttons data-act
// data-chosen. `data-chosen` says where the names go: a field of the body, `matching` for its ids, or `each` for one
// request per name, put in the place of {id} in the path. {n} in data-ask and data-yes becomes how many; data-typed-all
// must be typed where all that match are meant. In a list of many queues a row's id is r-, the job's, an @ and the
// queue's name, and `matching` is one request per queue.
import { act, ask, call, counted, problemText } from "./act.js";
import { listen, root } from "./bus.js";
import { refresh } from "./partial.js";
import { toast } from "./shell.js";

const chosen = new Set();
let last = null;

const nameOf = (box) => box.dataset.select || box.closest("[data-row]").id.slice(2);
const boxes = () => [...document.querySelectorAll("main [data-select]")];
const bar = () => document.querySelector("main [data-bulk]");
const everything = () => bar()?.querySelector("[data-bulk-all]:checked");

function words() {
  const place = bar().querySelector("[data-bulk-words]");
  const noun = chosen.size === 1 ? place.dataset.one : place.dataset.many;
  return `${chosen.size.toLocaleString("en")} ${noun}`;
}

// Only what the reader sees is chosen: a row that has gone from the page is not.
function show() {
  const all = boxes();
  const there = new Set(all.map(nameOf));
  for (const name of chosen) if (!there.has(name)) chosen.delete(name);
  for (const box of all) {
    box.checked = chosen.has(nameOf(box));
    box.closest("[data-row]")?.classList.toggle("picked", box.checked);
  }
  const head = document.querySelector("main [data-select-all]");
  if (head) {
    head.checked = all.length > 0 && chosen.size === all.length;
    head.indeterminate = chosen.size > 0 && !head.checked;
  }
  if (!bar()) return;
  if (!chosen.size) for (const box of bar().querySelectorAll("[data-bulk-all]")) box.checked = false;
  bar().hidden = !chosen.size;
  const text = bar().querySelector("[data-bulk-words]");
  const label = everything() ? everything().dataset.words : words();
  if (text.textContent !== label) text.textContent = label;
}

function pick(box, range) {
  const all = boxes();
  const from = range && last ? all.findIndex((one) => nameOf(one) === last) : -1;
  const to = all.indexOf(box);
  const some = from < 0 ? [box] : all.slice(Math.min(from, to), Math.max(from, to) + 1);
  for (const one of some) {
    if (box.checked) chosen.add(nameOf(one)); else chosen.delete(nameOf(one));
  }
  last = nameOf(box);
  show();
}

// What is done to whom: jobs, or all chosen jobs of a queue at once.
function parts(button, each) {
  const rows = boxes().map(nameOf).filter((name) => chosen.has(name)).map((name) => name.split("@"))
    .map(([id, queue]) => ({ id, queue }));
  if (each) return rows.map(({ id, queue }) => ({ jobs: 1, path: button.dataset.act.replace("{id}", encodeURIComponent(id)), body: queue && { queue } }));
  return [...new Set(rows.map((row) => row.queue))].map((queue) => {
    const ids = rows.filter((row) => row.queue === queue).map((row) => row.id);
    return { jobs: ids.length, path: button.dataset.act, body: { queue, matching: { ids } } };
  });
}

async function actInParts(button, all) {
  const title = button.dataset.yes ?? button.textContent.trim(); // while it still says how many
  const reason = await ask(button);
  if (reason === null) return;
  const body = JSON.parse(button.dataset.body ?? "{}");
  if (reason) body.reason = reason;
  const failed = [];
  let done = 0;
  let go = "";
  for (const part of all) {
    const { ok, data } = await call(part.path, "POST", { ...body, ...part.body });
    if (ok) { done += part.jobs; go = data.go ?? ""; } else failed.push(problemText(data));
  }
  const result = `${title}: ${done} of ${all.reduce((sum, part) => sum + part.jobs, 0)}`;
  if (failed.length) toast(`${result}. ${failed[0]}`, "wrong", 12_000); else toast(result, "good");
  chosen.clear();
  show();
  if (go && !failed.length) location.assign(root + go); else refresh(true);
}

async function actOnChosen(button) {
  const names = [...chosen];
  if (!names.length) return;
  const { ask: asked, yes } = button.dataset;
  const all = everything();
  const many = all ? await counted(all) : words();
  button.dataset.ask = asked.replace("{n}", many);
  if (yes) button.dataset.yes = yes.replace("{n}", all?.dataset.part ? "jobs" : many);
  if (everything() && button.dataset.typedAll) button.dataset.typed = button.dataset.typedAll; // all is much
  else delete button.dataset.typed;
  const field = button.dataset.chosen;
  let acting;
  const several = field === "matching" && names[0].includes("@");
  if (field === "each" || several) acting = actInParts(button, parts(button, !several));
  else if (field === "matching") {
    acting = act(button, { matching: everything() ? JSON.parse(everything().dataset.bulkAll) : { ids: names } });
  } else acting = act(button, { [field]: names });
  button.dataset.ask = asked; // the dialog has read it
  if (yes) button.dataset.yes = yes;
  if (await acting) { chosen.clear(); show(); }
}

function onClick(event) {
  const target = event.target;
  if (target.matches("[data-select]")) pick(target, event.shiftKey);
  else if (target.matches("[data-select-all]")) {
    for (const box of boxes()) if (target.checked) chosen.add(nameOf(box)); else chosen.delete(nameOf(box));
    show();
  } else if (target.matches("[data-bulk-all]")) show();
  else if (target.closest("[data-bulk-none]")) { chosen.clear(); show(); }
  else {
    const button = target.closest("[data-act][data-chosen]");
    if (button) { event.preventDefault(); actOnChosen(button); }
  }
}

export function startSelection() {
  document.addEventListener("click", onClick);
  listen("morphed", show);
  for (const box of boxes()) if (box.checked) chosen.add(nameOf(box)); // the browser went back to this page
  show();
}
