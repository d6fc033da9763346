import { afterAll, beforeAll, expect, test } from "bun:test";
import { join } from "node:path";
import type { Job, Measurement } from "../../bench/load/job.ts";
import { untilDrained, untilPublished } from "../../bench/support/broker-stats.ts";
import { messagesFor, WORKLOADS } from "../../bench/workloads.ts";
import { testUnless } from "../support/needs.ts";
import { type Server, startServer } from "../support/server.ts";

const GENERATOR = join(import.meta.dir, "../../bench/load/generator.ts");
const PUBLISH = { command: "MPUB", connections: 2, batch: 10, bodyBytes: 20, outstanding: 1, asTrains: false } as const;

type JobBeforeTarget<Kind extends Job["kind"]> = Omit<Extract<Job, { kind: Kind }>, "tcpPort" | "httpPort" | "serverPid">;

let server: Server;
beforeAll(async () => {
  server = await startServer();
});
afterAll(async () => {
  await server.stop();
});

async function generate<Kind extends Job["kind"]>(job: JobBeforeTarget<Kind>, on = server): Promise<Measurement> {
  const target = { tcpPort: on.tcpPort, httpPort: on.httpPort, serverPid: on.process.pid };
  const child = Bun.spawn([process.execPath, GENERATOR, JSON.stringify({ ...job, ...target })], { stdout: "pipe", stderr: "pipe" });
  const [output, complaint, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  if (code !== 0) throw new Error(complaint);
  return JSON.parse(output);
}

test("workloads have unique names, and nsqd-0 has nsqd's number of messages", () => {
  expect(new Set(WORKLOADS.map(({ name }) => name)).size).toBe(WORKLOADS.length);
  for (const workload of WORKLOADS) expect(messagesFor(workload, "nsqd-0")).toBe(workload.messages.nsqd as number);
});

testUnless(process.platform === "linux" ? undefined : "not Linux")(
  "each message counts once per channel, and all channels end empty",
  async () => {
    const drain = { consumers: 3, rdy: 100, channels: 3 };
    const { messages } = await generate<"publish-and-drain">({
      kind: "publish-and-drain",
      publish: PUBLISH,
      drain,
      messages: 1000,
      warmUp: 0,
    });
    expect(messages).toBeGreaterThan(2000);
    expect(messages).toBeLessThanOrEqual(3000);
    await untilDrained(server.httpPort);
  },
);

testUnless(process.platform === "linux" ? undefined : "not Linux")(
  "a flood, a probe beside it and idle consumers tell what they were asked for",
  async () => {
    const fresh = await startServer();
    try {
      const [flood, probe] = await Promise.all([
        generate<"flood">({ kind: "flood", publish: { ...PUBLISH, topics: 3 }, seconds: 0.3 }, fresh),
        generate<"probe">({ kind: "probe", intervalMs: 10, bodyBytes: 20, seconds: 0.3 }, fresh),
      ]);
      await untilPublished(fresh.httpPort, flood.messages + probe.messages);
      expect(flood.messages).toBeGreaterThan(0);
      expect(probe.latencyMs?.p50).toBeGreaterThan(0);
      const { idle } = await generate<"idle">({ kind: "idle", consumers: 20, heartbeatMs: 1000, seconds: 0.1 }, fresh);
      expect(idle?.connections).toBe(20);
      expect(idle?.rssWith).toBeGreaterThan(0);
    } finally {
      await fresh.stop();
    }
  },
);

testUnless(process.platform === "linux" ? undefined : "not Linux")("waves are drained one by one, the warm-up not counted", async () => {
  const fresh = await startServer();
  try {
    const job = { kind: "waves", publish: PUBLISH, drain: { consumers: 2, rdy: 100 }, messages: 1000, waveMessages: 100 } as const;
    // The consumers create the channel before the first wave.
    const { messages, redelivered } = await generate<"waves">(job, fresh);
    expect(messages).toBe(900);
    expect(redelivered).toBe(0);
    await untilDrained(fresh.httpPort);
  } finally {
    await fresh.stop();
  }
});
