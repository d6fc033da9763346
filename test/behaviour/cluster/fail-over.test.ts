import { expect, test } from "bun:test";
import { describeUnless, missing } from "../../support/needs.ts";
import { RawClient } from "../../support/raw-client.ts";
import { until } from "../../support/server.ts";
import { ThreeBrokers, TOPIC } from "./support/three-brokers.ts";

const LIMIT_MS = 60_000;

/** Publishes messages one after the other. @returns those that were acknowledged */
async function publish(port: number, bodies: readonly string[]): Promise<string[]> {
  const client = await RawClient.connect(port);
  const acknowledged: string[] = [];
  try {
    for (const body of bodies) {
      if ((await client.call(`PUB ${TOPIC}`, body)) !== "OK") break;
      acknowledged.push(body);
    }
  } catch {
    // The broker is gone.
  }
  client.terminate();
  return acknowledged;
}

/** Finishes messages of the channel `c` until all of these were there. @returns the bodies, each once, in the order of their first coming */
async function consume(port: number, bodies: readonly string[]): Promise<Set<string>> {
  const client = await RawClient.connect(port);
  expect(await client.call(`SUB ${TOPIC} c`)).toBe("OK");
  client.command("RDY 100");
  const got = new Set<string>();
  while (!bodies.every((body) => got.has(body))) {
    const { id, data } = await client.message();
    got.add(data.toString());
    client.command(`FIN ${id}`);
  }
  client.close();
  return got;
}

function numbered(name: string, count: number): string[] {
  return Array.from({ length: count }, (_, i) => `${name}${i}`);
}

describeUnless(missing("etcd"))("three brokers and etcd", () => {
  for (const durability of ["write", "fsync"]) {
    test(
      `${durability}: the leader is killed, another one goes on with everything that was acknowledged, and the old one comes back`,
      async () => {
        await using cluster = await ThreeBrokers.start([`--durability=${durability}`]);
        expect((await cluster.broker(0).http("POST", `/topic/create?topic=${TOPIC}`)).status).toBe(200);
        const first = await cluster.leader();
        const before = numbered("before", 50);
        expect(await publish(cluster.broker(first).tcpPort, before)).toEqual(before);
        await cluster.untilInSync(first);
        const others = [0, 1, 2].filter((index) => index !== first);
        for (const index of others) {
          await until("it has all", async () => (await cluster.replicaAt(index))?.end === before.length);
          expect(cluster.segments(index)).toEqual(cluster.segments(first));
          expect(Buffer.concat(cluster.segments(index)).length).toBeGreaterThan(1_000);
        }

        const publishing = publish(cluster.broker(first).tcpPort, numbered("meanwhile", 100_000));
        await until("it publishes", async () => ((await cluster.replicaAt(first))?.end ?? 0) > before.length + 20);
        await cluster.broker(first).stop("SIGKILL");
        const meanwhile = await publishing;
        const second = await cluster.leader(others);
        const after = numbered("after", 50);
        expect(await publish(cluster.broker(second).tcpPort, after)).toEqual(after);
        const acknowledged = [...before, ...meanwhile, ...after];
        const got = await consume(cluster.broker(second).tcpPort, acknowledged);
        // The last one may have been published and not acknowledged.
        const unknown = [...got].filter((body) => !acknowledged.includes(body));
        expect(unknown.length).toBeLessThanOrEqual(1);
        expect([...got].filter((body) => acknowledged.includes(body))).toEqual(acknowledged);

        await cluster.startBroker(first);
        await cluster.untilInSync(second);
        const last = numbered("last", 20);
        expect(await publish(cluster.broker(second).tcpPort, last)).toEqual(last);
        const end = (await cluster.replicaAt(second))?.end as number;
        await until("the old leader has all", async () => (await cluster.replicaAt(first))?.end === end);
      },
      LIMIT_MS,
    );
  }
});
