// BullMQ on Node. It keeps results and renews a lock on each running job.
const { Queue, QueueEvents, Worker } = require("bullmq");
const { batches, jobs, main, settings, url } = require("./node.js");

const connection = { host: url.hostname, port: Number(url.port), maxRetriesPerRequest: null };
const options = settings.job ?? {};
let queue;
let events;

main({
  async open() {
    queue = new Queue("bench", { connection });
    await queue.waitUntilReady();
    if (settings.results) {
      events = new QueueEvents("bench", { connection });
      await events.waitUntilReady();
    }
  },
  put: (task, number) => queue.add(task, { number }, options),
  async putMany(task, numbers) {
    for (const batch of batches(numbers, 1000)) {
      await queue.addBulk(batch.map((number) => ({ name: task, data: { number }, opts: options })));
    }
  },
  result: (job) => job.waitUntilFinished(events),
  work(concurrency) {
    new Worker("bench", (job) => jobs[job.name](job.data.number), { connection, concurrency });
  },
});
