import { expect, test } from "bun:test";
import { closeSync, openSync, readdirSync, readFileSync, unlinkSync, writeSync } from "node:fs";
import { join } from "node:path";
import { startLookupServer } from "../../support/lookup.ts";
import { describeUnless, missing } from "../../support/needs.ts";
import { Random, seedFromEnvironment } from "../../support/random.ts";
import { RawClient } from "../../support/raw-client.ts";
import { until } from "../../support/server.ts";
import { ThreeBrokers, TOPIC } from "./support/three-brokers.ts";

const LIMIT_MS = 120_000;
/** A data path that is gone is replaced after half a minute. */
const REPLACED_MS = 75_000;
const MESSAGES = 3_000;
const BATCH = 100;
const KILLS = 4;
/** Some segments of this size, and none of them in memory after a restart. */
const FLAGS = ["--max-bytes-per-file=65536", "--cluster-scrub=1s"];

function bodyOf(number: number): string {
  return `${number} ${"x".repeat(150)}`;
}

/** A topic with the channel `c` and another one, which have got nothing, and whose messages all three brokers have. @returns the leader */
async function filled(cluster: ThreeBrokers): Promise<number> {
  const leader = await cluster.makeTopic();
  for (const channel of ["c", "keeping"])
    expect((await cluster.broker(leader).http("POST", `/channel/create?topic=${TOPIC}&channel=${channel}`)).status).toBe(200);
  for (let at = 0; at < MESSAGES; at += BATCH) {
    const lines = Array.from({ length: BATCH }, (_, i) => bodyOf(at + i)).join("\n");
    expect((await cluster.broker(leader).http("POST", `/mpub?topic=${TOPIC}`, lines)).status).toBe(200);
  }
  await untilEqual(cluster, [0, 1, 2]);
  return leader;
}

async function untilEqual(cluster: ThreeBrokers, indexes: readonly number[]): Promise<void> {
  await until("all have the same records", () => isEqual(cluster, indexes));
}

function isEqual(cluster: ThreeBrokers, indexes: readonly number[]): boolean {
  const [first, ...others] = indexes.map((index) => Buffer.concat(cluster.segments(index)));
  return first !== undefined && first.length > MESSAGES * 150 && others.every((other) => other.equals(first));
}

async function consumeAll(port: number): Promise<string[]> {
  const client = await subscribed(port);
  client.command("RDY 200");
  const got = new Set<string>();
  while (got.size < MESSAGES) {
    const { id, data } = await client.message();
    got.add(data.toString());
    client.command(`FIN ${id}`);
  }
  client.close();
  return [...got];
}

/** A broker that has begun to lead may not serve yet: where a channel goes on, something may be damaged. */
async function subscribed(port: number): Promise<RawClient> {
  let found: RawClient | undefined;
  await until("it serves", async () => {
    const client = await RawClient.connect(port);
    try {
      await client.call(`SUB ${TOPIC} c`);
      found = client;
    } catch {
      client.terminate();
    }
    return found !== undefined;
  });
  return found as RawClient;
}

function files(cluster: ThreeBrokers, index: number, ending: string): string[] {
  const folder = cluster.folder(index);
  return readdirSync(folder)
    .filter((name) => name.endsWith(ending))
    .sort()
    .map((name) => join(folder, name));
}

function flip(path: string | undefined, at: number): void {
  if (readFileSync(path as string).length <= at) return;
  const fd = openSync(path as string, "r+");
  writeSync(fd, Buffer.from([(readFileSync(path as string)[at] as number) ^ 4]), 0, 1, at);
  closeSync(fd);
}

async function repaired(cluster: ThreeBrokers, index: number): Promise<{ done: number; failed: number }> {
  const text = await (await cluster.broker(index).http("GET", "/metrics")).text();
  const value = (outcome: string) =>
    Number(new RegExp(`nsq_cluster_repaired_regions_total\\{outcome="${outcome}"\\} (\\d+)`).exec(text)?.[1] ?? Number.NaN);
  return { done: value("done"), failed: value("failed") };
}

const DAMAGES: Record<string, (cluster: ThreeBrokers, index: number) => void> = {
  "flipped bits": (cluster, index) => {
    const logs = files(cluster, index, ".log");
    for (const at of [500, 20_000, 40_000]) flip(logs[1], at);
    flip(logs[3], 1_000);
  },
  "a lost segment": (cluster, index) => {
    for (const ending of [".log", ".idx"]) unlinkSync(files(cluster, index, ending)[2] as string);
  },
  "a lost log file": (cluster, index) => unlinkSync(files(cluster, index, ".log")[2] as string),
  "a lost index": (cluster, index) => unlinkSync(files(cluster, index, ".idx")[2] as string),
  "a lost beginning": (cluster, index) => {
    for (const ending of [".log", ".idx"]) unlinkSync(files(cluster, index, ending)[0] as string);
  },
  "a lost end": (cluster, index) => {
    for (const ending of [".log", ".idx"]) unlinkSync(files(cluster, index, ending).at(-1) as string);
  },
};

describeUnless(missing("etcd"))("three brokers and etcd", () => {
  for (const [name, damage] of Object.entries(DAMAGES)) {
    test(
      `${name} of a stopped follower and of a stopped leader are there again, and nothing is skipped`,
      async () => {
        await using cluster = await ThreeBrokers.start(FLAGS);
        const leader = await filled(cluster);
        const follower = (leader + 1) % 3;
        for (const index of [follower, leader]) {
          await cluster.broker(index).stop("SIGKILL");
          damage(cluster, index);
          await cluster.startBroker(index);
          const leads = await cluster.leader();
          await cluster.untilInSync(leads);
          await untilEqual(cluster, [0, 1, 2]);
          if (name !== "a lost end") {
            const { done, failed } = await repaired(cluster, index);
            expect(done).toBeGreaterThan(0);
            expect(failed).toBe(0);
          }
        }
        const leads = await cluster.leader();
        const got = await consumeAll(cluster.broker(leads).tcpPort);
        expect(got.sort()).toEqual(Array.from({ length: MESSAGES }, (_, i) => bodyOf(i)).sort());
        for (const { log } of cluster.brokers) expect(log()).not.toContain("skipped");
      },
      LIMIT_MS,
    );
  }

  for (const role of ["follows", "leads"]) {
    test(
      `one that ${role} is killed again and again while it mends what is damaged, and all replicas are equal in the end`,
      async () => {
        const seed = seedFromEnvironment();
        console.log(`BUNSQ_SEED=${seed}`);
        const random = new Random(seed);
        // So slow that a kill meets a mending that has begun.
        await using cluster = await ThreeBrokers.start([...FLAGS, "--cluster-catch-up-rate=65536"]);
        const leader = await filled(cluster);
        const target = role === "leads" ? leader : (leader + 1) % 3;
        let inTheMidst = 0;
        for (let kills = 0; kills < KILLS; kills++) {
          await cluster.broker(target).stop("SIGKILL");
          if (kills > 0 && cluster.broker(target).log().includes("are damaged") && !isEqual(cluster, [(target + 1) % 3, target]))
            inTheMidst++;
          for (const path of files(cluster, target, ".log")) flip(path, random.int(100, 50_000));
          await cluster.startBroker(target);
          await until("it mends", () => cluster.broker(target).log().includes("are damaged"));
          await Bun.sleep(random.int(0, 300));
        }
        expect(inTheMidst).toBeGreaterThan(0);
        await cluster.untilInSync(await cluster.leader());
        await untilEqual(cluster, [0, 1, 2]);
        expect((await repaired(cluster, target)).failed).toBe(0);
        const got = await consumeAll(cluster.broker(await cluster.leader()).tcpPort);
        expect(got.sort()).toEqual(Array.from({ length: MESSAGES }, (_, i) => bodyOf(i)).sort());
        for (const { log } of cluster.brokers) expect(log()).not.toContain("skipped");
      },
      LIMIT_MS,
    );
  }

  // These two wait for half a minute each, and so together.
  test.concurrent(
    "a broker whose data path was emptied gets everything again, without an operator",
    async () => {
      await using cluster = await ThreeBrokers.start(FLAGS);
      const lookup = await startLookupServer("bunsq", [`--etcd-endpoints=${cluster.endpoints}`]);
      try {
        const leader = await filled(cluster);
        const emptied = (leader + 1) % 3;
        await cluster.broker(emptied).stop("SIGKILL");
        cluster.emptyPath(emptied);
        await cluster.startBroker(emptied);
        const isFilled = async () => (await cluster.replicaAt(emptied))?.end === MESSAGES;
        await until("it has everything", isFilled, REPLACED_MS);
        await untilEqual(cluster, [0, 1, 2]);
        await cluster.untilInSync(await cluster.leader());
      } finally {
        await lookup.stop("SIGKILL");
      }
    },
    LIMIT_MS,
  );

  test.concurrent(
    "what nobody has any more is told, counted and skipped, also by a replica that is copied anew",
    async () => {
      await using cluster = await ThreeBrokers.start(FLAGS);
      const lookup = await startLookupServer("bunsq", [`--etcd-endpoints=${cluster.endpoints}`]);
      try {
        await filled(cluster);
        // If it led and were killed last, it would be the only one in sync, and the others would wait for it.
        for (const index of [2, 0, 1]) await cluster.broker(index).stop("SIGKILL");
        for (const index of [0, 1]) flip(files(cluster, index, ".log")[1], 500);
        cluster.emptyPath(2);
        for (const index of [0, 1, 2]) await cluster.startBroker(index);
        await until("it has everything", async () => (await cluster.replicaAt(2))?.end === MESSAGES, REPLACED_MS);
        const leader = await cluster.leader();
        const client = await subscribed(cluster.broker(leader).tcpPort);
        client.command("RDY 200");
        const got = new Set<string>();
        while (got.size < MESSAGES - BATCH) {
          const { id, data } = await client.message();
          got.add(data.toString());
          client.command(`FIN ${id}`);
        }
        client.close();
        const lost = Array.from({ length: MESSAGES }, (_, i) => i).filter((number) => !got.has(bodyOf(number)));
        expect(lost.length).toBe(BATCH);
        expect((lost.at(-1) as number) - (lost[0] as number)).toBe(BATCH - 1);
        expect((await repaired(cluster, leader)).failed).toBe(1);
        expect(cluster.broker(leader).log()).toContain("no other replica has them");
      } finally {
        await lookup.stop("SIGKILL");
      }
    },
    LIMIT_MS,
  );

  test(
    "flipped bits at brokers that run are mended when somebody reads them, or by and by",
    async () => {
      await using cluster = await ThreeBrokers.start(FLAGS);
      const leader = await filled(cluster);
      const others = [0, 1, 2].filter((index) => index !== leader);
      // The first message, which a channel needs before it can go on, is one of them.
      for (const [i, index] of others.entries()) for (const at of [50, 45_000]) flip(files(cluster, index, ".log")[i], at);
      await cluster.broker(leader).stop("SIGKILL");
      const second = await cluster.leader(others);
      const got = await consumeAll(cluster.broker(second).tcpPort);
      expect(got.sort()).toEqual(Array.from({ length: MESSAGES }, (_, i) => bodyOf(i)).sort());
      await untilEqual(cluster, others);
      for (const index of others) expect(await repaired(cluster, index)).toEqual({ done: 2, failed: 0 });
    },
    LIMIT_MS,
  );
});
