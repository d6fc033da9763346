// Publishes a few messages: node publish.js [BROKER]
import { Producer } from "bunsq/client";

const [broker = "127.0.0.1:4150"] = process.argv.slice(2);
const producer = new Producer({ brokers: [broker] });

// Each publish is awaited, and yet all of them travel in one command.
const names = ["Ada", "Grace", "Barbara"];
await Promise.all(names.map((name) => producer.publish("greetings", `Hello, ${name}!`)));
console.log(`${names.length} messages are on the broker's disk`);

// This one is delivered in half a second.
await producer.publish("greetings", "Hello again!", { deferMs: 500 });
await producer.close();
