// What is said to those who do not see the page: one polite region, summaries at most every ten seconds, and while
// updates are paused nothing but that. What is wrong is said at once, where it is shown (role="alert").
import { hear } from "./bus.js";

const EVERY = 10_000; // ms between two summaries
const news = new Map(); // what it is about -> gives the sentence
let saidAt = -EVERY;
let waiting = null;

export function say(about, sentence) {
  news.set(about, sentence);
  waiting ??= setTimeout(speak, saidAt + EVERY - Date.now());
}

function speak() {
  waiting = null;
  const quiet = document.documentElement.hasAttribute("data-paused");
  const sentences = [...news].filter(([about]) => about === "updates" || !quiet).map(([, sentence]) => sentence());
  news.clear();
  if (!sentences.length) return;
  saidAt = Date.now();
  document.getElementById("said").textContent = sentences.join(". ");
}

let dead = null; // dead jobs when they were last counted
let failed = 0; // jobs that failed and of which nothing was said yet

function countFailures(pulse) {
  failed += Math.max(0, pulse.dead - (dead ?? pulse.dead));
  dead = pulse.dead;
  if (failed) say("failures", tellFailures);
}

function tellFailures() {
  const text = `${failed.toLocaleString("en")} ${failed === 1 ? "job" : "jobs"} failed`;
  failed = 0;
  return text;
}

const words = (selector) => document.querySelector(`.job-head ${selector}`)?.textContent.trim() ?? "";
let state = "";

function tellState() {
  if (state && words(".state") !== state) say("job", () => `${words("h1")}: ${words(".state")}`);
  state = words(".state");
}

export function startAnnouncements() {
  state = words(".state");
  hear("pulse", countFailures);
  hear("morphed", tellState);
}
