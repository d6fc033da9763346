import { afterAll, beforeAll, expect, test } from "bun:test";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { Producer } from "../../src/client/bun.ts";
import { cleanEnvironment, type Server, startServer, until } from "../support/server.ts";

const EXAMPLES = join(import.meta.dir, "../../examples");

let broker: Server;
beforeAll(async () => {
  broker = await startServer();
});
afterAll(() => broker.stop());

interface Running {
  readonly lines: () => string[];
  readonly end: (signal?: NodeJS.Signals) => Promise<number>;
}

/** Starts an example. */
function start(name: string): Running {
  const child = Bun.spawn([process.execPath, join(EXAMPLES, `${name}.js`), `127.0.0.1:${broker.tcpPort}`, `127.0.0.1:${broker.httpPort}`], {
    stdin: "ignore",
    stdout: "pipe",
    stderr: "inherit",
    env: cleanEnvironment(),
  });
  let output = "";
  void (async () => {
    const decoder = new TextDecoder();
    for await (const chunk of child.stdout) output += decoder.decode(chunk, { stream: true });
  })();
  return {
    lines: () => output.split("\n").slice(0, -1),
    end: async (signal) => {
      if (signal !== undefined) child.kill(signal);
      return await child.exited;
    },
  };
}

test("publish and consume", async () => {
  const publish = start("publish");
  expect(await publish.end()).toBe(0);
  expect(publish.lines()).toEqual(["3 messages are on the broker's disk"]);
  const consume = start("consume");
  await until("all messages", () => consume.lines().length === 4);
  expect(
    consume
      .lines()
      .map((line) => line.slice(25))
      .sort(),
  ).toEqual(["Hello again!", "Hello, Ada!", "Hello, Barbara!", "Hello, Grace!"]);
  expect(await consume.end("SIGINT")).toBe(0);
}, 30_000);

test("ordered by key", async () => {
  const ordered = start("ordered");
  expect(await ordered.end()).toBe(0);
  for (const customer of ["ada", "barbara", "grace", "hedy"]) {
    const own = ordered.lines().filter((line) => line.startsWith(customer));
    const steps = ["ordered", "paid", "packed", "sent"].filter((step) => customer !== "grace" || step !== "paid");
    expect(own).toEqual(steps.map((step) => `${customer}: ${step} (london)`));
  }
  expect(ordered.lines().at(-1)).toBe("put aside: grace paid, tried 3 times");
}, 30_000);

test("delayed retry with dead letters", async () => {
  const retry = start("retry");
  expect(await retry.end()).toBe(0);
  expect(retry.lines()).toEqual(["paid 10", "paid 20", "gave up no number: attempt 3: not a number", "put aside: no number"]);
}, 30_000);

test("replay", async () => {
  const replay = start("replay");
  expect(await replay.end()).toBe(0);
  const [first, second, ...messages] = replay.lines();
  expect([first, second]).toEqual(["sum: 10", "sum of the same messages: 10"]);
  expect(messages).toHaveLength(4);
}, 30_000);

test("a work queue that stops gracefully", async () => {
  const producer = new Producer({ brokers: [`127.0.0.1:${broker.tcpPort}`] });
  await Promise.all([10, 20, 30, 700].map((ms) => producer.publish("jobs", JSON.stringify({ ms }))));
  await producer.close();
  const queue = start("work-queue");
  await until("the short jobs", () => queue.lines().length === 4);
  expect(await queue.end("SIGTERM")).toBe(0);
  expect(queue.lines()).toEqual(["ready", "done after 10 ms", "done after 20 ms", "done after 30 ms", "done after 700 ms", "stopped"]);
}, 30_000);

test("each example is tested here", () => {
  expect(readdirSync(EXAMPLES).sort()).toEqual(["consume.js", "ordered.js", "publish.js", "replay.js", "retry.js", "work-queue.js"]);
});
