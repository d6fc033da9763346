/**
 * Measures scrapes of /metrics: `bun bench/metrics.ts`.
 *
 *     --topics=N         topics (default 2,000)
 *     --channels=N       channels of each topic (default 3)
 *     --rounds=N         scrapes of each kind (default 9)
 *
 * Runs a broker in this process, and asks for its metrics as its HTTP server does. A second loop, which has its turn whenever the
 * event loop gets to it, sees for how long a slice holds everybody else. Other processes add to that, so the least disturbed
 * round is told beside the median.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { openBroker } from "../src/broker/broker.ts";
import { expose } from "../src/broker/metrics/exposition/exposition.ts";
import type { Scope } from "../src/broker/metrics/exposition/groups.ts";
import { defaultOptions, MemoryLogger } from "../test/support/in-process.ts";
import { median } from "./support/statistics.ts";

const { values: flags } = parseArgs({
  options: {
    topics: { type: "string", default: "2000" },
    channels: { type: "string", default: "3" },
    rounds: { type: "string", default: "9" },
  },
});
const [topics, channels, rounds] = [Number(flags.topics), Number(flags.channels), Number(flags.rounds)];

const KINDS: [what: string, scope: Scope, names: string[]][] = [
  ["aggregated", { detail: "none", topic: undefined, channel: undefined }, []],
  ["detail=topic", { detail: "topic", topic: undefined, channel: undefined }, []],
  ["detail=channel", { detail: "channel", topic: undefined, channel: undefined }, []],
  ["aggregated, mixin's names", { detail: "none", topic: undefined, channel: undefined }, ["mixin"]],
  ["aggregated, lovoo's names", { detail: "none", topic: undefined, channel: undefined }, ["lovoo"]],
];

/** Sees how long the event loop is held by others. */
class HoldWatch {
  /** The time between two turns, ms. */
  readonly holdsMs: number[] = [];
  private isStopped = false;

  constructor() {
    let lastMs = performance.now();
    const turn = (): void => {
      const nowMs = performance.now();
      this.holdsMs.push(nowMs - lastMs);
      lastMs = nowMs;
      if (!this.isStopped) setImmediate(turn);
    };
    setImmediate(turn);
  }

  stop(): void {
    this.isStopped = true;
  }
}

const dataPath = mkdtempSync(join(tmpdir(), "bunsq-bench-"));
const broker = openBroker(defaultOptions({ dataPath }), new MemoryLogger());
try {
  for (let t = 0; t < topics; t++) {
    const topic = broker.registry.topic(`topic-of-a-usual-length-${t}`);
    for (let c = 0; c < channels; c++) topic.channel(`channel-${c}`);
    await broker.publishing.publish(topic, "", Buffer.from("message"), 0);
  }
  console.log(`${topics} topics × ${channels} channels, medians of ${rounds} scrapes\n`);
  console.log(
    "| scrape | lines | MB | ms | least ms | longest hold ms | least longest hold ms |\n| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
  );
  for (const [what, scope, names] of KINDS) {
    const tookMs: number[] = [];
    const longestMs: number[] = [];
    let body = "";
    for (let round = 0; round < rounds; round++) {
      const watch = new HoldWatch();
      await new Promise(setImmediate);
      const startMs = performance.now();
      body = "";
      const answer = broker.scrapes.answer(new Request("http://localhost/metrics"), (text) => expose(broker, scope, names, text));
      const reader = (answer.body as ReadableStream<Uint8Array>).getReader();
      const chunks: Uint8Array[] = [];
      for (let read = await reader.read(); !read.done; read = await reader.read()) chunks.push(read.value);
      tookMs.push(performance.now() - startMs);
      watch.stop();
      longestMs.push(Math.max(...watch.holdsMs));
      body = Buffer.concat(chunks).toString();
    }
    const lines = body.split("\n").length - 1;
    const times = [median(tookMs), Math.min(...tookMs), median(longestMs), Math.min(...longestMs)].map((ms) => ms.toFixed(1));
    console.log(`| ${what} | ${lines.toLocaleString("en")} | ${(body.length / 1e6).toFixed(2)} | ${times.join(" | ")} |`);
  }
} finally {
  await broker.close();
  rmSync(dataPath, { recursive: true, force: true });
}
