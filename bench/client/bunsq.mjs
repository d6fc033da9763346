// Our client, for bench/client.ts. The first argument is the module to load: the source on Bun, what the package has on Node.
import { play } from "./acts.mjs";

const { Consumer, Producer } = await import(process.argv[2]);

async function openProducer({ address, topic }) {
  const producer = new Producer({ brokers: [address] });
  await producer.ready();
  return {
    publish: (body) => producer.publish(topic, body),
    publishBatch: (bodies) => producer.publishBatch(topic, bodies),
    close: () => producer.close(),
  };
}

async function openConsumer({ address, topic, channel, maxInFlight }, onBody) {
  const consumer = new Consumer({ brokers: [address], topic, channel, maxInFlight });
  const running = consumer.run((message) => onBody(message.body));
  return {
    close: async () => {
      await consumer.close();
      await running;
    },
  };
}

await play(openProducer, openConsumer);
