// Tries a message again later and later, and puts it aside when it keeps failing: node retry.js [BROKER]
import { Consumer, Producer } from "bunsq/client";

const [broker = "127.0.0.1:4150"] = process.argv.slice(2);
const producer = new Producer({ brokers: [broker] });
await producer.publishBatch("payments", ["10 EUR", "no number", "20 EUR"]);
await producer.close();

const consumer = new Consumer({
  brokers: [broker],
  topic: "payments",
  channel: "bank",
  maxInFlight: 10,
  // Only the message that failed waits: 200 ms, 400 ms, 800 ms …
  backoff: "message",
  backoffMultiplierMs: 100,
  maxAttempts: 3,
  deadLetterTopic: "payments-failed",
  onGiveUp: (message, error) => console.log(`gave up ${message.text()}: ${error?.message}`),
});
consumer.run((message) => {
  const amount = Number.parseInt(message.text(), 10);
  if (Number.isNaN(amount)) throw new Error(`attempt ${message.attempts}: not a number`);
  console.log(`paid ${amount}`);
});

// Somebody looks at what was put aside.
for await (const message of new Consumer({ brokers: [broker], topic: "payments-failed", channel: "people" })) {
  console.log(`put aside: ${message.text()}`);
  message.finish();
  break;
}
await consumer.close();
