// The header's own buttons, what is said aloud, and short messages.
import { hear, remember, remembered } from "./bus.js";

const SAY_AGAIN = 10_000; // ms between two summaries

export function startTheme() {
  document.getElementById("theme").addEventListener("click", changeTheme);
  for (const one of document.querySelectorAll("[data-zone]")) {
    one.textContent = Intl.DateTimeFormat().resolvedOptions().timeZone;
  }
  hear("state", showState);
  hear("trouble", showTrouble);
  hear("pulse", () => { lastPulse = new Date(); hideTrouble(); });
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

// The server does not answer: why, what to try, and how old is what is to be seen.
function showTrouble({ why, detail, hint, try: what }) {
  const box = document.getElementById("trouble");
  const since = lastPulse.toLocaleTimeString([], { hour12: false });
  const text = [why ?? detail, what ?? hint, `What is shown is as of ${since}; it goes on by itself.`].filter(Boolean).join(". ");
  if (box.textContent !== text) box.textContent = text;
  box.hidden = false;
  document.documentElement.classList.add("away");
}

function hideTrouble() {
  document.getElementById("trouble").hidden = true;
  document.documentElement.classList.remove("away");
}

let saidAt = 0;
let saying;
export function say(text) {
  clearTimeout(saying);
  const wait = Math.max(0, saidAt + SAY_AGAIN - Date.now());
  saying = setTimeout(() => {
    saidAt = Date.now();
    document.getElementById("said").textContent = text;
  }, wait);
}

function showState({ state, words }) {
  const box = document.querySelector(".live");
  if (box.dataset.liveState === state && document.getElementById("live-words").textContent === words) return;
  const first = box.dataset.liveState === "connecting";
  box.dataset.liveState = state;
  document.getElementById("live-words").textContent = words;
  document.documentElement.toggleAttribute("data-paused", state === "paused");
  if (!first) say(`Updates: ${words}`);
}

export function toast(text, kind = "", keep = 6000) {
  const box = document.createElement("p");
  box.className = `toast ${kind}`;
  box.setAttribute("role", kind === "wrong" ? "alert" : "status");
  box.textContent = text;
  document.getElementById("toasts").append(box);
  if (keep) setTimeout(() => box.remove(), keep);
  return box;
}

export { remembered };
