import { afterAll, beforeAll, expect, test } from "bun:test";
import { copyFileSync, existsSync, mkdtempSync, readdirSync, rmSync, statSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { cpuSeconds } from "../../../bench/support/process-usage.ts";
import { BINARY_PATH } from "../../../scripts/build.ts";
import { describeUnless, findProgram, missing, testUnless } from "../../support/needs.ts";
import { RawClient } from "../../support/raw-client.ts";
import { type Server, startProcess, startServer, until } from "../../support/server.ts";
import { commandLines, endingOf, makeFiles } from "../../support/stand-in.ts";

/** The CPU time of a start, by that of the runtime's own. It is 40 ms and 23 ms. */
const CPU_OF_START = 5;
const ROOT = join(import.meta.dir, "../../..");

/** Why the binary cannot be tested, if so: `npm run build` has to make it anew. */
function unfit(): string | undefined {
  if (!existsSync(BINARY_PATH)) return "dist/bunsq is not built";
  const builtMs = statSync(BINARY_PATH).mtimeMs;
  for (const file of new Bun.Glob("{src/**/*.ts,package.json,scripts/build.ts}").scanSync(ROOT)) {
    if (statSync(join(ROOT, file)).mtimeMs > builtMs) return `dist/bunsq is older than ${file}`;
  }
  return undefined;
}

const reason = unfit();

// Set BUNSQ_SMOKE=1, as CI does, to have an unfit binary fail.
describeUnless(process.env.BUNSQ_SMOKE ? undefined : reason)("dist/bunsq alone in an empty folder", () => {
  let folder: string;
  let dataPath: string;

  beforeAll(() => {
    if (reason !== undefined) throw new Error(reason);
    folder = mkdtempSync(join(tmpdir(), "bunsq-smoke-"));
    dataPath = mkdtempSync(join(tmpdir(), "bunsq-smoke-data-"));
    copyFileSync(BINARY_PATH, join(folder, "bunsq"));
  });

  afterAll(() => {
    for (const path of [folder, dataPath]) if (path !== undefined) rmSync(path, { recursive: true, force: true });
  });

  /** Starts ./bunsq in its folder, with nothing of the source tree in reach of a relative path. */
  const start = (): Promise<Server> => {
    const command = ["/bin/sh", "-c", 'cd "$0" && exec "$@"', folder, "./bunsq", "--mode=broker"];
    return startServer({ command, dataPath });
  };

  test("prints its version and the commit it was built from", () => {
    const { stdout } = Bun.spawnSync(["./bunsq", "-version"], { cwd: folder });
    expect(stdout.toString()).toMatch(/^bunsq v\d+\.\d+\.\d+ \(built w\/bun\d+\.\d+\.\d+\)(, commit [0-9a-f]{7,}(-dirty)?)?\n$/);
  });

  test("brings the native parts of snappy along", async () => {
    await using server = await start();
    const client = await RawClient.connect(server.tcpPort);
    expect((await client.negotiate({ snappy: true })).snappy).toBeTrue();
    expect(await client.call("PUB packed", "x".repeat(10_000))).toBe("OK");
    client.close();
  });

  test("passes for nsqd through a link of that name", () => {
    const link = join(folder, "nsqd");
    symlinkSync("bunsq", link);
    const { exitCode, stdout } = Bun.spawnSync([link, "-version"], { cwd: tmpdir() });
    rmSync(link);
    expect(exitCode).toBe(0);
    expect(stdout.toString()).toMatch(/^nsqd v1\.3\.0 \(built w\/bun\d+\.\d+\.\d+\), bunsq \d/);
  });

  for (const program of ["nsqd", "nsqlookupd"] as const) {
    testUnless(missing(program))(
      `ends as Go's ${program} does through a link of that name`,
      () => {
        const place = mkdtempSync(join(tmpdir(), "bunsq-smoke-link-"));
        try {
          makeFiles(place);
          const link = join(place, program);
          symlinkSync(join(folder, "bunsq"), link);
          for (const args of commandLines(program)) {
            const { firstError: _, ...ending } = endingOf([link, ...args], place);
            const { firstError: __, ...expected } = endingOf([findProgram(program) ?? "", ...args], place);
            expect([args, ending]).toEqual([args, expected]);
          }
        } finally {
          rmSync(place, { recursive: true, force: true });
        }
      },
      120_000,
    );
  }

  // How long it takes is measured by bench/start.ts.
  test("is up as broker and lookup for little more CPU time than it takes to print its version", async () => {
    const addresses = ["tcp-address", "http-address", "lookup-tcp-address", "lookup-http-address", "admin-http-address"].map(
      (flag) => `--${flag}=127.0.0.1:0`,
    );
    const versionsMs: number[] = [];
    const startsMs: number[] = [];
    const ratio = () => Math.min(...startsMs) / Math.min(...versionsMs);
    // The best of a few: other work on the machine shares its caches.
    for (let i = 0; i < 5 && !(ratio() < CPU_OF_START); i++) {
      versionsMs.push(Number(Bun.spawnSync(["./bunsq", "-version"], { cwd: folder }).resourceUsage.cpuTime.total) / 1000);
      const path = mkdtempSync(join(dataPath, "all-"));
      const both = await startProcess("bunsq", [
        join(folder, "bunsq"),
        `--data-path=${path}`,
        "--broadcast-address=127.0.0.1",
        ...addresses,
      ]);
      await until("both say where they are", () => both.log().includes("broker up: ") && both.log().includes("lookup up: "));
      startsMs.push(cpuSeconds(both.process.pid) * 1000);
      expect(await both.stop("SIGINT")).toBe(0);
    }
    expect(ratio()).toBeLessThan(CPU_OF_START);
  }, 60_000);

  test("keeps percentiles of latencies, and tells where its time and memory go", async () => {
    const command = ["/bin/sh", "-c", 'cd "$0" && exec "$@"', folder, "./bunsq", "--mode=broker"];
    const server = await startServer({ command, args: ["--e2e-processing-latency-percentile=0.9"] });
    const client = await RawClient.connect(server.tcpPort);
    expect(await client.call("SUB measured channel")).toBe("OK");
    expect(await client.call("PUB measured", "m")).toBe("OK");
    client.command("RDY 1");
    client.command(`FIN ${(await client.message()).id}`);
    await until("its latency is told", async () => /e2e%: \d+\.\d\w?s$/m.test(await (await server.http("GET", "/stats")).text()));
    const words = (await (await server.http("GET", "/debug/pprof/cmdline")).text()).split("\0");
    expect(words.slice(0, 2)).toEqual(["./bunsq", "--mode=broker"]);
    const profile = (await (await server.http("GET", "/debug/pprof/profile?seconds=1")).json()) as { nodes: unknown[] };
    expect(profile.nodes.length).toBeGreaterThan(0);
    const heap = (await (await server.http("GET", "/debug/pprof/heap")).json()) as { nodes: number[] };
    expect(heap.nodes.length).toBeGreaterThan(1000);
    expect(await server.stop()).toBe(0);
  }, 60_000);

  test("serves TCP and HTTP, ends cleanly on SIGTERM, and keeps what is unfinished over a restart", async () => {
    const first = await start();
    const client = await RawClient.connect(first.tcpPort);
    expect(await client.call("PUB smoke", "over tcp")).toBe("OK");
    expect(await (await first.http("GET", "/ping")).text()).toBe("OK");
    expect(await (await first.http("POST", "/pub?topic=smoke", "over http")).text()).toBe("OK");
    expect(await client.call("SUB smoke channel")).toBe("OK");
    client.command("RDY 1");
    const message = await client.message();
    expect(message.text).toBe("over tcp");
    client.command("RDY 0");
    client.command(`FIN ${message.id}`);
    await until("the channel holds the other message alone", async () => {
      const stats = (await (await first.http("GET", "/stats?format=json&topic=smoke")).json()) as {
        topics: { channels: { depth: number; in_flight_count: number; message_count: number }[] }[];
      };
      const channel = stats.topics[0]?.channels[0];
      return channel?.depth === 1 && channel.in_flight_count === 0 && channel.message_count === 2;
    });
    expect(await first.stop()).toBe(0);

    const second = await start();
    const consumer = await RawClient.connect(second.tcpPort);
    expect(await consumer.call("SUB smoke channel")).toBe("OK");
    consumer.command("RDY 2");
    const kept = await consumer.message();
    expect(kept.text).toBe("over http");
    consumer.command(`FIN ${kept.id}`);
    expect(await second.stop("SIGINT")).toBe(0);
    expect(readdirSync(folder)).toEqual(["bunsq"]);
  }, 60_000);
});
