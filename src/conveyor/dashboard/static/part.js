// Fetches the inner part of the page anew when it has changed, and morphs it in, so that focus, selection and what is
// open stay. Waits while somebody is at it: a field has focus, text is selected, the pointer is down, a dialog is open.
import { hear, root, tell } from "./bus.js";
import { paused } from "./live.js";
import { hideNotice, showFault, showGone } from "./notice.js";

const SHORTEST = 1000; // ms between two fetches
const AFTER_FAULT = 5000; // ms until one that went wrong is tried again
let fetching = false;
let fetchedAt = 0;
let later;
let pressed = false;
let tag = null;

const main = () => document.getElementById("main");

function busy() {
  const active = document.activeElement;
  if (active && main().contains(active) && active.matches("input:not([type=checkbox]), textarea, select")) return true;
  const selected = getSelection();
  if (selected && !selected.isCollapsed && main().contains(selected.anchorNode)) return true;
  return pressed || document.querySelector("dialog[open]") !== null || document.querySelector("main details.menu[open]") !== null;
}

// What somebody has changed in a form and not sent yet.
function changed(name, node) {
  if (name === "value") return node.tagName !== "PROGRESS" && node.value !== node.defaultValue;
  if (name === "selected") return node.selected !== node.defaultSelected;
  return name === "checked";
}

const keep = {
  beforeNodeMorphed: (from) => !(from.dataset && "keep" in from.dataset),
  beforeNodeRemoved: (node) => !(node.classList && node.classList.contains("traveller")),
  beforeAttributeUpdated: (name, node) => !(
    (name === "open" && node.tagName === "DETAILS") ||
    (name === "class" && node.classList.contains("chosen")) ||
    changed(name, node) ||
    (name === "hidden" && "keepHidden" in node.dataset)
  ),
};

async function take(reply, force) {
  if (reply.status === 304) { hideNotice(); return; }
  if (reply.status === 404) {
    tag = null; // what comes back may be what it was
    main().dataset.version = "gone";
    showGone();
  } else if (reply.status !== 200) {
    showFault(reply.status);
    later = setTimeout(refresh, AFTER_FAULT);
  } else {
    tag = reply.headers.get("etag");
    const html = await reply.text();
    if (busy() && !force) { tag = null; later = setTimeout(refresh, 300); return; }
    Idiomorph.morph(main(), html, { morphStyle: "outerHTML", ignoreActiveValue: document.activeElement.matches("input, textarea, select"), callbacks: keep });
    hideNotice();
    tell("morphed");
  }
}

export async function refresh(force = false) {
  clearTimeout(later);
  const wait = fetchedAt + SHORTEST - Date.now();
  if (fetching || (!force && (wait > 0 || busy() || paused() || document.hidden))) {
    later = setTimeout(refresh, Math.max(wait, 300));
    return;
  }
  fetching = true;
  fetchedAt = Date.now();
  try {
    const headers = { "conveyor-part": "main" };
    if (tag) headers["if-none-match"] = tag;
    await take(await fetch(root + main().dataset.address, { headers, cache: "no-store" }), force);
  } catch { /* the channel says that something is wrong */ } finally {
    fetching = false;
  }
}

export function startPart() {
  if (!main()?.dataset.address) return;
  addEventListener("pointerdown", () => { pressed = true; });
  for (const end of ["pointerup", "pointercancel", "blur"]) addEventListener(end, () => { pressed = false; });
  hear("changed", ({ address, version }) => {
    if (address === main().dataset.address && version !== main().dataset.version) refresh();
  });
  hear("resumed", () => refresh());
}
