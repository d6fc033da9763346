// nsqjs, for bench/client.ts. Its callbacks become promises, as a program that awaits its publishes would do it.
import { Reader, Writer } from "nsqjs";
import { play } from "./acts.mjs";

/** @param {import("node:events").EventEmitter} emitter @param {string} event */
function once(emitter, event) {
  return new Promise((resolve, reject) => {
    emitter.once(event, resolve);
    emitter.once("error", reject);
  });
}

async function openProducer({ address, topic }) {
  const [host, port] = address.split(":");
  const writer = new Writer(host, Number(port));
  const ready = once(writer, "ready");
  writer.connect();
  await ready;
  // One message or an array: it sends PUB or MPUB.
  const publish = (body) => new Promise((resolve, reject) => writer.publish(topic, body, (error) => (error ? reject(error) : resolve())));
  return {
    publish,
    publishBatch: publish,
    close: async () => {
      const closed = once(writer, "closed");
      writer.close();
      await closed;
    },
  };
}

async function openConsumer({ address, topic, channel, maxInFlight }, onBody) {
  const reader = new Reader(topic, channel, { nsqdTCPAddresses: [address], maxInFlight });
  reader.on("message", (message) => {
    onBody(message.body);
    message.finish();
  });
  const ready = once(reader, "ready");
  reader.connect();
  await ready;
  return {
    close: async () => {
      const closed = once(reader, "nsqd_closed");
      reader.close();
      await closed;
    },
  };
}

await play(openProducer, openConsumer);
