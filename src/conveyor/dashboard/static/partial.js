// Fetches the inner part of the page again when it has changed, and morphs it in, so that focus, selection,
// open parts and unsent input stay.
import { listen, root, send } from "./bus.js";
import { startFresh, withoutFresh } from "./fresh.js";
import { freezeReason, heldRegion, isStillIn, startFreeze } from "./freeze.js";
import { isRefused, paused } from "./live.js";
import { hideNotice, showError, showGone } from "./notice.js";

const SHORTEST = 1000; // ms between two fetches
const LATER = 5000; // ms until the next try after an error
let fetching = false;
let fetchedAt = 0;
let later;
let kept = false; // a form or field in use was kept, so it is as old as then
let tag = null;

const main = () => document.getElementById("main");

// The input in a form that has not been sent yet.
function changed(name, node) {
  if (name === "value") return node.tagName !== "PROGRESS" && node.value !== node.defaultValue;
  if (name === "selected") return node.selected !== node.defaultSelected;
  return name === "checked";
}

const keep = (region) => ({
  beforeNodeMorphed: (from) => from !== region && !(from.dataset && "keep" in from.dataset),
  beforeNodeRemoved: (node) => !(node.classList && node.classList.contains("traveller")),
  beforeAttributeUpdated: (name, node) => !(
    (name === "open" && node.tagName === "DETAILS") ||
    (name === "class" && node.classList.contains("chosen")) ||
    changed(name, node) ||
    (name === "hidden" && "keepHidden" in node.dataset)
  ),
});

function again(ms) {
  clearTimeout(later);
  later = setTimeout(refresh, ms);
}

// Returns why it could not be patched in, as a label, or an empty string.
function patch(html, force) {
  const region = heldRegion();
  const lost = region !== null && !isStillIn(html, region);
  const frozen = lost ? "frozen while you type" : freezeReason();
  kept = region !== null;
  if (frozen !== null && !force) {
    tag = null;
    again(lost ? LATER : SHORTEST);
    return frozen;
  }
  Idiomorph.morph(main(), withoutFresh(html, main()), { morphStyle: "outerHTML", callbacks: keep(region) });
  hideNotice();
  send("morphed");
  return "";
}

function take(reply, html, force) {
  if (reply.status === 200) {
    tag = reply.headers.get("etag");
    return patch(html, force);
  }
  if (isRefused(reply)) send("out");
  else if (reply.status === 304) hideNotice();
  else if (reply.status === 404) {
    tag = null; // what comes back may be what it was
    main().dataset.version = "gone";
    showGone();
  } else {
    showError(reply.status);
    again(LATER);
  }
  return "";
}

async function ask() {
  const headers = { "conveyor-part": "main" };
  if (tag) headers["if-none-match"] = tag;
  try {
    const reply = await fetch(root + main().dataset.address, { headers, cache: "no-store", redirect: "manual" });
    return [reply, await reply.text()];
  } catch { return null; } // the channel says that something is wrong
}

export async function refresh(force = false) {
  clearTimeout(later);
  const wait = fetchedAt + SHORTEST - Date.now();
  const frozen = force ? null : freezeReason();
  if (fetching || frozen !== null || (!force && (wait > 0 || paused() || document.hidden))) {
    if (frozen) send("held", frozen);
    again(Math.max(wait, 300));
    return;
  }
  fetching = true;
  fetchedAt = Date.now();
  const answer = await ask();
  fetching = false;
  if (answer) send("held", take(...answer, force));
  else again(LATER);
}

function onLeft() {
  if (!kept) return;
  kept = false;
  tag = null;
  refresh();
}

export function startPartial() {
  if (!main()?.dataset.address) return;
  startFreeze(onLeft);
  listen("changed", ({ address, version }) => {
    if (address === main().dataset.address && version !== main().dataset.version) refresh();
  });
  listen("resumed", () => refresh());
  startFresh();
  listen("fresh", () => { tag = null; refresh(true); });
}
