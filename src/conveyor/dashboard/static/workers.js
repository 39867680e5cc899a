// The control commands to workers: Pause or Resume, Stop after the current job, Cancel that job, Kill, Scale. A row
// names its target (data-target) and the current job; the text of the question is made when it is asked.
import { act } from "./act.js";

const LEAVES = "The worker does not come back; with the last one its consumer leaves, too.";

function words(row) {
  const { target, job, short } = row.dataset;
  const task = row.querySelector(".at a, .now-task a")?.textContent;
  const jobs = Number(row.dataset.jobs ?? (job ? 1 : 0));
  const workers = row.dataset.workers;
  const since = row.querySelector("[data-elapsed] time, td time")?.textContent;
  const at = job ? `The current job is ${task} (${job})${since ? `, running for ${since}` : ""}. ` : "";
  const what = workers ? `${target} and its ${workers} workers` : target;
  const back = jobs > 1
    ? `The ${jobs} jobs that they run return to the queue, and no crash is counted. `
    : jobs === 1 ? `${job ? "The job" : "The job that it runs"} returns to the queue, and no crash is counted. ` : "";
  const noun = workers ? "workers" : "worker";
  const follows = row.dataset.most ? `It follows the waiting jobs now, with ${row.dataset.least} to ${row.dataset.most} workers; the number that you set stays until somebody runs conveyor scale ${target} auto. ` : "";
  const head = row.closest("tbody")?.querySelector(".consumer-head");
  const shares = !workers && (row.dataset.kind ?? head?.dataset.kind ?? "process") !== "process";
  return {
    pause: { ask: `Pause ${what}?`, yes: `Pause ${noun}`, done: "Pause", words: `${at}${workers ? "They finish what they run, then stay and take" : "It finishes what it runs, then stays and takes"} no jobs until you resume ${workers ? "them" : "it"}.` },
    resume: { ask: `Resume ${what}?`, yes: `Resume ${noun}`, done: "Resume", words: `${workers ? "They take" : "It takes"} jobs again.` },
    stop: { ask: `Stop ${what} after the current ${jobs > 1 ? "jobs" : "job"}?`, yes: `Stop ${noun}`, no: `Keep ${noun}`, done: "Stop", words: `${at}${workers ? "They finish what they run and leave, and the consumer with them." : `It finishes what it runs, then leaves. ${LEAVES}`}` },
    scale: { ask: `Change the number of workers of ${target}?`, yes: "Change number", no: `Keep ${workers === "1" ? "1 worker" : `${workers} workers`}`, done: "Scale", words: `${follows}Workers are added immediately. Those that are too many leave after their current jobs, free ones first. With 0, the consumer stays and takes no jobs.` },
    cancel: { ask: `Cancel job ${job}?`, yes: "Cancel job", no: "Keep job", done: "Cancel the job", words: `${at}The task is asked to stop; a worker that does not react in time is killed and replaced. The job ends as cancelled and is not retried.` },
    kill: { ask: `Kill ${what} now?`, yes: `Kill ${noun}`, no: `Keep ${noun}`, done: "Kill now", typed: jobs > 1 ? short : "", words: `${at}${workers ? "Their processes end" : "Its process ends"} immediately. ${back}${shares ? "The other workers of the process are replaced, and their jobs return likewise. " : ""}${workers ? "The consumer leaves." : LEAVES}` },
  };
}

function control(button) {
  const row = button.closest("[data-target]");
  const verb = button.dataset.tell;
  const { target, job, queueOf } = row.dataset;
  const texts = words(row)[verb];
  const command = document.createElement("button");
  Object.assign(command.dataset, { ask: texts.ask, words: texts.words, yes: texts.yes, done: `${texts.done} ${verb === "cancel" ? job : target}` });
  if (texts.no) command.dataset.no = texts.no;
  if (verb === "scale") command.dataset.number = row.dataset.workers;
  if (texts.typed) command.dataset.typed = texts.typed;
  command.dataset.act = verb === "cancel" ? `/api/v1/jobs/${encodeURIComponent(job)}/cancel` : "/api/v1/workers/tell";
  const jobs = verb === "kill" && job ? { jobs: { [target]: job } } : {}; // by then it may run one that nobody saw
  command.dataset.body = JSON.stringify(verb === "cancel" ? { queue: queueOf } : { verb, targets: [target], ...jobs });
  act(command);
}

export function startWorkers() {
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-tell]");
    if (button) { event.preventDefault(); control(button); }
  });
}
