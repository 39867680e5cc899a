// The belts: slots, signs and rates from every pulse, and boxes that travel where jobs have moved.
import { listen } from "./bus.js";
import { put, written } from "./numbers.js";

const MOST_TRAVELLERS = 6; // at once, each way
const SVG = "http://www.w3.org/2000/svg";
const calm = matchMedia("(prefers-reduced-motion: reduce)");
const last = new Map(); // queue -> its pulse before

function icon(name, kind) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", kind);
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `#${name}`);
  svg.append(use);
  return svg;
}

function showSlots(box, belt) {
  if (Number(box.dataset.slots) !== belt.slots) {
    box.dataset.slots = belt.slots;
    box.replaceChildren(...Array.from({ length: belt.slots }, () => {
      const slot = document.createElement("i");
      slot.className = "slot";
      return slot;
    }));
  }
  for (const [at, slot] of [...box.children].entries()) {
    const place = belt.slots - at; // from the workers' end
    slot.classList.toggle("full", place <= belt.filled);
    slot.classList.toggle("later", place <= belt.filled && place > belt.filled - belt.later);
  }
}

function showSigns(box, letters) {
  if (box.dataset.signs === letters) return;
  const before = box.dataset.signs;
  box.dataset.signs = letters;
  box.className = `signs n${letters.length <= 8 ? 1 : letters.length <= 48 ? 2 : 3}`;
  while (box.children.length > letters.length) box.lastChild.remove();
  for (const [at, letter] of [...letters].entries()) {
    if (at >= box.children.length) box.append(document.createElement("i"));
    if (before[at] !== letter || !box.children[at].className) box.children[at].className = `sign ${letter}`;
  }
}

function showBlocked(figure, blocked) {
  const box = figure.querySelector("[data-belt-blocked]");
  const wanted = Math.min(blocked, 12);
  while (box.children.length > wanted) box.lastChild.remove();
  while (box.children.length < wanted) box.append(icon("i-person", "icon blocked"));
  put(figure.querySelector("[data-belt-blocked-words]"), blocked ? `${written("", blocked)} blocked` : "");
}

function middle(element, figure) {
  const inner = element.getBoundingClientRect();
  const outer = figure.getBoundingClientRect();
  return [inner.left - outer.left + inner.width / 2 - 6, inner.top - outer.top + inner.height / 2 - 6];
}

function travel(figure, from, to, count, seconds) {
  const [x, y] = middle(from, figure);
  const [toX, toY] = middle(to, figure);
  for (let at = 0; at < count; at += 1) {
    const box = document.createElement("i");
    box.className = "traveller";
    figure.append(box);
    const moving = box.animate(
      [
        { transform: `translate(${x}px, ${y}px)`, opacity: 0.2 },
        { opacity: 1, offset: 0.2 },
        { transform: `translate(${toX}px, ${toY}px)`, opacity: 0.9 },
      ],
      { duration: 650, delay: (at * seconds * 1000) / (count + 1), easing: "ease-in-out", fill: "backwards" },
    );
    box.style.left = "0";
    box.style.top = "0";
    moving.onfinish = () => box.remove();
    moving.oncancel = () => box.remove();
  }
}

function move(figure, before, pulse, interval) {
  if (calm.matches || document.hidden || !before) return;
  const came = Math.min(MOST_TRAVELLERS, Math.max(0, pulse.accepted - before.accepted));
  const went = Math.min(MOST_TRAVELLERS, Math.max(0, pulse.ended - before.ended));
  const slots = figure.querySelector(".slots");
  const signs = figure.querySelector(".sign.w") ?? figure.querySelector(".signs");
  const free = slots.querySelector(".slot:not(.full)") ? [...slots.querySelectorAll(".slot:not(.full)")].pop() : slots.firstElementChild;
  if (came && free) travel(figure, figure.querySelector(".producer"), free, came, interval);
  if (went && slots.lastElementChild) travel(figure, slots.lastElementChild, signs, went, interval);
}

function showBelt(figure, pulse, interval) {
  const { belt } = pulse;
  const before = last.get(figure.dataset.belt);
  showSlots(figure.querySelector(".slots"), belt);
  showSigns(figure.querySelector(".signs"), belt.signs);
  showBlocked(figure, pulse.blocked);
  put(figure.querySelector("[data-belt-words]"), belt.words);
  put(figure.querySelector("[data-belt-scale]"), belt.scale > 1 ? ` · a box is ${written("", belt.scale)} jobs` : "");
  const beyond = figure.querySelector("[data-beyond]");
  if (beyond) beyond.hidden = !pulse.beyond;
  figure.classList.toggle("is-paused", pulse.paused);
  figure.classList.toggle("is-moving", pulse.rate_out > 0);
  figure.classList.toggle("is-full", pulse.full);
  for (const element of figure.querySelectorAll("[data-n]")) {
    put(element, written(element.dataset.n, pulse[element.dataset.n]));
  }
  move(figure, before, pulse, interval);
  last.set(figure.dataset.belt, pulse);
}

export function startBelts() {
  listen("pulse", (pulse) => {
    for (const figure of document.querySelectorAll("[data-belt]")) {
      const numbers = pulse.queues[figure.dataset.belt];
      if (numbers) showBelt(figure, numbers, Math.min(pulse.interval, 1));
    }
  });
}
