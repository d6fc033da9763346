import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { until } from "../../support/server.ts";
import { Cluster, HEALED_MS, type Place } from "./support/cluster.ts";

const here = (): Place => ({ host: "127.0.0.1", tcpPort: 0, httpPort: 0, prefix: [] });

describe("three brokers and two lookups under load, each of which is killed in turn,", () => {
  let cluster: Cluster;

  beforeAll(async () => {
    cluster = new Cluster({ lookups: [here(), here()], brokers: [here(), here(), here()] });
    await cluster.start();
  }, 60_000);

  afterAll(async () => {
    await cluster?.[Symbol.asyncDispose]();
  });

  for (let i = 0; i < 3; i++) {
    test(`go on without broker ${i}, and use it again less than 5 s after its return`, async () => {
      await cluster.brokers[i].kill();
      const others = [0, 1, 2].filter((other) => other !== i);
      await cluster.untilTold("its registrations vanish", others);
      await cluster.brokers[i].start();
      const registeredMs = await cluster.untilTold("it is known again", [0, 1, 2]);
      const connectedMs = registeredMs + (await cluster.untilConnected("its consumers are back", HEALED_MS - registeredMs));
      await cluster.untilAllFlows("all is at work again");
      console.log(`broker ${i}: registered after ${Math.round(registeredMs)} ms, its consumers back after ${Math.round(connectedMs)} ms`);
    }, 30_000);
  }

  for (let i = 0; i < 2; i++) {
    test(`go on without lookup ${i}, and are known to it less than 5 s after its return`, async () => {
      await cluster.lookups[i].kill();
      await cluster.untilAllFlows("nobody needs it to go on", HEALED_MS);
      await cluster.lookups[i].start();
      const registeredMs = await cluster.untilTold("all are known again", [0, 1, 2]);
      console.log(`lookup ${i}: all registered after ${Math.round(registeredMs)} ms`);
    }, 30_000);
  }

  test("find each other again when all lookups and a broker were down", async () => {
    const [broker] = cluster.brokers;
    await Promise.all([broker, ...cluster.lookups].map((node) => node.kill()));
    const down = await Promise.all(cluster.lookups.map((lookup) => cluster.toldBy(lookup)));
    expect(down).toEqual([undefined, undefined]);
    const refused = (log: string) => cluster.lookups.every(({ tcp }) => log.includes(`ECONNREFUSED ${tcp}`));
    await until("the brokers have noticed", () => cluster.brokers.slice(1).every(({ log }) => refused(log)));
    // Long enough that their waits between attempts have grown to the limit.
    await Bun.sleep(3000);
    await broker.start();
    await Promise.all(cluster.lookups.map((lookup) => lookup.start()));
    const connectedMs = await cluster.untilConnected("consumers find the broker again");
    await cluster.untilAllFlows("all is at work again");
    console.log(`lookups and a broker: its consumers back after ${Math.round(connectedMs)} ms`);
  }, 30_000);

  test("deliver every acknowledged message to every consumer", async () => {
    const count = await cluster.settle();
    expect(count).toBeGreaterThan(100);
    console.log(`${count} messages were acknowledged and delivered to each of ${cluster.followers.length} consumers`);
  }, 60_000);
});
