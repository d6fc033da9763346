import { afterAll, expect, test } from "bun:test";
import { inMib, MIB, memoryBytes } from "../../support/process-watch.ts";
import { type Program, type Server, startServer, until } from "../../support/server.ts";
import { LeanClient } from "./lean-client.ts";
import { NumberedPublisher, numberOf } from "./numbered.ts";

// Both may be turned for a look at another broker or size; the defaults are the promise.
const PROGRAM = (process.env.BUNSQ_TEST_PROGRAM ?? "bunsq") as Program;
const MESSAGES = Number(process.env.BUNSQ_SCALE_MESSAGES ?? 5_000_000);
const RSS_LIMIT_BYTES = 250 * MIB;
const RDY = 2500;

let server: Server | undefined;
afterAll(async () => {
  await server?.stop("SIGKILL");
});

test(`a backlog of ${MESSAGES.toLocaleString("en")} messages drains through one consumer, whole and in publish order, in bounded memory`, async () => {
  // Go's nsqd keeps the order only with its memory queue off; for bunsq the flag bounds nothing here.
  server = await startServer({ program: PROGRAM, args: PROGRAM === "nsqd" ? ["--mem-queue-size=0"] : [] });
  const pid = server.process.pid;
  let highestBytes = 0;
  const watch = setInterval(() => {
    if (server?.process.exitCode === null) highestBytes = Math.max(highestBytes, memoryBytes(pid, "VmRSS"));
  }, 50);
  try {
    const publishStart = performance.now();
    const publisher = await NumberedPublisher.start(server.tcpPort, "flood", MESSAGES);
    await publisher.done(240_000);
    const publishedAfterMs = performance.now() - publishStart;
    const publishPeak = memoryBytes(pid, "VmHWM");

    const drainStart = performance.now();
    let expected = 0;
    let failure: Error | undefined;
    const consumer = await LeanClient.connect(server.tcpPort, {
      message: (buffer, start, end, attempts) => {
        try {
          const number = numberOf(buffer, start, end);
          if (number !== expected || attempts !== 1) {
            throw new Error(`expected message ${expected}, got ${number} with attempts ${attempts}`);
          }
        } catch (error) {
          failure ??= error as Error;
        }
        expected++;
        return true;
      },
      response: () => {},
    });
    consumer.write(Buffer.from(`SUB flood drain\nRDY ${RDY}\n`));
    await until(
      "the backlog drained",
      () => {
        if (failure ?? consumer.failure) throw failure ?? consumer.failure;
        return expected >= MESSAGES;
      },
      240_000,
    );
    const drainedAfterMs = performance.now() - drainStart;
    const url = "/stats?format=json&topic=flood&channel=drain";
    await until("the channel has nothing left", async () => {
      const stats = (await (await (server as Server).http("GET", url)).json()) as {
        topics: { channels: { depth: number; in_flight_count: number; requeue_count: number; timeout_count: number }[] }[];
      };
      const channel = stats.topics[0]?.channels[0];
      expect(channel?.requeue_count).toBe(0);
      expect(channel?.timeout_count).toBe(0);
      return channel?.depth === 0 && channel.in_flight_count === 0;
    });
    expect(expected).toBe(MESSAGES);
    expect(consumer.failure).toBeUndefined();
    consumer.close();

    const peak = Math.max(highestBytes, memoryBytes(pid, "VmHWM"));
    console.log(
      `published in ${(publishedAfterMs / 1000).toFixed(1)} s (peak ${inMib(publishPeak)}), ` +
        `drained in ${(drainedAfterMs / 1000).toFixed(1)} s (peak ${inMib(peak)})`,
    );
    if (PROGRAM === "bunsq") expect(peak).toBeLessThanOrEqual(RSS_LIMIT_BYTES);
  } finally {
    clearInterval(watch);
  }
  expect(await server.stop()).toBe(0);
  server = undefined;
}, 500_000);
