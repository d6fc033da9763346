import { afterEach, expect } from "bun:test";
import { testUnless } from "../../support/needs.ts";
import { inMib, MIB, memoryBytes } from "../../support/process-watch.ts";
import { seedFromEnvironment } from "../../support/random.ts";
import { type Program, type Server, startServer } from "../../support/server.ts";
import { FuzzRun, findCulprit, holdings, type Part, playAlone, streamOf, untilHoldingsReturn } from "./fuzz-run.ts";
import { Janitor } from "./janitor.ts";
import { Neighbour } from "./neighbour.ts";

// BUNSQ_SEED=… replays a run; with BUNSQ_FUZZ_ONLY=tcp:17 (or http:4,tcp:17) only these streams of it, one by one and shown.
const PROGRAM = (process.env.BUNSQ_TEST_PROGRAM ?? "bunsq") as Program;
const TCP_STREAMS = Number(process.env.BUNSQ_FUZZ_TCP ?? 150_000);
const HTTP_STREAMS = Number(process.env.BUNSQ_FUZZ_HTTP ?? 50_000);
const ONLY = process.env.BUNSQ_FUZZ_ONLY;
const TCP_LANES = 96;
const HTTP_LANES = 32;
/**
 * Whatever is thrown at it: idle it has 40 MiB, up to a hundred bodies of over a MiB may be on their way at once, and topics of up to four
 * partitions, some with an order, live until the janitor comes round. 600,000 streams stay between 235 and 325 MiB from the first 20,000 on.
 */
const RSS_LIMIT_BYTES = 400 * MIB;
/**
 * How much more it may have in the last two fifths of the run than in the two before, at the median. These are 80,000 streams apart, so that
 * 1,300 bytes left behind by each would be noticed.
 */
const RSS_GROWTH_LIMIT_BYTES = 100 * MIB;

let server: Server | undefined;
afterEach(async () => {
  await server?.stop("SIGKILL");
  server = undefined;
});

function parts(text: string): Part[] {
  return text.split(",").map((name) => {
    const [, kind, index] = /^(tcp|http):(\d+)$/.exec(name) ?? [];
    if (kind === undefined) throw new Error(`BUNSQ_FUZZ_ONLY takes names as tcp:17, not ${name}`);
    return { kind: kind as Part["kind"], index: Number(index) };
  });
}

/** The middle one of some numbers; 0: there are none, as the run was short. */
function middle(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1] ?? 0;
}

async function start(): Promise<Server> {
  server = await startServer({ program: PROGRAM });
  // Hundreds of thousands of lines about fatal errors are of no use here.
  expect((await server.http("PUT", "/config/log_level", "fatal")).status).toBe(200);
  return server;
}

testUnless(ONLY === undefined ? undefined : "BUNSQ_FUZZ_ONLY is set")(
  `${TCP_STREAMS + HTTP_STREAMS} broken streams neither kill, hang, leak nor bloat the broker, and a client beside them notices nothing`,
  async () => {
    const seed = seedFromEnvironment();
    console.log(`BUNSQ_SEED=${seed}`);
    const broker = await start();
    const run = new FuzzRun(broker, seed);
    const neighbour = await Neighbour.start(broker, () => run.played);
    const before = await holdings(broker);
    const janitor = new Janitor(broker);
    let highestBytes = 0;
    const halves: [number[], number[]] = [[], []];
    const watch = setInterval(() => {
      if (broker.process.exitCode !== null || broker.process.signalCode !== null) run.fail("the broker died");
      else {
        const bytes = memoryBytes(broker.process.pid, "VmRSS");
        highestBytes = Math.max(highestBytes, bytes);
        const doneShare = run.played / (TCP_STREAMS + HTTP_STREAMS);
        // Until a fifth is done, it grows to what it needs.
        if (doneShare > 0.2) halves[doneShare < 0.6 ? 0 : 1].push(bytes);
      }
      const noticed = neighbour.failure ?? janitor.failure;
      if (noticed) run.fail(noticed.message);
    }, 100);
    const startMs = performance.now();
    try {
      await Promise.all([run.play("tcp", 0, TCP_STREAMS, TCP_LANES), run.play("http", 0, HTTP_STREAMS, HTTP_LANES)]);
      const tookMs = performance.now() - startMs;
      if (run.failure === undefined) {
        await janitor.stop();
        await janitor.sweep();
        await untilHoldingsReturn(broker, before).catch((error: Error) => run.fail(error.message));
      }
      await neighbour.stop();
      console.log(
        `RSS at the median of the second and third fifth, and of the last two: ${halves.map(middle).map(inMib).join(", ")}\n` +
          `${run.played} streams in ${(tookMs / 1000).toFixed(1)} s, ${janitor.deleted} topics deleted, ` +
          `RSS at most ${inMib(highestBytes)}; ${neighbour.summary()}`,
      );
      if (run.failure === undefined) neighbour.check();
    } catch (error) {
      run.fail((error as Error).message);
    } finally {
      clearInterval(watch);
    }
    if (run.failure) {
      const culprit = await findCulprit(broker, seed, run.suspects());
      const hint = culprit
        ? `stream ${culprit.kind}:${culprit.index} does it alone: BUNSQ_SEED=${seed} BUNSQ_FUZZ_ONLY=${culprit.kind}:${culprit.index}`
        : `no single one of the last ${run.suspects().length} streams does it alone`;
      throw new Error(`BUNSQ_SEED=${seed}, after ${run.played} streams: ${run.failure.message}\n${hint}\n${broker.log().slice(-4_000)}`);
    }
    expect(run.played).toBe(TCP_STREAMS + HTTP_STREAMS);
    expect(highestBytes).toBeGreaterThan(0);
    expect(highestBytes).toBeLessThanOrEqual(RSS_LIMIT_BYTES);
    const [first, second] = halves.map(middle);
    if (first > 0) expect(second).toBeLessThanOrEqual(first + RSS_GROWTH_LIMIT_BYTES);
    expect(await broker.stop()).toBe(0);
  },
  400_000,
);

testUnless(ONLY === undefined ? "BUNSQ_FUZZ_ONLY is not set" : undefined)(
  `the streams named in BUNSQ_FUZZ_ONLY (${ONLY ?? "none"}) do the broker no harm`,
  async () => {
    const seed = seedFromEnvironment();
    const broker = await start();
    await broker.http("PUT", "/config/log_level", "debug");
    for (const part of parts(ONLY ?? "")) {
      const stream = streamOf(part.kind, seed, part.index);
      console.log(`${part.kind}:${part.index} (${stream.ending})`);
      for (const chunk of stream.chunks) console.log(`  ${JSON.stringify(chunk.toString("latin1")).slice(0, 2_000)}`);
      expect(await playAlone(broker, seed, part)).toBeUndefined();
      expect((await broker.http("GET", "/ping")).status).toBe(200);
    }
    console.log(broker.log().slice(-4_000));
  },
  60_000,
);
