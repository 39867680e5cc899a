// The log of a job: new lines are asked for only when the channel says that the page has changed; they are appended, and
// the end stays in sight unless the reader has scrolled up. Never more than MOST lines are kept in the page.
import { call } from "./act.js";
import { listen } from "./bus.js";
import { visible } from "./escape.js";

const MOST = 2000;
const ROUNDS = 4; // requests after one hint, where many lines came at once
const COUNT = 500; // lines of one answer; with fewer there are no more
const AFTER_ERROR = 2000; // ms until the next try; no other update of the page may lead here
const NEAR = 24; // px from the end that count as the end

let fetching = false;
let again = false;
let later;
let following = true;
let filter = "";

const lines = () => document.getElementById("log-lines");
const texts = (line) => ["b", "span"].map((one) => line.querySelector(one)?.textContent ?? "").join(" ");
const fits = (line) => !filter || !line.dataset.line || texts(line).toLowerCase().includes(filter);

function clock(element) {
  const at = new Date(element.dateTime);
  if (!Number.isNaN(at.getTime())) element.textContent = at.toLocaleTimeString("en-GB");
}

function attemptOf(number) {
  const line = document.createElement("li");
  line.className = "log-attempt";
  line.textContent = `Attempt ${number}`;
  return line;
}

function lineOf({ id, at, text, level }, attempt) {
  const line = document.createElement("li");
  const time = document.createElement("time");
  const name = document.createElement("b");
  const words = document.createElement("span");
  line.dataset.line = id;
  line.dataset.attempt = attempt;
  time.dateTime = new Date(at * 1000).toISOString();
  time.title = time.dateTime;
  clock(time);
  name.dataset.level = level;
  name.textContent = visible(level);
  words.textContent = visible(text);
  line.append(time, name, words);
  line.hidden = !fits(line);
  return line;
}

function toEnd() {
  if (following) lines().scrollTop = lines().scrollHeight;
}

function append(found) {
  if (!found.length) return;
  const list = lines();
  const fragment = document.createDocumentFragment();
  let last = Number(list.lastElementChild?.dataset.attempt ?? 1);
  for (const one of found) {
    if (one.attempt && one.attempt !== last) {
      last = one.attempt;
      fragment.append(attemptOf(last));
    }
    fragment.append(lineOf(one, last));
  }
  const before = list.scrollHeight;
  list.append(fragment);
  const grown = list.scrollHeight;
  while (list.children.length > MOST) list.firstElementChild.remove();
  if (!following) list.scrollTop -= grown - list.scrollHeight; // what is read stays where it is
  if (following && grown !== before) requestAnimationFrame(toEnd);
}

async function look() {
  if (fetching) { again = true; return; }
  fetching = true;
  clearTimeout(later);
  for (let round = 0; round < ROUNDS; round += 1) {
    const list = lines();
    if (!list) break;
    const after = list.lastElementChild?.dataset.line ?? "";
    const asked = new URLSearchParams({ queue: list.dataset.logQueue, after, count: COUNT });
    const { ok, status, data } = await call(`/api/v1/jobs/${encodeURIComponent(list.dataset.log)}/log?${asked}`, "GET");
    if (!ok && (status === 0 || status >= 500)) later = setTimeout(look, AFTER_ERROR);
    const found = ok && Array.isArray(data.lines) ? data.lines : [];
    append(found);
    if (found.length < COUNT) break;
  }
  fetching = false;
  if (again) { again = false; look(); }
}

function showFollowing() {
  document.querySelector("[data-log-end]")?.setAttribute("aria-pressed", String(following));
}

function onScroll(event) {
  const list = event.target;
  if (list.id !== "log-lines") return;
  following = list.scrollTop + list.clientHeight >= list.scrollHeight - NEAR;
  showFollowing();
}

function onFilter(event) {
  if (!event.target.matches("[data-log-filter]")) return;
  filter = event.target.value.trim().toLowerCase();
  for (const line of lines().children) line.hidden = !fits(line);
  toEnd();
}

function onClick(event) {
  if (event.target.closest("[data-log-end]")) {
    following = !following;
    showFollowing();
    toEnd();
  } else if (event.target.closest("[data-log-full]")) {
    if (document.fullscreenElement) document.exitFullscreen();
    else lines().closest("section").requestFullscreen?.().then(toEnd);
  }
}

export function startLog() {
  if (!lines()) return;
  for (const time of lines().querySelectorAll("time")) clock(time);
  toEnd();
  document.addEventListener("scroll", onScroll, { capture: true, passive: true });
  document.addEventListener("input", onFilter);
  document.addEventListener("click", onClick);
  const main = document.getElementById("main");
  listen("changed", ({ address, version }) => {
    if (address === main.dataset.address && version !== main.dataset.version) look();
  });
  listen("resumed", look);
  listen("morphed", showFollowing);
}

