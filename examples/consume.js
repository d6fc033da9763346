// Prints messages until it is stopped by ctrl-C: node consume.js [BROKER]
import { Consumer } from "bunsq/client";

const [broker = "127.0.0.1:4150"] = process.argv.slice(2);
const consumer = new Consumer({ brokers: [broker], topic: "greetings", channel: "print", maxInFlight: 10 });
process.once("SIGINT", () => consumer.close());

for await (const message of consumer) {
  console.log(message.publishedAt.toISOString(), message.text());
  message.finish();
}
