// The jobs and the producer of a contestant on Node; `produce.py` describes the requests. Records of jobs go to a log,
// since Node maps no files: see `slots.py`.
const fs = require("node:fs");
const readline = require("node:readline");

const NAP = 50; // milliseconds of a waiting job
const FLUSH = 5; // milliseconds until records are written, many at a time
const RECORD = 24;
const url = new URL(process.env.BENCH_URL);
const settings = JSON.parse(process.env.BENCH_SETTINGS ?? "{}");
const now = () => Number(process.hrtime.bigint()) / 1e9; // the monotonic clock of Python too
const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

let log;
let records = [];
let flushing;

function flush() {
  log ??= fs.openSync(`${process.env.BENCH_SLOTS}.log.${process.pid}`, "a");
  const data = Buffer.allocUnsafe(RECORD * records.length);
  records.forEach(([start, end, number], index) => {
    data.writeDoubleLE(start, RECORD * index);
    data.writeDoubleLE(end, RECORD * index + 8);
    data.writeInt32LE(process.pid, RECORD * index + 16);
    data.writeInt32LE(number, RECORD * index + 20);
  });
  records = [];
  flushing = undefined;
  fs.writeSync(log, data);
}

function note(start, end, number) {
  records.push([start, end, number]);
  flushing ??= setTimeout(flush, FLUSH);
}

const jobs = {
  async echo(number) {
    const start = now();
    note(start, start, number);
    return number;
  },
  async nap(number) {
    const start = now();
    await sleep(NAP);
    note(start, now(), number);
    return number;
  },
};

const requests = {
  async put(adapter, { task, first, count }) {
    const start = now();
    for (let number = first; number < first + count; number++) await adapter.put(task, number);
    return { seconds: now() - start };
  },
  async bare_calls() {
    return { seconds: 0 };
  },
  async put_many(adapter, { task, first, count }) {
    const numbers = Array.from({ length: count }, (_, index) => first + index);
    const start = now();
    await adapter.putMany(task, numbers);
    return { seconds: now() - start, how: "bulk" };
  },
  async round_trips(adapter, { first, count, gaps, seconds }) {
    const puts = [];
    const backs = [];
    const end = now() + seconds;
    for (let number = first; number < first + count; number++) {
      await sleep(1000 * (gaps[0] + Math.random() * (gaps[1] - gaps[0])));
      puts.push(now());
      const value = await adapter.result(await adapter.put("echo", number));
      backs.push(now());
      if (value !== number) throw new Error(`the result of job ${number} is ${value}`);
      if (backs.at(-1) > end) break;
    }
    return { puts, backs, results: true };
  },
};

async function produce(adapter) {
  await adapter.open();
  const reply = (value) => process.stdout.write(`${JSON.stringify(value)}\n`);
  reply({ ready: true });
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const { do: name, ...request } = JSON.parse(line);
    try {
      reply(await requests[name](adapter, request));
    } catch (error) {
      reply({ error: String(error) });
    }
  }
  process.exit(0);
}

// Batches of `size`, for a bulk put.
function* batches(items, size) {
  for (let first = 0; first < items.length; first += size) yield items.slice(first, first + size);
}

// Run the producer or, if asked to, the worker with its concurrency.
function main(adapter) {
  if (process.argv[2] === "produce") produce(adapter);
  else adapter.work(Number(process.argv[3]));
}

module.exports = { batches, jobs, main, settings, url };
