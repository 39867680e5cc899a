// Lists whose newest come first: a <tbody data-newest>. What has come since waits behind a chip, [data-fresh] with a button
// in it, so that visible rows stay in place; changes in them are shown immediately.
import { listen, send } from "./bus.js";

let all = false; // the next time everything is shown
let asked = false;

const list = (place) => place.querySelector("tbody[data-newest]");

// Removes the new rows from the list, and returns how many there are, as a label.
function withhold(next, now) {
  const before = [...now.rows];
  const known = new Set(before.map((row) => row.id));
  const rows = [...next.rows];
  const first = rows.findIndex((row) => known.has(row.id));
  const fresh = first < 0 ? rows : rows.slice(0, first);
  if (!fresh.length) return "";
  // What the new ones pushed off the page stays as long as they wait: all that stood behind the row that is the last now.
  const last = before.findIndex((row) => row.id === rows.at(-1).id);
  for (const row of fresh) row.remove();
  if (first < 0 || last >= 0) for (const row of before.slice(last + 1)) next.append(row.cloneNode(true));
  return `${fresh.length}${first < 0 ? " or more" : ""}`;
}

// Returns the inner part of the page without its new rows, if it has such a list.
export function withoutFresh(html, main) {
  const now = list(main);
  if (all || !now) { all = false; return html; }
  const part = new DOMParser().parseFromString(html, "text/html").querySelector("main");
  const next = list(part);
  const count = next ? withhold(next, now) : "";
  if (!count) return html;
  const [pager, shown] = [part, main].map((place) => place.querySelector(".pager"));
  if (pager && shown) pager.replaceWith(shown.cloneNode(true)); // it goes on behind the rows that are there
  const chip = part.querySelector("[data-fresh]");
  chip.hidden = false;
  chip.querySelector("button").textContent = `Show ${count} new`;
  return part.outerHTML;
}

export function startFresh() {
  document.addEventListener("click", (event) => {
    if (!event.target.closest("[data-fresh] button")) return;
    all = asked = true;
    send("fresh");
  });
  listen("morphed", () => {
    if (!asked || all) return;
    asked = false;
    document.querySelector("main tbody[data-newest] a")?.focus(); // the button is gone
  });
}
