import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { registrations, SimulatedBroker } from "../../bench/load/lookup-brokers.ts";
import { LookupClient, lookupRequest } from "../../bench/load/lookup-clients.ts";
import { startLookupServer } from "../support/lookup.ts";
import { inMib, MIB, memoryBytes } from "../support/process-watch.ts";
import { type Running, until } from "../support/server.ts";

const BROKERS = 300;
const TOPICS = 500;
const CHANNELS = 2;
/** nsqlookupd takes 84 MB at rest with this registry, and 150 MB while it answers. */
const RSS_LIMIT_BYTES = 140 * MIB;
const DISCONNECTED = 10;
const ASKED_PER_DISCONNECT = 160;

describe(`${BROKERS} brokers with ${TOPICS} topics and ${CHANNELS} channels each`, () => {
  let lookup: Running;
  const brokers: SimulatedBroker[] = [];
  const topics = Array.from({ length: TOPICS }, (_, i) => `topic_${i}`);
  const get = async (path: string) =>
    (await lookup.http("GET", path)).json() as Promise<{ producers: { topics: string[] }[]; channels: string[] }>;

  beforeAll(async () => {
    lookup = await startLookupServer();
    for (let i = 0; i < BROKERS; i++) brokers.push(await SimulatedBroker.connect(lookup.tcpPort, `broker-${i}`));
    const commands = registrations(topics, CHANNELS);
    await Promise.all(brokers.map((broker) => broker.register(commands)));
  }, 400_000);

  afterAll(async () => {
    for (const broker of brokers) broker.close();
    await lookup?.stop();
  });

  test("are all listed, in bounded memory", async () => {
    const answer = await get(`/lookup?topic=${topics[TOPICS - 1]}`);
    expect(answer.producers).toHaveLength(BROKERS);
    expect(answer.channels).toHaveLength(CHANNELS);
    const nodes = (await get("/nodes")).producers;
    expect(nodes).toHaveLength(BROKERS);
    for (const node of nodes) expect(node.topics).toHaveLength(TOPICS);
    const peakBytes = memoryBytes(lookup.process.pid, "VmHWM");
    console.log(`RSS at most ${inMib(peakBytes)}`);
    expect(peakBytes).toBeLessThan(RSS_LIMIT_BYTES);
  }, 60_000);

  // How fast they are found is measured by bench/lookup.ts; that nobody waits for a removal is tested in slices.test.ts.
  test(`are found while brokers with ${TOPICS * (1 + CHANNELS)} registrations disconnect`, async () => {
    const requests = topics.map(lookupRequest);
    const clients = await Promise.all(Array.from({ length: 8 }, () => LookupClient.connect(lookup.httpPort)));
    for (let round = 0; round < DISCONNECTED; round++) {
      brokers.pop()?.close();
      // Each rejects if it is not answered with 200.
      for (let asked = 0; asked < ASKED_PER_DISCONNECT; asked += clients.length) {
        await Promise.all(clients.map((client, lane) => client.ask(requests[(asked + lane) % requests.length] as Buffer)));
      }
    }
    for (const client of clients) client.close();
    await until("those that went are told no more", async () => (await get("/lookup?topic=topic_0")).producers.length === brokers.length);
    expect((await get("/nodes")).producers).toHaveLength(brokers.length);
  }, 60_000);
});
