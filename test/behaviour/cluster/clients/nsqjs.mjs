// Publishes and consumes through nsqjs; test/behaviour/cluster/clients/client-job.ts describes the job and what is printed.
import { Reader, Writer } from "nsqjs";
import { bodyOf, numberOf } from "./body.mjs";
import { Deliveries, obey, print } from "./client-output.mjs";

const job = JSON.parse(process.argv[2]);
/** A publish that has no answer by then is repeated elsewhere, ms. */
const PATIENCE_MS = 3000;
let isStopped = false;
obey(() => {
  isStopped = true;
});

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** @returns {Promise<Writer>} once it is connected */
function openWriter(address) {
  const [host, port] = address.split(":");
  const writer = new Writer(host, Number(port), { heartbeatInterval: 1, dialTimeout: 1 });
  return new Promise((resolve, reject) => {
    writer.on("ready", () => resolve(writer));
    writer.on("error", reject);
    writer.on("closed", () => reject(new Error("closed")));
    setTimeout(() => reject(new Error("does not connect")), PATIENCE_MS);
    writer.connect();
  });
}

function publishBatch(writer, bodies) {
  return new Promise((resolve, reject) => {
    setTimeout(() => reject(new Error("no answer")), PATIENCE_MS);
    writer.on("error", reject);
    writer.on("closed", () => reject(new Error("closed")));
    writer.publish(job.topic, bodies, (error) => (error ? reject(error) : resolve()));
  });
}

async function publish() {
  let broker = 0;
  let writer;
  let due = Date.now();
  for (let first = 0; !isStopped; first += job.batch) {
    const bodies = Array.from({ length: job.batch }, (_, i) => bodyOf(first + i));
    for (;;) {
      try {
        writer ??= await openWriter(job.brokers[broker]);
        await publishBatch(writer, bodies);
        break;
      } catch (error) {
        print(`u ${first} ${job.batch}`);
        print(`! ${job.brokers[broker]}: ${error}`);
        writer?.close();
        writer = undefined;
        broker = (broker + 1) % job.brokers.length;
        await pause(50);
      } finally {
        writer?.removeAllListeners();
        // Without a listener an error would end the process.
        writer?.on("error", () => {});
      }
    }
    print(`a ${first} ${job.batch}`);
    due = Math.max(due + (job.batch / job.rate) * 1000, Date.now());
    await pause(due - Date.now());
  }
  print("s");
}

function consume() {
  const deliveries = new Deliveries();
  const reader = new Reader(job.topic, job.channel, {
    lookupdHTTPAddresses: job.lookups,
    lookupdPollInterval: 1,
    heartbeatInterval: 1,
    // What it writes counts as a sign of life, too.
    idleTimeout: 2,
    maxInFlight: 500,
    maxAttempts: 0,
  });
  reader.on("message", (message) => {
    const body = message.body.toString("latin1");
    deliveries.add(body, numberOf(body));
    message.finish();
  });
  reader.on("error", (error) => print(`! ${error}`));
  reader.connect();
}

if (job.act === "publish") await publish();
else consume();
