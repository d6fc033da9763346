// Consumes messages a second time, which bunsq has kept: node replay.js [BROKER] [BROKER'S HTTP ADDRESS]
import { BrokerClient, Consumer, Producer } from "bunsq/client";

const [broker = "127.0.0.1:4150", http = "127.0.0.1:4151"] = process.argv.slice(2);
const reader = new BrokerClient(http);

// Messages are kept for a day, also those that all channels have finished.
await reader.createTopic("readings");
await reader.setRetention("readings", { time: "24h" });
await reader.createChannel("readings", "sum");

const producer = new Producer({ brokers: [broker] });
for (let i = 1; i <= 4; i++) await producer.publish("readings", String(i));
await producer.close();

async function sum() {
  let total = 0;
  let count = 0;
  for await (const message of new Consumer({ brokers: [broker], topic: "readings", channel: "sum" })) {
    total += Number(message.text());
    message.finish();
    if (++count === 4) break;
  }
  return total;
}

console.log(`sum: ${await sum()}`);

// The channel goes back, to a time, a message or the beginning.
await reader.seek("readings", "sum", "beginning");
console.log(`sum of the same messages: ${await sum()}`);

// Looking at messages consumes nothing.
for await (const { sequence, body } of reader.messages("readings")) console.log(`message ${sequence}: ${body}`);
