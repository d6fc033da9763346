// What a client library in JavaScript does for bench/client.ts: see bench/client/job.ts for the job and what is reported.
// Plain JavaScript, because Node runs it, too.

/**
 * What an adapter makes of a library.
 *
 * @typedef {object} Library
 * @property {(body: Uint8Array) => Promise<unknown>} [publish]
 * @property {(bodies: Uint8Array[]) => Promise<unknown>} [publishBatch]
 * @property {() => Promise<void>} close
 */

/** Measures from start() to stop(). */
class Meter {
  start() {
    this.cpu = process.cpuUsage();
    this.startMs = performance.now();
  }

  stop() {
    const seconds = (performance.now() - this.startMs) / 1000;
    const { user, system } = process.cpuUsage(this.cpu);
    return { seconds, cpuSeconds: (user + system) / 1e6 };
  }
}

/** Publishes batches, each as soon as one of `outstanding` has been acknowledged. */
async function publishBatches({ publishBatch }, { batch, bodyBytes, outstanding }, messages) {
  const bodies = Array.from({ length: batch }, () => Buffer.alloc(bodyBytes, "x"));
  let left = messages / batch;
  const lane = async () => {
    while (left-- > 0) await publishBatch(bodies);
  };
  await Promise.all(Array.from({ length: outstanding }, lane));
}

/** Publishes `outstanding` single messages, waits for all of them, and goes on with the next ones. */
async function publishSingles({ publish }, { bodyBytes, outstanding }, messages) {
  const body = Buffer.alloc(bodyBytes, "x");
  for (let done = 0; done < messages; done += outstanding) {
    const publishes = [];
    for (let i = 0; i < outstanding; i++) publishes.push(publish(body));
    await Promise.all(publishes);
  }
}

async function publish(openProducer, job) {
  const act = job.act === "batches" ? publishBatches : publishSingles;
  const producer = await openProducer(job);
  await act(producer, job, job.warmUp);
  const meter = new Meter();
  meter.start();
  await act(producer, job, job.messages);
  const measured = meter.stop();
  await producer.close();
  return measured;
}

/** Consumes `warmUp` messages and then `messages` more, which are measured. */
async function consume(openConsumer, { warmUp, messages, bodyBytes, ...job }) {
  const meter = new Meter();
  let received = 0;
  let measured;
  let finish;
  const all = new Promise((resolve) => {
    finish = resolve;
  });
  const consumer = await openConsumer(job, (body) => {
    if (body.length !== bodyBytes) throw new Error(`a body of ${body.length} bytes`);
    received++;
    if (received === warmUp) meter.start();
    if (received !== warmUp + messages) return;
    measured = meter.stop();
    finish();
  });
  await all;
  await consumer.close();
  return measured;
}

/**
 * Carries out the job in the last argument, prints what was measured, and ends the process.
 *
 * @param {(job: object) => Promise<Library>} openProducer
 * @param {(job: object, onBody: (body: Uint8Array) => void) => Promise<Library>} openConsumer finishes each message
 */
export async function play(openProducer, openConsumer) {
  const job = JSON.parse(process.argv.at(-1) ?? "{}");
  const measured = await (job.act === "consume" ? consume(openConsumer, job) : publish(openProducer, job));
  console.log(JSON.stringify(measured));
  process.exit(0);
}
