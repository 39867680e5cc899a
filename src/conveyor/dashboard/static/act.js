// Buttons that do something: <button data-act="/api/v1/…" data-method data-body data-ask data-words data-typed data-yes
// data-no data-done>. With `data-number`, the dialog asks for a number of workers, the `scale` of the body. The dialog's buttons say what they do: `data-yes`, and `data-no` for what stays. With `data-count`,
// a queue, and `data-count-of`, a field of the API's answer about it, {n} in these texts is how many jobs that is. What is done goes through the JSON API; the dialog stands outside the part that is morphed.
import { root, send } from "./bus.js";
import { refresh } from "./partial.js";
import { opened, sentences } from "./sentences.js";
import { toast } from "./shell.js";

const SOON = 300; // ms to the next poll for replies; each poll without one doubles that
const SELDOM = 8_000; // ms at most
const OFTEN = 2_000; // ms between two polls of a job that is to end, at most
const CANCEL = "/cancel";
const NO_REPLY = 10_000; // ms without a first reply
const NOTHING = new Set(["unknown", "gone", "expired", "refused"]); // replies after which nothing was done
const WORDS = { expired: "too late", repeated: "asked for again since" };
const LONGEST = 600_000; // ms that a control command is followed

export async function call(path, method = "POST", body = undefined) {
  const options = { method, headers: { accept: "application/json" } };
  if (body !== undefined) {
    options.headers["content-type"] = "application/json";
    options.body = JSON.stringify(body);
  }
  let reply;
  try {
    reply = await fetch(root + path, options);
  } catch {
    return { ok: false, status: 0, data: { title: "the dashboard is unavailable", hint: "check that it is still running" } };
  }
  if (reply.status === 401) send("out");
  const text = await reply.text();
  let data = {};
  try { data = text ? JSON.parse(text) : {}; } catch { data = { title: text.slice(0, 200) }; }
  return { ok: reply.ok, status: reply.status, data };
}

export function problemText(data) {
  return sentences(data.title, data.detail, opened(data.hint));
}

// How many jobs are meant, as the server counts them now.
// With `data-part` only some of them are meant: those that it names, of so many that are `data-part-of`.
export async function counted({ dataset }) {
  const { ok, data } = await call(`/api/v1/queues/${encodeURIComponent(dataset.count)}`, "GET");
  if (!ok) return dataset.part ?? "all jobs";
  const count = data[dataset.countOf];
  if (dataset.part) return `${dataset.part}, of ${count.toLocaleString("en")} ${dataset.partOf}`;
  return `${count.toLocaleString("en")} ${count === 1 ? "job" : "jobs"}`;
}

export async function ask(button) {
  const many = button.dataset.count ? await counted(button) : "";
  const filled = (text) => text.replace("{n}", many);
  const dialog = document.getElementById("confirm");
  const typed = document.getElementById("confirm-typed");
  const number = document.getElementById("confirm-number");
  const yes = document.getElementById("confirm-yes");
  const name = button.dataset.typed ?? "";
  const asksNumber = button.dataset.number !== undefined;
  document.getElementById("confirm-title").textContent = filled(button.dataset.ask);
  document.getElementById("confirm-words").textContent = filled(button.dataset.words ?? "");
  document.getElementById("confirm-typed-label").hidden = !name;
  document.getElementById("confirm-name").textContent = name;
  document.getElementById("confirm-number-label").hidden = !asksNumber;
  number.value = button.dataset.number ?? "0";
  document.getElementById("confirm-reason").value = "";
  typed.value = "";
  yes.textContent = filled(button.dataset.yes ?? button.textContent.trim());
  document.getElementById("confirm-no").textContent = button.dataset.no ?? "Do nothing";
  yes.disabled = Boolean(name);
  typed.oninput = () => { yes.disabled = typed.value !== name; };
  number.oninput = () => { yes.disabled = !number.value || !number.validity.valid; };
  if (dialog.open) return null; // it was pressed twice
  dialog.showModal();
  if (asksNumber) number.select();
  else (name ? typed : document.getElementById("confirm-reason")).focus();
  return new Promise((done) => {
    dialog.addEventListener("close", () => {
      done(dialog.returnValue === "yes" ? document.getElementById("confirm-reason").value.trim() : null);
      dialog.returnValue = "";
    }, { once: true });
  });
}

// Enter in a field of the dialog means the answer that the dialog is about, if it may be given.
function onEnter(event) {
  if (event.key !== "Enter" || event.target.tagName !== "INPUT") return;
  event.preventDefault();
  const yes = document.getElementById("confirm-yes");
  if (!yes.disabled) yes.click();
}

// A detail without spaces is a job's id, any other a text.
function targetWords(targets) {
  return Object.entries(targets).map(([name, one]) =>
    `${name}: ${WORDS[one.state] ?? one.state}${one.detail && one.state !== "done" ? ` (${one.state === "acknowledged" && !one.detail.includes(" ") ? "job " : ""}${one.detail})` : ""}`).join("; ");
}

const waits = (known) => Object.values(known).some((one) => one.state === "requested");
const isOver = (known) => !Object.values(known).some((one) => one.state === "requested" || one.state === "acknowledged");

function giveUp(known) {
  for (const name of Object.keys(known)) if (known[name].state === "requested") known[name] = { state: "no reply in 10 s" };
}

// Follows a control command to workers: requested, acknowledged, done, or no reply.
async function follow(order, targets, title, onDone) {
  const box = toast(`${title}: requested`, "", 0);
  const began = Date.now();
  let known = Object.fromEntries(targets.map((name) => [name, { state: "requested" }]));
  let pause = SOON;
  let silent = false;
  while (!silent && !isOver(known) && Date.now() - began < LONGEST) {
    await new Promise((done) => { setTimeout(done, pause); });
    const { ok, data } = await call(`/api/v1/orders/${order}`, "GET");
    if (ok) for (const one of data.answers) known = { ...known, [one.target]: one };
    const left = began + NO_REPLY - Date.now();
    silent = waits(known) && left <= 0;
    if (silent) giveUp(known);
    pause = Math.min(2 * pause, SELDOM, waits(known) ? Math.max(SOON, left) : SELDOM);
    const text = `${title}. ${targetWords(known)}`;
    if (box.textContent !== text) { box.textContent = text; pause = SOON; refresh(true); }
  }
  const late = !silent && !isOver(known);
  if (late) box.textContent += ". No final reply in 10 min: the job may be long, or the consumer unavailable";
  const wrong = silent || late || Object.values(known).some((one) => NOTHING.has(one.state));
  box.classList.add(wrong ? "wrong" : "good");
  onDone?.(known);
  setTimeout(() => box.remove(), late ? 60_000 : 8000);
  refresh(true);
}

// Follows a running job that is to end until it has: its worker may take its time, or be killed.
async function followEnd(path, queue, title) {
  const box = toast(`${title}: the worker stops the job`, "", 0);
  const began = Date.now();
  let state = "running";
  let pause = SOON;
  while (state === "running" && Date.now() - began < LONGEST) {
    await new Promise((done) => { setTimeout(done, pause); });
    pause = Math.min(2 * pause, OFTEN);
    const { ok, data } = await call(`${path}?queue=${encodeURIComponent(queue)}`, "GET");
    if (ok) state = data.state;
  }
  box.textContent = `${title}: the job is ${state}`;
  box.classList.add(state === "cancelled" ? "good" : "wrong");
  setTimeout(() => box.remove(), 8000);
  refresh(true);
}

export async function act(button, extra = {}) {
  let reason = "";
  if (button.dataset.ask) {
    reason = await ask(button);
    if (reason === null) return null;
  }
  const title = button.dataset.done ?? button.dataset.yes ?? button.textContent.trim();
  const body = { ...JSON.parse(button.dataset.body ?? "{}"), ...extra };
  if (reason) body.reason = reason;
  if (button.dataset.number !== undefined) body.scale = document.getElementById("confirm-number").value;
  if (button.ariaBusy === "true") return null; // not disabled: it keeps the focus of those who use the keyboard
  button.ariaBusy = "true";
  const { ok, data } = await call(button.dataset.act, button.dataset.method ?? "POST", body);
  button.ariaBusy = "false";
  if (!ok) { toast(`${title}: ${problemText(data)}`, "wrong", 12_000); return null; }
  if (data.state === "running" && button.dataset.act.endsWith(CANCEL)) followEnd(button.dataset.act.slice(0, -CANCEL.length), body.queue, title);
  else if (data.order) follow(data.order, data.targets ?? [], title, (known) => showDetail(button, known));
  else toast(data.message ?? `${title}: done`, "good");
  if (data.go) { location.assign(root + data.go); return data; }
  refresh(true);
  return data;
}

// Shows a reply's text, such as a stack, in the element that the button names.
function showDetail(button, known) {
  const place = button.dataset.detail && document.getElementById(button.dataset.detail);
  if (!place) return;
  place.hidden = false;
  place.textContent = Object.values(known).map((one) => one.detail).filter(Boolean).join("\n") || "no reply";
}

export function startActions() {
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-act]");
    if (button && !button.hasAttribute("data-chosen")) { event.preventDefault(); act(button); }
    const copy = event.target.closest("[data-copy]");
    if (copy) copyText(copy.dataset.copy || copy.previousElementSibling.textContent);
  });
  document.getElementById("confirm").addEventListener("keydown", onEnter);
}

function copyText(text) {
  if (navigator.clipboard) { navigator.clipboard.writeText(text).then(() => toast(`Copied ${text}`)); return; }
  const field = document.createElement("textarea"); // pages that are not a secure context have no clipboard object
  field.value = text;
  document.body.append(field);
  field.select();
  document.execCommand("copy");
  field.remove();
  toast(`Copied ${text}`);
}
