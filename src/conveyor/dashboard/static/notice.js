// The message above the page about the page itself: that its worker, job or queue has gone, that it cannot be refreshed,
// or that the user is logged out.
import { listen, root } from "./bus.js";

const GONE = {
  worker: ["This worker has left.", "/workers", "All workers"],
  job: ["This job is no longer known.", "/jobs", "All jobs"],
  queue: ["This queue is gone.", "/queues", "All queues"],
};
const BUTTONS = "[data-act], [data-tell], [data-queue-act], [data-limit] :is(input, button)";

const box = () => document.getElementById("notice");

function show(words, href = "", link = "") {
  const text = link ? `${words} ${link}` : words;
  if (!box().hidden && box().textContent === text) return; // otherwise it would be read out again
  box().replaceChildren(words);
  if (link) {
    const to = document.createElement("a");
    to.href = href;
    to.textContent = link;
    box().append(" ", to);
  }
  box().hidden = false;
}

// The page stays readable, but its buttons are disabled. If the subject comes back, the page is patched with new ones.
export function showGone() {
  const [words, list, link] = GONE[document.getElementById("main").dataset.page] ?? GONE.queue;
  for (const one of document.querySelectorAll(`main :is(${BUTTONS})`)) one.disabled = true;
  show(`${words} The page shows its last known state.`, root + list, link);
}

export function showError(status) {
  show(`This page could not be updated (status ${status}). It is retried every few seconds.`);
}

// Following the link asks for this page as a whole, and is led through the login to it.
function showOut() {
  show("You are logged out; updates have stopped.", location.pathname + location.search, "Log in");
}

export function startNotices() {
  listen("out", showOut);
}

export function hideNotice() {
  box().hidden = true;
}
