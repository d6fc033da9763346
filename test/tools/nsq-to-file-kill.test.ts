import { afterAll, beforeAll, expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { removeFolder, temporaryFolder } from "../support/in-process.ts";
import { Random, seedFromEnvironment } from "../support/random.ts";
import { type Server, startServer, until } from "../support/server.ts";
import { type RunningTool, startTool } from "./support/tool.ts";

/** nsq_to_file, or its broker, is killed again and again, and every message that was published is in a file at the end. */

const ROUNDS = Number(process.env.BUNSQ_TOOL_KILLS ?? 6);
const seed = seedFromEnvironment();

let folder: string;

beforeAll(() => {
  folder = temporaryFolder();
  console.log(`kills: seed ${seed}, ${ROUNDS} rounds`);
});

afterAll(() => removeFolder(folder));

/** Publishes numbers, one after the other, while the broker comes and goes. */
class Publisher {
  readonly acknowledged: number[] = [];
  private next = 0;
  private isStopped = false;
  private readonly running: Promise<void>;

  constructor(private readonly url: () => string) {
    this.running = this.run();
  }

  async stop(): Promise<void> {
    this.isStopped = true;
    await this.running;
  }

  private async run(): Promise<void> {
    while (!this.isStopped) {
      const numbers = Array.from({ length: 20 }, () => this.next++);
      try {
        const answer = await fetch(`${this.url()}/mpub?topic=t`, { method: "POST", body: numbers.map(lineOf).join("\n") });
        if (answer.ok) this.acknowledged.push(...numbers);
      } catch {
        await Bun.sleep(5);
      }
      await Bun.sleep(1);
    }
  }
}

/** A line that tells whether it is whole. */
function lineOf(number: number): string {
  return `<${number}:${"x".repeat(number % 97)}>`;
}

/** The numbers of all whole lines in a folder's files. A compressed file may end in the middle of a member. */
function numbersIn(path: string): Set<number> {
  const found = new Set<number>();
  const files = readdirSync(path, { recursive: true, withFileTypes: true }).filter((file) => file.isFile());
  for (const { parentPath, name } of files) {
    const bytes = readFileSync(join(parentPath, name));
    const text = name.endsWith(".gz") ? wholeMembers(bytes) : bytes.toString();
    for (const line of text.split("\n")) {
      const number = Number(/^<(\d+):x*>$/.exec(line)?.[1] ?? -1);
      if (number >= 0 && line === lineOf(number)) found.add(number);
    }
  }
  return found;
}

const MEMBER_START = Buffer.from([0x1f, 0x8b, 0x08]);

function wholeMembers(bytes: Buffer): string {
  try {
    return gunzipSync(bytes).toString();
  } catch {
    // Its last member is torn, or nothing was written yet.
    const whole = bytes.subarray(0, Math.max(0, bytes.lastIndexOf(MEMBER_START)));
    return whole.length === 0 ? "" : gunzipSync(whole).toString();
  }
}

const KINDS: Record<string, (output: string) => string[]> = {
  "one file that is appended to": (output) => [`-output-dir=${output}`, "-filename-format=log"],
  "files that are rotated": (output) => [`-output-dir=${output}`, "-filename-format=log<REV>", "-rotate-size=20000"],
  "compressed files with a work folder": (output) => [
    ...[`-output-dir=${output}/done`, `-work-dir=${output}/work`],
    ...["-filename-format=log<REV>", "-rotate-size=200000", "-gzip"],
    // Messages wait for the next sync in memory for most of the time.
    ...["-sync-interval=100ms", "-max-in-flight=2000"],
  ],
};

for (const [at, [kind, flagsFor]] of Object.entries(KINDS).entries()) {
  test(`loses nothing when it or its broker is killed: ${kind}`, async () => {
    const random = Random.forPart(seed, at);
    const output = join(folder, String(at), "out");
    let broker: Server | undefined;
    let ports = ["--tcp-address=127.0.0.1:0", "--http-address=127.0.0.1:0"];
    const startBroker = async (): Promise<Server> => {
      const started = await startServer({ dataPath: broker?.dataPath ?? temporaryFolder(), args: ports });
      ports = [`--tcp-address=127.0.0.1:${started.tcpPort}`, `--http-address=127.0.0.1:${started.httpPort}`];
      return started;
    };
    broker = await startBroker();
    await broker.http("POST", "/topic/create?topic=t");
    await broker.http("POST", "/channel/create?topic=t&channel=c");
    const publisher = new Publisher(() => `http://127.0.0.1:${broker?.httpPort}`);
    const startWriter = (): RunningTool => {
      const source = [`-nsqd-tcp-address=127.0.0.1:${broker?.tcpPort}`, "-consumer-opt=default_requeue_delay,0s"];
      const flags = ["-topic=t", "-channel=c", "-sync-interval=15ms", "-max-in-flight=50"];
      return startTool("bunsq", "nsq_to_file", [...flags, ...source, ...flagsFor(output)], "");
    };
    let writer = startWriter();
    for (let round = 0; round < ROUNDS; round++) {
      await until("the writer syncs", () => writer.stderr().includes("syncing"), 20_000);
      // When it is killed is what the test is about.
      await Bun.sleep(random.int(0, 150));
      if (random.chance(0.7)) {
        writer.process.kill("SIGKILL");
        await writer.ended;
        writer = startWriter();
      } else {
        broker.process.kill("SIGKILL");
        await broker.process.exited;
        broker = await startBroker();
      }
    }
    await publisher.stop();
    const { http } = broker;
    await until(
      "all is finished",
      async () => {
        const answer = (await (await http("GET", "/stats?format=json&topic=t&channel=c")).json()) as Stats;
        const channel = answer.topics[0]?.channels[0];
        return channel?.depth === 0 && channel.in_flight_count === 0 && channel.deferred_count === 0;
      },
      30_000,
    );
    writer.process.kill("SIGTERM");
    expect(await writer.ended).toMatchObject({ code: 0 });
    await broker.stop();
    const written = numbersIn(output);
    expect(publisher.acknowledged.filter((number) => !written.has(number))).toEqual([]);
    expect(publisher.acknowledged.length).toBeGreaterThan(100);
    removeFolder(broker.dataPath);
  }, 180_000);
}

interface Stats {
  topics: { channels: { depth: number; in_flight_count: number; deferred_count: number }[] }[];
}
