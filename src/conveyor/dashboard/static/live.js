// The live channel: one stream of events for all tabs of a browser. The tab that holds the lock has the stream and
// passes on what it hears; a tab that is hidden for long gives it up; nothing runs while updates are paused.
import { hear, remember, remembered, root, tell } from "./bus.js";

const HIDDEN_FOR = 30_000; // ms until a hidden tab lets go
const HERE_EVERY = 10_000; // ms between two signs of life of a tab
const POLL_EVERY = 5_000;
const TRY_STREAM_AGAIN = 30_000;

const me = Math.random().toString(36).slice(2);
const address = document.getElementById("main")?.dataset.address ?? "/";
const shared = "locks" in navigator && "BroadcastChannel" in self;
const channel = shared ? new BroadcastChannel(`conveyor${root}`) : null;
const tabs = new Map(); // tab -> [address, when heard of]
let source = null;
let watched = "";
let polling;
let letGo = null; // ends our time as the leader
let hiddenSince;
let reopening;

const pausedName = `paused${root}`; // each page of a site with several is paused for itself
const paused = () => remembered(pausedName, "") === "yes";

function state(name, words) {
  tell("state", { state: name, words });
}

function pass(name, data) {
  take(name, data);
  channel?.postMessage({ kind: "event", name, data });
}

function take(name, data) {
  if (paused()) return;
  if (name === "pulse") {
    if (data.interval > 1) state("slowed", `slowed to every ${data.interval} s: the server is busy`);
    else state("live", "live");
    tell("pulse", data);
  } else if (name === "trouble") { state("away", "no answer from the server; trying again"); tell("trouble", data); }
  else if (name === "channel") state(data.state, data.words);
  else tell(name, data);
}

function addresses() {
  const limit = Date.now() - 2.5 * HERE_EVERY;
  for (const [tab, [, seen]] of tabs) if (tab !== me && seen < limit) tabs.delete(tab);
  return [...new Set([address, ...[...tabs.values()].map(([one]) => one)])].slice(0, 30);
}

function query() {
  return addresses().map((one) => `watch=${encodeURIComponent(one)}`).join("&");
}

function open() {
  close();
  if (paused()) return;
  if (document.body.dataset.streams === "no") { poll(Infinity); return; }
  watched = query();
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
  source?.close();
  source = null;
}

async function poll(until) {
  clearTimeout(polling);
  if (!letGo && shared) return;
  try {
    const reply = await fetch(`${root}/api/v1/snapshot?${query()}`, { cache: "no-store" });
    const body = await reply.json();
    if (reply.ok) {
      pass("pulse", body.pulse);
      for (const one of body.changed) pass("changed", one);
    } else pass("trouble", body);
  } catch {
    pass("channel", { state: "reconnecting", words: "reconnecting" });
  }
  if (Date.now() > until) open();
  else polling = setTimeout(() => poll(until), POLL_EVERY);
}

function reopenIfNeeded() {
  clearTimeout(reopening);
  reopening = setTimeout(() => { if (letGo && source && query() !== watched) open(); }, 300);
}

function lead() {
  if (!shared) { letGo = close; open(); return; }
  if (letGo) return;
  navigator.locks.request(`conveyor${root}`, () => new Promise((done) => {
    letGo = () => { close(); letGo = null; done(); };
    channel.postMessage({ kind: "who" });
    open();
  })).catch(() => {});
}

function here() {
  tabs.set(me, [address, Date.now()]);
  channel?.postMessage({ kind: "here", tab: me, address });
}

function onMessage({ data }) {
  if (data.kind === "event") take(data.name, data.data);
  else if (data.kind === "who") here();
  else if (data.kind === "here") { tabs.set(data.tab, [data.address, Date.now()]); reopenIfNeeded(); }
  else if (data.kind === "gone") { tabs.delete(data.tab); reopenIfNeeded(); }
}

function onVisible() {
  clearTimeout(hiddenSince);
  if (!document.hidden) { here(); lead(); if (letGo && !source) open(); return; }
  hiddenSince = setTimeout(() => {
    channel?.postMessage({ kind: "gone", tab: me });
    letGo?.();
  }, HIDDEN_FOR);
}

export function setPaused(yes) {
  remember(pausedName, yes ? "yes" : "");
  applyPause();
}

function applyPause() {
  const button = document.getElementById("pause");
  button.setAttribute("aria-pressed", String(paused()));
  button.querySelector("use").setAttribute("href", paused() ? "#i-play" : "#i-pause");
  if (paused()) { close(); state("paused", "paused"); } else { state("reconnecting", "connecting"); if (letGo) open(); tell("resumed"); }
}

export function startLive() {
  document.getElementById("pause").addEventListener("click", () => setPaused(!paused()));
  addEventListener("storage", (event) => { if (event.key === `conveyor-${pausedName}`) applyPause(); });
  channel?.addEventListener("message", onMessage);
  document.addEventListener("visibilitychange", onVisible);
  addEventListener("pagehide", () => { channel?.postMessage({ kind: "gone", tab: me }); close(); });
  addEventListener("pageshow", (event) => { if (event.persisted) { here(); if (letGo) open(); } });
  setInterval(() => { if (!document.hidden) here(); }, HERE_EVERY);
  here();
  if (paused()) applyPause();
  if (!document.hidden) lead();
}

export { hear, paused };
