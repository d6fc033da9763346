import { afterAll, beforeAll, expect, test } from "bun:test";
import { describeUnless } from "../../support/needs.ts";
import { until } from "../../support/server.ts";
import { Cluster, HEALED_MS, type Place } from "./support/cluster.ts";
import { Network, noNetworks } from "./support/network.ts";

/** `BUNSQ_CUT_SECONDS=30` makes a cut so long that the connections to lookups time out, too. */
const CUT_SECONDS = Number(process.env.BUNSQ_CUT_SECONDS ?? 6);

const PING_INTERVAL_SECONDS = 15;

describeUnless(noNetworks())("three brokers, two lookups and their clients, each on a host of its own,", () => {
  let network: Network;
  let cluster: Cluster;

  beforeAll(async () => {
    network = new Network();
    const place = (tcpPort: number): Place => ({ ...network.addHost(), tcpPort, httpPort: tcpPort + 1 });
    const clients = network.addHost();
    cluster = new Cluster({ lookups: [place(4160), place(4160)], brokers: [place(4150), place(4150), place(4150)] }, clients.prefix);
    await cluster.start();
  }, 60_000);

  afterAll(async () => {
    await cluster?.[Symbol.asyncDispose]();
    network?.[Symbol.dispose]();
  });

  test(
    `find together again less than 5 s after a cut of ${CUT_SECONDS} s between all of them`,
    async () => {
      network.cut();
      const cutAt = performance.now();
      const count = () => cluster.site.acknowledged.flat().length;
      // Messages that were on their way when the network was cut may still be reported.
      await until("nothing is acknowledged any more", async () => {
        const before = count();
        await Bun.sleep(500);
        return count() === before;
      });
      const before = count();
      await Bun.sleep(CUT_SECONDS * 1000 - (performance.now() - cutAt));
      expect(count()).toBe(before);
      expect(await cluster.toldBy(cluster.lookups[0])).toBeUndefined();

      await until("the brokers have given up their consumers", () =>
        cluster.brokers.every(({ log }) => log.split("exiting ioloop").length > cluster.followers.length),
      );

      network.connect();
      const connectedMs = await cluster.untilConnected("the consumers are back");
      const knownMs = connectedMs + (await cluster.untilTold("both lookups tell of all brokers", [0, 1, 2], HEALED_MS - connectedMs));
      await cluster.untilAllFlows("all is at work again");
      // In a long cut each broker has sent a PING without an answer.
      if (CUT_SECONDS >= PING_INTERVAL_SECONDS + 2) {
        for (const { log } of cluster.brokers) expect(log).toMatch(/ERROR: LOOKUPD\(.*\): PING - no answer within 1000 ms/);
      }
      console.log(
        `after a cut of ${CUT_SECONDS} s the consumers are back after ${Math.round(connectedMs)} ms, all brokers known after ${Math.round(knownMs)} ms`,
      );
    },
    (CUT_SECONDS + 30) * 1000,
  );

  test("register with the lookups what came and went after the cut", async () => {
    const [{ http }] = cluster.brokers;
    await cluster.site.request("POST", `http://${http}/topic/create?topic=later`);
    await until("both lookups know", async () => {
      const answers = await Promise.all(cluster.lookups.map((lookup) => cluster.site.get(`http://${lookup.http}/lookup?topic=later`)));
      return answers.every(({ text }) => text.includes(cluster.brokers[0].place.host));
    });
  }, 30_000);

  test("deliver every acknowledged message to every consumer", async () => {
    await until("there are enough to tell", () => cluster.site.acknowledged.flat().length > 100);
    const count = await cluster.settle();
    expect(count).toBeGreaterThan(100);
    console.log(`${count} messages were acknowledged and delivered to each of ${cluster.followers.length} consumers`);
  }, 60_000);
});
