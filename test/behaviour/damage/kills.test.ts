import { expect, test } from "bun:test";
import { runCheck } from "../../../src/cli/check.ts";
import { removeFolder, temporaryFolder } from "../../support/in-process.ts";
import { Random, seedFromEnvironment } from "../../support/random.ts";
import { RawClient } from "../../support/raw-client.ts";
import { startServer } from "../../support/server.ts";

/** How often the broker is killed in the middle of its writes. */
const KILLS = 8;
const TOPICS = 40;

function command(line: string, body: Buffer): Buffer {
  const size = Buffer.alloc(4);
  size.writeUInt32BE(body.length);
  return Buffer.concat([Buffer.from(`${line}\n`), size, body]);
}

/** Publishes without end, single messages and deferred ones of many sizes, until the connection ends. @returns when it has ended */
async function flood(port: number, random: Random): Promise<void> {
  const client = await RawClient.connect(port);
  try {
    for (;;) {
      const commands = Array.from({ length: TOPICS }, (_, i) => {
        const body = Buffer.alloc(random.int(1, random.chance(0.1) ? 20_000 : 400), 120);
        if (random.chance(0.2)) return command(`DPUB t-${i} ${random.pick([300, 2000, 3_600_000])}`, body);
        return command(`PUB t-${i}`, body);
      });
      client.write(Buffer.concat(commands));
      for (const _ of commands) await client.next();
    }
  } catch {
    client.terminate();
  }
}

test("what a kill interrupts is never called damage, and neither is what a killed start leaves", async () => {
  const seed = seedFromEnvironment();
  console.log(`BUNSQ_SEED=${seed}`);
  const random = new Random(seed);
  const dataPath = temporaryFolder();
  try {
    for (let kill = 0; kill < KILLS; kill++) {
      const server = await startServer({ dataPath });
      const floods = [1, 2, 3].map((part) => flood(server.tcpPort, Random.forPart(seed, 10 * kill + part)));
      await Bun.sleep(random.int(50, 400));
      await server.stop("SIGKILL");
      await Promise.all(floods);
      let text = "";
      const code = await runCheck([dataPath], (part) => {
        text += part;
      });
      expect(text).not.toMatch(/ERROR/);
      expect(code).toBe(0);
    }
  } finally {
    removeFolder(dataPath);
  }
}, 120_000);
