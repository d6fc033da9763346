// Keeps the messages of each customer in their order, over any number of brokers: node ordered.js [BROKER ...]
import { Consumer, Producer } from "bunsq/client";

const given = process.argv.slice(2);
const brokers = given.length > 0 ? given : ["127.0.0.1:4150"];

// Messages with the same key go to the same broker.
const producer = new Producer({ brokers, strategy: "key-hash" });
for (const step of ["ordered", "paid", "sent"]) {
  for (const customer of ["ada", "grace"]) await producer.publish("orders", JSON.stringify({ customer, step }), { key: customer });
}
await producer.close();

// One consumer with one message at a time from each broker sees them in that order.
const consumer = new Consumer({ brokers, topic: "orders", channel: "ledger", maxInFlight: brokers.length });
let received = 0;
for await (const message of consumer) {
  const { customer, step } = message.json();
  console.log(`${customer}: ${step}`);
  message.finish();
  if (++received === 6) break;
}
