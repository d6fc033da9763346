// Publishes and consumes through our client; test/behaviour/cluster/clients/client-job.ts describes the job and what is printed.
import { Consumer, Producer } from "../../../../src/client/bun.ts";
import { PublishError } from "../../../../src/client/errors.ts";
import { bodyOf, numberOf } from "./body.mjs";
import { Deliveries, obey, print } from "./client-output.mjs";

/** A publish that failed is repeated after this time. */
const AGAIN_MS = 50;
/** Longer than any fault. */
const TIMEOUT_MS = 60_000;

const job = JSON.parse(process.argv[2] ?? "{}");
let isStopped = false;
obey(() => {
  isStopped = true;
});

async function publish() {
  const producer = new Producer({ lookups: [...job.lookups], heartbeatMs: 1_000, timeoutMs: TIMEOUT_MS, lookupPollMs: 1_000 });
  let next = 0;
  let due = performance.now();
  /** The last publish of each key. @type {Promise<void>[]} */
  let lasts = [];
  let underWay = 0;
  while (!isStopped) {
    for (let i = 0; i < job.batch; i++) {
      const number = next++;
      if (job.keys === 0) continue;
      const key = number % job.keys;
      lasts[key] = (lasts[key] ?? Promise.resolve()).then(() => one(producer, number, `key ${key}`));
    }
    underWay++;
    if (job.delayMs > 0) lasts = Array.from({ length: job.batch }, (_, i) => later(producer, next - job.batch + i));
    const batch = job.keys === 0 && job.delayMs === 0 ? many(producer, next - job.batch) : Promise.all(lasts);
    void batch.then(() => underWay--);
    if (job.keys > 0 || underWay > 8) await batch;
    due = Math.max(due + (job.batch / job.rate) * 1000, performance.now());
    await Bun.sleep(due - performance.now());
  }
  while (underWay > 0) await Bun.sleep(10);
  print("s");
}

async function one(producer, number, key) {
  await untilAcknowledged(number, 1, () => producer.publish(job.topic, bodyOf(number), { key }));
}

async function later(producer, number) {
  await untilAcknowledged(number, 1, () => producer.publish(job.topic, bodyOf(number), number % 2 === 1 ? { deferMs: job.delayMs } : {}));
}

async function many(producer, first) {
  const bodies = Array.from({ length: job.batch }, (_, i) => bodyOf(first + i));
  await untilAcknowledged(first, job.batch, () => producer.publishBatch(job.topic, bodies));
}

async function untilAcknowledged(first, count, send) {
  for (;;) {
    try {
      const { mayBeDuplicate } = await send();
      if (mayBeDuplicate) print(`u ${first} ${count}`);
      print(`a ${first} ${count}`);
      return;
    } catch (error) {
      if (!(error instanceof PublishError) || error.mayBeDuplicate) print(`u ${first} ${count}`);
      print(`! ${first}: ${error}`);
      await Bun.sleep(AGAIN_MS);
    }
  }
}

async function consume() {
  const deliveries = new Deliveries();
  const consumer = new Consumer({
    lookups: [...job.lookups],
    topic: job.topic,
    channel: job.channel,
    maxInFlight: 500,
    maxAttempts: 0,
    heartbeatMs: 1_000,
    maxReconnectMs: 1_000,
    lookupPollMs: 1_000,
    ...(job.keys > 0 ? { order: "key" } : {}),
  });
  /** When each number that was requeued is to come again, ms of the wall clock. @type {Map<number, number>} */
  const requeued = new Map();
  await consumer.run(
    (message) => {
      const body = message.text();
      const number = numberOf(body);
      if (job.delayMs > 0 && number % 2 === 0 && message.attempts === 1) {
        if (requeued.has(number)) print(`f ${requeued.get(number)} ${number}`);
        requeued.set(number, Date.now() + job.delayMs);
        return message.requeue(job.delayMs, { backoff: false });
      }
      deliveries.add(body, number);
    },
    { concurrency: 500 },
  );
}

await (job.act === "publish" ? publish() : consume());
