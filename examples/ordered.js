// Works on the messages of each customer in their order, and on those of several customers side by side: node ordered.js [BROKER [HTTP]]
import { BrokerClient, Consumer, Producer } from "bunsq/client";

const [broker = "127.0.0.1:4150", http = "127.0.0.1:4151"] = process.argv.slice(2);

// The topic has four partitions; a customer's messages are all in one of them. The channel gives out the next one of a customer when the
// one before is finished, and puts a message aside that was tried three times.
const admin = new BrokerClient(http);
await admin.createTopic("orders", { partitions: 4 });
await admin.createChannel("orders", "ledger", { order: "key", maxAttempts: 3, deadLetterTopic: "orders-failed" });

const CUSTOMERS = ["ada", "barbara", "grace", "hedy"];
const STEPS = ["ordered", "paid", "packed", "sent"];
const producer = new Producer({ brokers: [broker] });
for (const step of STEPS) {
  for (const customer of CUSTOMERS) await producer.publish("orders", step, { key: customer, headers: { shop: "london" } });
}
await producer.close();

// Two consumers, as in two processes. Each has up to ten customers at a time.
let waited = CUSTOMERS.length * STEPS.length - 1;
let end;
const ended = new Promise((resolve) => {
  end = resolve;
});
async function handle(message) {
  const { key, attempts, headers } = message;
  await new Promise((resolve) => setTimeout(resolve, 5));
  if (key === "grace" && message.text() === "paid") throw new Error(`no money, attempt ${attempts}`);
  console.log(`${key}: ${message.text()} (${headers.shop})`);
  if (--waited === 0) end();
}
const consumers = ["one", "other"].map(
  (clientId) =>
    new Consumer({
      ...{ brokers: [broker], topic: "orders", channel: "ledger", order: "key", maxInFlight: 10, clientId },
      // A message that fails waits, and its customer's later ones behind it. Nobody else does.
      ...{ backoff: "message", backoffMultiplierMs: 10 },
    }),
);
for (const consumer of consumers) consumer.run(handle);
await ended;

// Somebody looks at what was put aside. It still has its key and its headers.
for await (const message of new Consumer({ brokers: [broker], topic: "orders-failed", channel: "people", headers: true })) {
  console.log(`put aside: ${message.key} ${message.text()}, tried ${message.headers["bunsq-dead-letter-attempts"]} times`);
  message.finish();
  break;
}
for (const consumer of consumers) await consumer.close();
