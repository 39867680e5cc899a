// Announcements for screen readers: one polite region, summaries at most every ten seconds, and while updates are
// paused only that they are. Errors are announced immediately, where they are shown (role="alert").
import { listen } from "./bus.js";

const EVERY = 10_000; // ms between two summaries
const pending = new Map(); // subject -> function that returns the sentence
let saidAt = -EVERY;
let waiting = null;

export function say(about, sentence) {
  pending.set(about, sentence);
  waiting ??= setTimeout(speak, saidAt + EVERY - Date.now());
}

function speak() {
  waiting = null;
  const quiet = document.documentElement.hasAttribute("data-paused");
  const sentences = [...pending].filter(([about]) => about === "updates" || !quiet).map(([, sentence]) => sentence());
  pending.clear();
  if (!sentences.length) return;
  saidAt = Date.now();
  document.getElementById("said").textContent = sentences.join(". ");
}

let dead = null; // dead jobs when they were last counted
let failed = 0; // failed jobs that were not announced yet

function countFailures(pulse) {
  failed += Math.max(0, pulse.dead - (dead ?? pulse.dead));
  dead = pulse.dead;
  if (failed) say("failures", failuresSentence);
}

function failuresSentence() {
  const text = `${failed.toLocaleString("en")} ${failed === 1 ? "job" : "jobs"} failed`;
  failed = 0;
  return text;
}

const words = (selector) => document.querySelector(`.job-head ${selector}`)?.textContent.trim() ?? "";
let state = "";

function announceState() {
  if (state && words(".state") !== state) say("job", () => `${words("h1")}: ${words(".state")}`);
  state = words(".state");
}

export function startAnnouncements() {
  state = words(".state");
  listen("pulse", countFailures);
  listen("morphed", announceState);
}
