// The controls of a queue: pause and resume it from any row about it, and change its limits.
import { act } from "./act.js";

const WORDS = {
  pause: "Workers finish their current jobs and take no more from it. Producers can put until it is full.",
  resume: "Workers take jobs from it again, and producers may put.",
};

function buttonFor(queue, verb, texts) {
  const button = document.createElement("button");
  Object.assign(button.dataset, texts, { act: `/api/v1/queues/${encodeURIComponent(queue)}/${verb}` });
  return button;
}

export function pauseOrResume(queue, verb) {
  const yes = verb === "pause" ? "Pause" : "Resume";
  act(buttonFor(queue, verb, { ask: `${yes} ${queue}?`, yes, words: WORDS[verb], done: `${yes} ${queue}` }));
}

async function changeLimit(form) {
  const queue = form.dataset.limit;
  const field = form.elements.maxsize;
  const maxsize = field.valueAsNumber;
  const texts = maxsize
    ? { ask: `Limit ${queue} to ${maxsize.toLocaleString("en")} slots?`, yes: "Set limit", words: "Jobs that are on it already stay; producers are blocked while it is full." }
    : { ask: `Remove the limit of ${queue}?`, yes: "Remove limit", words: "The queue then grows as long as the server has memory. Blocked producers continue." };
  field.blur(); // a focused field is not updated
  await act(buttonFor(queue, "bound", { ...texts, done: `Limit of ${queue}` }), { maxsize });
}

async function changeRunLimit(form) {
  const queue = form.dataset.runLimit;
  const limit = Object.fromEntries(["running", "starts", "per"].map((name) => [name, form.elements[name].valueAsNumber]));
  const said = [
    limit.running ? `${limit.running.toLocaleString("en")} at a time` : "",
    limit.starts ? `${limit.starts.toLocaleString("en")} starts per ${limit.per} s` : "",
  ].filter(Boolean).join(", ");
  const texts = said
    ? { ask: `Limit ${queue} to ${said}?`, yes: "Set limit", words: "Running jobs continue. Others wait until there is room, on all consumers together." }
    : { ask: `Remove the run limit of ${queue}?`, yes: "Remove limit", words: "As many jobs run as there are workers. Limits of its tasks stay." };
  document.activeElement?.blur(); // a focused field is not updated
  await act(buttonFor(queue, "limit", { ...texts, done: `Limit of ${queue}` }), limit);
}

export function startQueue() {
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-queue-act]");
    if (button) { event.preventDefault(); pauseOrResume(button.closest("[data-queue]").dataset.queue, button.dataset.queueAct); }
  });
  document.addEventListener("submit", (event) => {
    const form = event.target.closest("[data-limit]");
    if (form) { event.preventDefault(); changeLimit(form); }
    const runs = event.target.closest("[data-run-limit]");
    if (runs) { event.preventDefault(); changeRunLimit(runs); }
  });
}
