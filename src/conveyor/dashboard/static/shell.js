// The header's own buttons, and short messages.
import { say } from "./announce.js";
import { listen, remember } from "./bus.js";
import { opened, sentences, withCommands } from "./sentences.js";

const FLOWS = new Set(["live", "slowed"]); // states in which updates arrive

export function startTheme() {
  document.getElementById("theme").addEventListener("click", changeTheme);
  for (const one of document.querySelectorAll("[data-zone]")) {
    one.textContent = Intl.DateTimeFormat().resolvedOptions().timeZone;
  }
  listen("state", (update) => { channel = update; showState(); });
  listen("held", (words) => { held = words; showState(); });
  listen("trouble", showTrouble);
  listen("out", hideTrouble);
  listen("pulse", () => { lastPulse = new Date(); hideTrouble(); });
}

export function changeTheme() {
  const html = document.documentElement;
  const dark = html.dataset.theme
    ? html.dataset.theme === "dark"
    : matchMedia("(prefers-color-scheme: dark)").matches;
  html.dataset.theme = dark ? "light" : "dark";
  remember("theme", html.dataset.theme);
  dispatchEvent(new Event("themechange"));
}

let lastPulse = new Date();
let trouble = "";

// The server is unavailable: why, what to try, and how old the shown numbers are.
function showTrouble({ why, detail, hint, try: what }) {
  const box = document.getElementById("trouble");
  const since = lastPulse.toLocaleTimeString([], { hour12: false });
  const text = sentences(opened(why ?? detail), opened(what ?? hint), `What is shown is as of ${since}. It is updated as soon as the server is available`);
  if (trouble !== text) box.replaceChildren(...withCommands(text)); // else it would be read out again
  trouble = text;
  box.hidden = false;
  document.documentElement.classList.add("away");
}

function hideTrouble() {
  document.getElementById("trouble").hidden = true;
  document.documentElement.classList.remove("away");
}

let channel = { state: "connecting", words: "connecting" };
let held = "";

function showState() {
  const { state, words } = held && FLOWS.has(channel.state) ? { state: "held", words: held } : channel;
  const box = document.querySelector(".live");
  const before = box.dataset.liveState;
  if (before === state && document.getElementById("live-words").textContent === words) return;
  box.dataset.liveState = state;
  document.getElementById("live-words").textContent = words;
  document.documentElement.toggleAttribute("data-paused", state === "paused");
  if (before !== "connecting" && before !== "held" && before !== state && state !== "held") say("updates", () => `Updates: ${words}`);
}

export function toast(text, kind = "", keep = 6000) {
  const box = document.createElement("p");
  box.className = `toast ${kind}`;
  box.setAttribute("role", kind === "wrong" ? "alert" : "status");
  box.append(...withCommands(text));
  document.getElementById("toasts").append(box);
  if (keep) setTimeout(() => box.remove(), keep);
  return box;
}
