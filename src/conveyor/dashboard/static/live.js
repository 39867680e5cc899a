// The live channel: one stream of events for all tabs of a browser. The tab that leads has the stream and passes on what
// it receives; a tab that is hidden for long closes it; nothing runs while updates are paused.
import { listen, remember, remembered, root, send } from "./bus.js";
import { byLock, byWord } from "./leader.js";

const HIDDEN_FOR = 30_000; // ms until a hidden tab lets go
const HERE_EVERY = 10_000; // ms between two messages of a tab that it is open
const POLL_EVERY = 5_000;
const TRY_STREAM_AGAIN = 30_000;
const OUT_AT_LEAST = 3000; // ms in which other tabs may not know yet that the user is logged out
const AWAY_AFTER = 4000; // ms without the dashboard until the page says so
const FLOWS = new Set(["live", "slowed", "silent"]);

const me = Math.random().toString(36).slice(2);
const name = `conveyor${root}`;
const channel = "BroadcastChannel" in self ? new BroadcastChannel(name) : null;
const post = (message) => channel?.postMessage(message);
const leader = "locks" in navigator && channel ? byLock(name, { began, ended: close }) : byWord(me, post, { began, ended: close });
const address = () => document.getElementById("main")?.dataset.address ?? "/"; // a page may go on at another
const tabs = new Map(); // tab -> [address, last seen]
const latest = new Map(); // address -> the last update about it
let queues = {}; // queue -> its numbers; the stream sends only those that have changed
let source = null;
let openedAt = 0;
let watched = "";
let polling;
let polls = 0; // number of the latest poll; the reply to an earlier one is ignored
let outAt = 0; // when the user turned out to be logged out; 0: not so
let heardAt = Date.now();
let every = 1; // seconds between two pulses
let now = "";
let since = 0; // when that began
let hiddenSince;
let reopening;

const pausedName = `paused${root}`; // of several dashboards on one site, each is paused separately
const paused = () => remembered(pausedName, "") === "yes";

const AWAY = { // the process that serves this page, not the store
  why: "The dashboard is unavailable",
  try: "check that `conveyor dashboard`, or the application that it is part of, is still running",
};

function state(name, words) {
  if (name !== now) since = Date.now();
  now = name;
  send("state", { state: name, words });
}

// Tabs get the numbers of every queue each time: a new tab has not received earlier ones.
function merged(pulse) {
  if (pulse.whole) queues = {};
  for (const one of pulse.dropped) delete queues[one];
  Object.assign(queues, pulse.queues);
  return { ...pulse, queues };
}

function pass(name, data) {
  if (name === "changed") latest.set(data.address, data);
  if (name === "pulse") data = merged(data);
  take(name, data);
  post({ kind: "event", name, data });
}

function take(name, data) {
  if (paused()) return;
  if (outAt) {
    if (name !== "pulse" || Date.now() - outAt < OUT_AT_LEAST) return;
    comeBack(); // the user has logged in in another tab
  }
  if (name === "pulse") {
    heardAt = Date.now();
    every = data.every ?? data.interval;
    if (data.interval > 1) state("slowed", `slowed to every ${data.interval} s: the server is busy`);
    else state("live", "live");
    send("pulse", data);
  } else if (name === "trouble") { state("away", (data.why ?? data.detail ?? "").includes(" refused: ") ? "the server refuses; trying again" : "no reply from the server; trying again"); send("trouble", data); }
  else if (name === "channel") state(data.state, data.words);
  else send(name, data);
}

function addresses() {
  const limit = Date.now() - 2.5 * HERE_EVERY;
  for (const [tab, [, seen]] of tabs) if (tab !== me && seen < limit) tabs.delete(tab);
  return [...new Set([address(), ...[...tabs.values()].map(([one]) => one)])].slice(0, 30);
}

function query() {
  return addresses().map((one) => `watch=${encodeURIComponent(one)}`).join("&");
}

function open() {
  close();
  if (paused()) return;
  openedAt = Date.now();
  if (document.body.dataset.streams === "no") { poll(Infinity); return; }
  watched = query();
  latest.clear();
  source = new EventSource(`${root}/api/v1/events?${watched}`);
  for (const name of ["pulse", "changed", "trouble"]) {
    source.addEventListener(name, (event) => pass(name, JSON.parse(event.data)));
  }
  source.addEventListener("over", open);
  source.onerror = () => {
    pass("channel", { state: "reconnecting", words: "reconnecting" });
    if (source.readyState === EventSource.CLOSED) poll(Date.now() + TRY_STREAM_AGAIN);
  };
}

function close() {
  clearTimeout(polling);
  polls += 1;
  source?.close();
  source = null;
}

async function poll(until) {
  clearTimeout(polling);
  if (!leader.leads()) return;
  const mine = ++polls;
  try {
    const reply = await fetch(`${root}/api/v1/snapshot?${query()}`, { cache: "no-store", redirect: "manual" });
    const body = isRefused(reply) ? null : await reply.json();
    if (mine !== polls) return;
    if (!body) { send("out"); return; }
    if (reply.ok) {
      pass("pulse", { ...body.pulse, every: POLL_EVERY / 1000 });
      for (const one of body.changed) pass("changed", one);
    } else pass("trouble", body);
  } catch {
    if (mine !== polls) return;
    pass("channel", { state: "reconnecting", words: "reconnecting" });
  }
  if (!leader.leads() || paused()) return;
  if (Date.now() > until) open();
  else polling = setTimeout(() => poll(until), POLL_EVERY);
}

// True if a response means that the client is not known (any more).
export function isRefused(reply) {
  return reply.status === 401 || reply.type === "opaqueredirect";
}

function onOut() {
  if (outAt) return;
  outAt = Date.now();
  post({ kind: "event", name: "out" });
  leader.leave();
  state("out", "logged out");
}

function comeBack() {
  outAt = 0;
  if (!document.hidden) leader.seek();
  send("resumed");
}

// A stream may be open and yet bring nothing, and so may the tab that leads.
function checkSilence() {
  if (document.hidden || paused()) return;
  if ((now === "reconnecting" || now === "silent") && Date.now() - since > AWAY_AFTER) send("trouble", AWAY);
  const quiet = Date.now() - heardAt;
  if (!FLOWS.has(now) || quiet < 3000 * every) return;
  state("silent", `no updates for ${Math.floor(quiet / 1000)} s`);
  if (leader.leads() && source && Math.min(quiet, Date.now() - openedAt) > TRY_STREAM_AGAIN) open();
}

function reopenIfNeeded() {
  clearTimeout(reopening);
  reopening = setTimeout(() => { if (leader.leads() && source && query() !== watched) open(); }, 300);
}

function began() {
  post({ kind: "who" });
  open();
}

function here() {
  tabs.set(me, [address(), Date.now()]);
  post({ kind: "here", tab: me, address: address() });
}

function onHere({ tab, address: one }) {
  tabs.set(tab, [one, Date.now()]);
  reopenIfNeeded();
  // The page of a tab may be older than the last update about it, and no update is sent twice.
  if (leader.leads() && latest.has(one)) post({ kind: "event", name: "changed", data: latest.get(one) });
}

function onMessage({ data }) {
  if (data.kind === "event") take(data.name, data.data);
  else if (data.kind === "lead") leader.take(data);
  else if (data.kind === "who") here();
  else if (data.kind === "here") onHere(data);
  else if (data.kind === "gone") { tabs.delete(data.tab); reopenIfNeeded(); }
}

function onMorphed() {
  if (tabs.get(me)?.[0] === address()) return;
  here();
  reopenIfNeeded();
}

function go() {
  post({ kind: "gone", tab: me });
  leader.leave();
}

function onVisible() {
  clearTimeout(hiddenSince);
  if (document.hidden) {
    leader.withdraw();
    hiddenSince = setTimeout(go, HIDDEN_FOR);
    return;
  }
  heardAt = since = Date.now(); // a tab that slept has missed what there was
  here();
  if (outAt) comeBack(); else leader.seek();
}

export function setPaused(yes) {
  remember(pausedName, yes ? "yes" : "");
  applyPause();
}

function applyPause() {
  const button = document.getElementById("pause");
  button.setAttribute("aria-pressed", String(paused()));
  button.querySelector("use").setAttribute("href", paused() ? "#i-play" : "#i-pause");
  if (paused()) { close(); state("paused", "paused"); return; }
  state("reconnecting", "connecting");
  if (leader.leads()) open();
  comeBack();
}

export function startLive() {
  document.getElementById("pause").addEventListener("click", () => setPaused(!paused()));
  addEventListener("storage", (event) => { if (event.key === `conveyor-${pausedName}`) applyPause(); });
  channel?.addEventListener("message", onMessage);
  document.addEventListener("visibilitychange", onVisible);
  addEventListener("pagehide", go);
  addEventListener("pageshow", (event) => { if (event.persisted) onVisible(); });
  listen("morphed", onMorphed);
  listen("out", onOut);
  setInterval(checkSilence, 1000);
  setInterval(() => { if (!document.hidden) here(); }, HERE_EVERY);
  here();
  if (paused()) applyPause();
  if (!document.hidden) leader.seek();
}

export { paused };
