import { afterEach, expect } from "bun:test";
import { testUnless } from "../../support/needs.ts";
import { type Server, startServer, until } from "../../support/server.ts";
import { SmallDisk, whyNoSmallDisk } from "./small-disk.ts";
import { CHANNEL, Drain, KINDS, NOTED_MS, Traffic, untilAccepted } from "./traffic.ts";

const MIB = 1024 * 1024;
const DISK_BYTES = 24 * MIB;
/** What the broker may fill. */
const ROOM_BYTES = 4 * MIB;
/** More rounds of publishes than these are not needed to fill that. */
const MOST_ROUNDS = 500;

const reason = whyNoSmallDisk();

let server: Server | undefined;
let disk: SmallDisk | undefined;

afterEach(async () => {
  await server?.stop("SIGKILL");
  disk?.[Symbol.dispose]();
  server = undefined;
  disk = undefined;
});

async function start(args: string[]): Promise<Server> {
  server = await startServer({ dataPath: (disk as SmallDisk).path, args: ["--max-bytes-per-file=262144", ...args] });
  return server;
}

async function ping(broker: Server): Promise<string> {
  const response = await broker.http("GET", "/ping");
  return `${response.status} ${await response.text()}`;
}

/** Publishes until every kind is refused at once: where a large one does not fit any more, a small one may, and the broker is well again. */
async function fillUp(broker: Server, traffic: Traffic): Promise<Map<string, string>> {
  for (let round = 0; ; round++) {
    const refusals = await traffic.publishAll(broker);
    if (refusals.size === KINDS.length) return refusals;
    if (round === MOST_ROUNDS) throw new Error(`only ${[...refusals.keys()]} were refused`);
  }
}

const SETTINGS = [
  {
    name: "by its own messages, with nothing reserved",
    args: ["--min-free-bytes=0"],
    brimful: false,
    ends: ["no restart", "kill -9", "a clean stop"],
  },
  { name: "up to the reserve", args: ["--min-free-bytes=1048576"], brimful: false, ends: ["no restart", "kill -9"] },
  {
    name: "to the last byte by somebody else",
    args: ["--min-free-bytes=0"],
    brimful: true,
    ends: ["no restart", "kill -9", "a clean stop"],
  },
  {
    name: "to the last byte by somebody else, with fsync",
    args: ["--min-free-bytes=1048576", "--durability=fsync"],
    brimful: true,
    ends: ["kill -9"],
  },
];

for (const { name, args, brimful, ends } of SETTINGS) {
  for (const end of ends) {
    testUnless(reason)(
      `a disk filled ${name}, then ${end}: nothing acknowledged is lost, nothing refused comes, and there is no need to restart`,
      async () => {
        const mounted = SmallDisk.mount(DISK_BYTES);
        if (typeof mounted === "string") throw new Error(mounted);
        disk = mounted;
        let broker = await start(args);
        const traffic = new Traffic();
        // A few are in flight when the disk fills up.
        const holder = await Drain.start(broker, traffic, CHANNEL, 6, true);
        for (let i = 0; i < 6; i++) await traffic.publish(broker, "PUB");
        await until("six are in flight", () => holder.held.length === 6);
        holder.pause();

        disk.fill(ROOM_BYTES);
        const refusals = await fillUp(broker, traffic);
        for (const [kind, refusal] of refusals) expect(refusal, kind).toMatch(/PUB_FAILED/);
        if (brimful) {
          disk.fill(0);
          await traffic.publishAll(broker);
        }
        expect(await ping(broker)).toStartWith("500 NOK - ");

        // Consumers come, finish and requeue as ever.
        const [requeued, ...others] = holder.held.splice(0);
        holder.requeue(requeued, 1500);
        for (const frame of others) holder.finish(frame);
        await Drain.start(broker, traffic, "late", 0, true);
        const noted = performance.now() + NOTED_MS;
        await until("what was finished is noted", () => performance.now() > noted);

        if (end !== "no restart") {
          holder.close();
          await broker.stop(end === "kill -9" ? "SIGKILL" : "SIGTERM");
          broker = await start(args);
        }
        const drain = await Drain.start(broker, traffic, CHANNEL, 50, false);
        await until("a part of it is drained", () => drain.drained >= 200);
        drain.pause();

        disk.free();
        await untilAccepted(broker, traffic);
        await until("it is healthy", async () => (await ping(broker)) === "200 OK");
        const rest = await Drain.start(broker, traffic, CHANNEL, 500, false);
        await until("everything acknowledged has come", () => traffic.missing.length === 0, 15_000).catch((error: Error) => {
          throw new Error(`${error.message}; missing: ${traffic.missing.slice(0, 20)}`);
        });
        await until("the requeued one has come again", () => traffic.finished.has(Number.parseInt(requeued.text, 10)));
        rest.close();
        expect(traffic.violations).toEqual([]);
        expect(traffic.resurrected).toEqual([]);
        expect(traffic.refused.size).toBeGreaterThan(0);
        expect(await broker.stop()).toBe(0);
        server = undefined;
      },
      40_000,
    );
  }
}
