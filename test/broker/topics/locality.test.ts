import { describe, expect, test } from "bun:test";
import { startHttp } from "../../../src/broker/http/server.ts";
import { readStats } from "../../../src/broker/metrics/stats.ts";
import type { BrokerOptions } from "../../../src/broker/options.ts";
import { expectNothing, InProcess, messages, numbers } from "../../support/in-process.ts";
import type { RawClient } from "../../support/raw-client.ts";

const AWARE = { experiments: ["topology-aware-consumption"], topologyRegion: "eu", topologyZone: "eu-1" };

type Place = { topology_region?: string; topology_zone?: string };
const ZONE: Place = { topology_region: "eu", topology_zone: "eu-1" };
const REGION: Place = { topology_region: "eu", topology_zone: "eu-2" };
const ELSEWHERE: Place = { topology_region: "us", topology_zone: "us-1" };

function start(changes: Partial<BrokerOptions> = {}): InProcess {
  return InProcess.start({ ...AWARE, httpAddress: "127.0.0.1:0", ...changes });
}

/** Consumers of one channel at these places, each with RDY `ready`. */
async function consumersAt(brokers: InProcess, ready: number, ...places: Place[]): Promise<RawClient[]> {
  const consumers: RawClient[] = [];
  for (const place of places) consumers.push(await brokers.consumer("t", "ch", ready, place));
  return consumers;
}

const channelStats = ({ broker }: InProcess) => readStats(broker, "t", "ch", true).topics?.[0]?.channels[0];

describe("with topology-aware consumption", () => {
  test("messages go to consumers in the zone as long as these take them, then to those in the region, then to the others", async () => {
    await using brokers = start();
    const [far, near, here, silent] = (await consumersAt(brokers, 5, ELSEWHERE, REGION, ZONE, {})) as [
      RawClient,
      RawClient,
      RawClient,
      RawClient,
    ];
    await brokers.publish("t", ...numbers(3));
    expect((await messages(here, 3)).map(({ text }) => text)).toEqual(numbers(3));
    await brokers.publish("t", ...numbers(4, 3));
    expect((await messages(here, 2)).map(({ text }) => text)).toEqual(numbers(2, 3));
    expect((await messages(near, 2)).map(({ text }) => text)).toEqual(numbers(2, 5));
    for (const client of [far, silent]) await expectNothing(client);

    // The region takes three more; the two consumers that are elsewhere share the rest.
    await brokers.publish("t", ...numbers(13, 7));
    expect(await messages(near, 3)).toHaveLength(3);
    expect(await messages(far, 5)).toHaveLength(5);
    expect(await messages(silent, 5)).toHaveLength(5);
    for (const client of [far, near, here, silent]) await expectNothing(client);
    expect(channelStats(brokers)).toMatchObject({
      zone_local_msg_count: 5,
      region_local_msg_count: 5,
      global_msg_count: 10,
      in_flight_count: 20,
    });
  });

  test("a nearer consumer gets the next message once it is ready again", async () => {
    await using brokers = start();
    const [far, here] = (await consumersAt(brokers, 1, ELSEWHERE, ZONE)) as [RawClient, RawClient];
    for (let i = 0; i < 20; i++) {
      await brokers.publish("t", `${i}`);
      const message = await here.message();
      expect(message.text).toBe(`${i}`);
      here.command(`FIN ${message.id}`);
      await expectNothing(here);
    }
    await expectNothing(far);
    expect(channelStats(brokers)?.clients).toMatchObject([{ topology_region: "us", topology_zone: "us-1" }, { topology_zone: "eu-1" }]);
  });

  test("a redelivery goes to the nearest consumer, and to the next nearest once that has left", async () => {
    await using brokers = start();
    const [far, here] = (await consumersAt(brokers, 10, ELSEWHERE, ZONE)) as [RawClient, RawClient];
    await brokers.publish("t", "a");
    const first = await here.message();
    here.command(`REQ ${first.id} 0`);
    expect((await here.message()).attempts).toBe(2);
    here.close();
    expect(await far.message()).toMatchObject({ text: "a", attempts: 3 });
  });

  test("a consumer that names no region, or only a zone, is elsewhere", async () => {
    await using brokers = start();
    const [none, zoneAlone, otherRegion, here] = (await consumersAt(
      brokers,
      1,
      {},
      { topology_zone: "eu-1" },
      { topology_region: "us", topology_zone: "eu-1" },
      ZONE,
    )) as [RawClient, RawClient, RawClient, RawClient];
    await brokers.publish("t", "x");
    expect((await here.message()).text).toBe("x");
    for (const client of [none, zoneAlone, otherRegion]) await expectNothing(client);
  });

  test("a broker with a zone and no region serves consumers in that zone first", async () => {
    await using brokers = start({ topologyRegion: "" });
    const [far, here] = (await consumersAt(brokers, 1, {}, { topology_zone: "eu-1" })) as [RawClient, RawClient];
    await brokers.publish("t", "x");
    expect((await here.message()).text).toBe("x");
    await expectNothing(far);
  });

  test("/info shows the broker's region and zone", async () => {
    await using brokers = start();
    const http = startHttp(brokers.broker);
    const info = await (await fetch(`http://127.0.0.1:${http.port}/info`)).json();
    expect(info).toMatchObject({ topology_region: "eu", topology_zone: "eu-1" });
    await http.stop();
  });
});

describe("without topology-aware consumption", () => {
  test("consumers take turns wherever they are, and statistics show no region or zone", async () => {
    await using brokers = start({ experiments: [] });
    const [far, here] = (await consumersAt(brokers, 1, { ...ELSEWHERE, topology_zone: 7 as unknown as string }, ZONE)) as [
      RawClient,
      RawClient,
    ];
    await brokers.publish("t", "x", "y");
    expect((await messages(far, 1)).length + (await messages(here, 1)).length).toBe(2);
    const stats = channelStats(brokers);
    expect(Object.keys(stats ?? {}).filter((key) => /local|global/.test(key))).toEqual([]);
    expect(Object.keys(stats?.clients?.[0] ?? {}).filter((key) => /topology/.test(key))).toEqual([]);
  });

  test("an unknown experiment is refused, and this one without a region or zone draws a warning", async () => {
    expect(() => start({ experiments: ["teleportation"] })).toThrow("unknown -enable-experiment teleportation");
    await using brokers = start({ topologyRegion: "", topologyZone: "" });
    expect(brokers.log.matching(/^WARNING: .*has no effect without -topology-region/)).toHaveLength(1);
  });
});
