// Shows the age of the stack that a worker reported.
import { now } from "./times.js";

function dated(text) {
  const age = document.querySelector("[data-stack-age]");
  if (!age || !text.textContent) return;
  const time = document.createElement("time");
  time.dateTime = new Date(now() * 1000).toISOString();
  time.dataset.time = "ago";
  time.textContent = "just now";
  age.replaceChildren("As it was ", time, ":");
  age.hidden = false;
}

export function startStack() {
  document.addEventListener("click", (event) => {
    if (!event.target.closest("[data-detail=stack-text]")) return;
    const text = document.querySelector("[data-stack]");
    if (!text || text.dataset.watched) return;
    text.dataset.watched = "yes";
    new MutationObserver(() => dated(text)).observe(text, { childList: true, characterData: true, subtree: true });
  });
}
