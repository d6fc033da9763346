// Works on jobs, eight at a time, and stops without losing one: node work-queue.js [BROKER]
import { Consumer } from "bunsq/client";

const [broker = "127.0.0.1:4150"] = process.argv.slice(2);
const consumer = new Consumer({
  brokers: [broker],
  topic: "jobs",
  channel: "workers",
  maxInFlight: 16,
  // A job may take longer than the broker waits for an answer.
  touch: "auto",
  onEvent: (event) => {
    if (event.type === "handler-failed") console.error(`job ${event.id} failed: ${event.error.message}`);
  },
});

async function work(message) {
  const { ms } = message.json();
  await new Promise((resolve) => setTimeout(resolve, ms));
  console.log(`done after ${ms} ms`);
}

// On SIGTERM no more jobs are received, and those that were begun are finished.
const stop = new AbortController();
for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => stop.abort());
console.log("ready");
await consumer.run(work, { concurrency: 8, signal: stop.signal });
console.log("stopped");
