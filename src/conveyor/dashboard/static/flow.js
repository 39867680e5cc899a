// The picture of a graph begins where the page's own job is, once for each page.
import { listen } from "./bus.js";

let shown = "";

function showAsked() {
  const box = document.querySelector(".flow-box");
  const asked = box?.querySelector(".asked rect");
  if (!asked || shown === location.pathname) return;
  shown = location.pathname;
  box.scrollLeft = asked.x.baseVal.value - (box.clientWidth - asked.width.baseVal.value) / 2;
  box.scrollTop = asked.y.baseVal.value - (box.clientHeight - asked.height.baseVal.value) / 2;
}

export function startFlow() {
  showAsked();
  listen("morphed", showAsked);
}
