// Bee-Queue on Node. With its best settings it keeps no results, sends no events and stores no jobs in the producer.
const Queue = require("bee-queue");
const { batches, jobs, main, settings, url } = require("./node.js");

const redis = { host: url.hostname, port: Number(url.port) };
const events = Boolean(settings.results || settings.defaults);
let queue;

main({
  async open() {
    queue = new Queue("bench", { redis, isWorker: false, getEvents: events, sendEvents: events, storeJobs: events });
    await queue.ready();
  },
  put: (task, number) => queue.createJob({ task, number }).save(),
  async putMany(task, numbers) {
    for (const batch of batches(numbers, 1000)) {
      await queue.saveAll(batch.map((number) => queue.createJob({ task, number })));
    }
  },
  result: (job) => new Promise((resolve) => job.on("succeeded", resolve)),
  work(concurrency) {
    const worker = new Queue("bench", {
      redis,
      getEvents: false,
      sendEvents: events,
      storeJobs: false,
      removeOnSuccess: !events,
    });
    worker.process(concurrency, (job) => jobs[job.data.task](job.data.number));
  },
});
