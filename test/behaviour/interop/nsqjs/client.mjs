// Publishes and consumes through nsqjs; see test/behaviour/interop/support/suite.ts for the acts and their reports, and
// test/behaviour/discovery/support/follower.ts for the act follow.
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { Reader, Writer } from "nsqjs";

const [address = "", topic = "", act = "", ...numbers] = process.argv.slice(2);
// Settings of the library's own, for reader and writer.
const options = JSON.parse(process.env.CLIENT_OPTIONS ?? "{}");
const [host = "", port = ""] = address.split(":");

/** See test/behaviour/interop/support/transport.ts. */
const transport = JSON.parse(process.env.BUNSQ_TRANSPORT ?? "{}");
const layers = {
  ...(transport.ca === undefined ? {} : { tls: true, ca: readFileSync(transport.ca) }),
  ...(transport.cert === undefined ? {} : { cert: readFileSync(transport.cert), key: readFileSync(transport.key) }),
  ...(transport.compression === undefined ? {} : { [transport.compression]: true }),
};

/** @param {import("node:events").EventEmitter} emitter @param {string} event */
function once(emitter, event) {
  return new Promise((resolve, reject) => {
    emitter.once(event, resolve);
    emitter.once("error", reject);
  });
}

async function openWriter() {
  const writer = new Writer(host, Number(port), { clientId: "nsqjs-writer", ...layers, ...options });
  const ready = once(writer, "ready");
  writer.connect();
  await ready;
  return writer;
}

/** @param {object} more @param {(message: any) => void} onMessage */
async function openReader(more, onMessage) {
  const reader = new Reader(topic, "ch", { nsqdTCPAddresses: [address], clientId: "nsqjs-reader", ...layers, ...options, ...more });
  const ready = once(reader, "ready");
  reader.on("message", onMessage);
  reader.connect();
  await ready;
  return reader;
}

function publish(writer, body) {
  return new Promise((resolve, reject) => writer.publish(topic, body, (error) => (error ? reject(error) : resolve())));
}

/** Closes both ends and waits until the connections are gone. */
async function close(reader, writer) {
  const left = [once(reader, "nsqd_closed"), once(writer, "closed")];
  reader.close();
  writer.close();
  await Promise.all(left);
}

async function flood(count) {
  const deliveries = new Uint8Array(count);
  let received = 0;
  let attemptsAboveOne = 0;
  let finish;
  const all = new Promise((resolve) => {
    finish = resolve;
  });
  const reader = await openReader({ maxInFlight: 1000 }, (message) => {
    deliveries[Number(message.body.toString())]++;
    if (message.attempts !== 1) attemptsAboveOne++;
    message.finish();
    if (++received === count) finish();
  });
  const writer = await openWriter();
  const singles = count / 10;
  for (let from = 0; from < singles; from += 500) {
    await Promise.all(Array.from({ length: 500 }, (_, i) => publish(writer, String(from + i))));
  }
  for (let from = singles; from < count; from += 300) {
    await publish(
      writer,
      Array.from({ length: Math.min(300, count - from) }, (_, i) => String(from + i)),
    );
  }
  await all;
  await close(reader, writer);
  const missing = deliveries.filter((times) => times === 0).length;
  const repeated = deliveries.filter((times) => times > 1).length;
  return { published: count, received, missing, repeated, attemptsAboveOne };
}

/** Bodies as test/behaviour/interop/support/transport.ts has them. */
function body(i) {
  return `${i} ${"abcdefghijklmnopqrstuvwxyz0123456789".repeat(7).slice(0, (i * 7) % 251)}`;
}

async function carry(count) {
  const bodies = new Array(count);
  let received = 0;
  let finish;
  const all = new Promise((resolve) => {
    finish = resolve;
  });
  const reader = await openReader({ maxInFlight: 1000 }, (message) => {
    bodies[Number.parseInt(message.body.toString(), 10)] = message.body;
    message.finish();
    if (++received === count) finish();
  });
  const writer = await openWriter();
  const singles = Math.min(500, count);
  await Promise.all(Array.from({ length: singles }, (_, i) => publish(writer, body(i))));
  for (let from = singles; from < count; from += 500) {
    await publish(
      writer,
      Array.from({ length: Math.min(500, count - from) }, (_, i) => body(from + i)),
    );
  }
  await all;
  await close(reader, writer);
  const hash = createHash("sha256");
  for (const one of bodies) hash.update(one);
  return { received, sha256: hash.digest("hex") };
}

async function care(requeueDelayMs, msgTimeoutMs) {
  const seen = { requeue: [], touch: [], timeout: [] };
  let finish;
  const all = new Promise((resolve) => {
    finish = resolve;
  });
  let finished = 0;
  const done = (message) => {
    message.finish();
    if (++finished === 3) finish();
  };
  const reader = await openReader({ maxInFlight: 10, messageTimeout: msgTimeoutMs }, (message) => {
    const what = message.body.toString();
    seen[what].push({ attempts: message.attempts, atMs: performance.now() });
    if (what === "touch") {
      const touching = setInterval(() => message.touch(), msgTimeoutMs / 2);
      setTimeout(() => {
        clearInterval(touching);
        done(message);
      }, msgTimeoutMs * 2.2);
    } else if (message.attempts > 1) {
      done(message);
    } else if (what === "requeue") {
      message.requeue(requeueDelayMs, false);
    }
  });
  const writer = await openWriter();
  for (const what of ["requeue", "touch", "timeout"]) await publish(writer, what);
  await all;
  await close(reader, writer);
  const gapMs = (deliveries) => Math.round(deliveries[1].atMs - deliveries[0].atMs);
  const attempts = (deliveries) => deliveries.map((delivery) => delivery.attempts);
  return {
    requeue: { attempts: attempts(seen.requeue), gapMs: gapMs(seen.requeue) },
    touch: { attempts: attempts(seen.touch) },
    timeout: { attempts: attempts(seen.timeout), gapMs: gapMs(seen.timeout) },
  };
}

/** @param {string} channel */
function follow(channel) {
  const reader = new Reader(topic, channel, {
    lookupdHTTPAddresses: address.split(","),
    lookupdPollInterval: 1,
    heartbeatInterval: 1,
    // What it writes counts as a sign of life too, so noticing a dead connection may take twice as long.
    idleTimeout: 2,
    maxInFlight: 200,
  });
  // Brokers come and go.
  reader.on("error", (error) => console.error(error));
  reader.on("message", (message) => {
    process.stdout.write(`${message.body}\n`);
    message.finish();
  });
  reader.connect();
  return new Promise(() => {});
}

if (act === "follow") await follow(numbers[0]);
const report = await { flood, carry, care }[act](...numbers.map(Number));
console.log(JSON.stringify(report));
// nsqjs leaves timers behind that would keep the process for a while.
process.exit(0);
