import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expectNothing, InProcess } from "../../support/in-process.ts";
import type { RawClient } from "../../support/raw-client.ts";
import { until } from "../../support/server.ts";
import { withHeader } from "./support/player.ts";
import { makeTopic } from "./support/site.ts";

/** The messages that filters were tried on when the session was recorded; one has no header. */
const MESSAGES = [
  ["f1", '{"k":"v1"}'],
  ["f2", '{"k":"v2","z":"1"}'],
  ["f3", '{"k":5}'],
  ["f4", '{"n":{"k":"v1"}}'],
  ["f5", '{"z":"1"}'],
  ["f6", ""],
] as const;

/** Youzan's nsqd takes a filter that cannot work for none, or has it take nothing. Here it is refused. */
const REFUSED = [
  '{"type": 4, "filter_ext_key": "foo", "filter_data_list": [{"filter_ext_key": "k", "filter_data": "v1"}]}',
  '{"type": 2, "filter_ext_key": "k", "filter_data": "("}',
  '{"type": 9, "filter_ext_key": "k", "filter_data": "v1"}',
  '{"type": 1, "filter_ext_key": "", "filter_data": "v1"}',
];

const RECORD = readFileSync(join(import.meta.dir, "captures/a5.txt"), "utf8").split("\n");
const FILTERS = RECORD.filter((line) => line.startsWith("filter ")).map((line) => line.slice("filter ".length).split(" ->"));

function tagged(tag: string): string {
  return `{"##client_dispatch_tag":"${tag}"}`;
}

async function publish(client: RawClient, body: string, header: string): Promise<void> {
  if (header === "") await client.call("PUB ext", body);
  else await client.call("PUB_EXT ext", withHeader(header, body));
}

async function consumer(server: InProcess, fields: object): Promise<RawClient> {
  const client = await server.client();
  await client.call("IDENTIFY", JSON.stringify({ extend_support: true, ...fields }));
  await client.call("SUB ext c 0");
  client.command("RDY 10");
  return client;
}

/** Version, length and JSON in front of the body. */
function bodyOf(data: Buffer): string {
  return data.toString("latin1", data[0] === 0 ? 1 : 3 + data.readUInt16BE(1));
}

function finish(client: RawClient, id: string): void {
  client.write(Buffer.concat([Buffer.from("FIN "), Buffer.from(id, "latin1"), Buffer.from("\n")]));
}

/** Takes the messages that come, and finishes them. */
async function bodies(client: RawClient, count: number): Promise<string[]> {
  const came: string[] = [];
  for (let i = 0; i < count; i++) {
    const { id, data } = await client.message();
    came.push(bodyOf(data));
    finish(client, id);
  }
  await expectNothing(client);
  return came;
}

async function start(): Promise<{ server: InProcess; producer: RawClient }> {
  const server = InProcess.start();
  makeTopic(server.broker, "ext", { extended: true });
  server.broker.registry.topic("ext").channel("c");
  return { server, producer: await server.client() };
}

for (const [filter = "", taken = ""] of FILTERS.filter(([filter = ""]) => !REFUSED.includes(filter))) {
  test(`a filter takes what it took at Youzan's nsqd: ${filter}`, async () => {
    const { server, producer } = await start();
    await using _ = server;
    const client = await consumer(server, { ext_filter: JSON.parse(filter) });
    for (const [body, header] of MESSAGES) await publish(producer, body, header);
    const expected = taken.split(" ").filter((body) => body !== "");
    expect(await bodies(client, expected.length)).toEqual(expected);
    // What it does not take is finished for the channel, as there.
    const channel = server.broker.registry.topic("ext").channel("c");
    await until("the others are finished", () => channel.depth === 0);
    expect(channel.filteredCount).toBe(MESSAGES.length - expected.length);
  });
}

test("a filter that cannot work is refused, and none of the recorded ones was left out", async () => {
  const { server } = await start();
  await using _ = server;
  const recorded = FILTERS.map(([filter = ""]) => filter);
  for (const filter of REFUSED) {
    expect(recorded).toContain(filter);
    const client = await server.client();
    client.command("IDENTIFY", JSON.stringify({ ext_filter: JSON.parse(filter) }));
    expect((await client.next()).text).toStartWith("E_BAD_BODY IDENTIFY invalid ext_filter: ");
    await client.untilClosed();
  }
  expect(recorded.length).toBe(15);
  const client = await server.client();
  client.command("IDENTIFY", JSON.stringify({ extend_support: true, ext_filter: { type: "1" } }));
  expect((await client.next()).text).toBe("E_BAD_BODY IDENTIFY failed to decode JSON body");
});

test("tags choose consumers as at Youzan's nsqd, but nobody waits behind a message for others", async () => {
  const { server, producer } = await start();
  await using _ = server;
  const red = await consumer(server, { desired_tag: "red" });
  const untagged = await consumer(server, {});
  await publish(producer, "r1", tagged("red"));
  await publish(producer, "b1", tagged("blue"));
  await publish(producer, "u1", "");
  await publish(producer, "r2", tagged("red"));
  await publish(producer, "n7", '{"##client_dispatch_tag":7}');
  expect(await bodies(red, 2)).toEqual(["r1", "r2"]);
  expect(await bodies(untagged, 3)).toEqual(["b1", "u1", "n7"]);
  untagged.close();
  const channel = server.broker.registry.topic("ext").channel("c");
  await until("it has left", () => channel.consumers.length === 1);
  await publish(producer, "b2", tagged("blue"));
  await publish(producer, "u2", "");
  await publish(producer, "passes", tagged("red"));
  // There it waited behind the other two.
  expect(await bodies(red, 1)).toEqual(["passes"]);
  const back = await consumer(server, {});
  expect(await bodies(back, 2)).toEqual(["b2", "u2"]);
  await publish(producer, "r3", tagged("red"));
  const { id } = await red.message();
  red.close();
  const again = await back.message();
  expect({ id: again.id, body: bodyOf(again.data) }).toEqual({ id, body: "r3" });
  // Each delivery counts, as in NSQ; there it was the first attempt still.
  expect(again.attempts).toBe(2);
  finish(back, again.id);
  await expectNothing(back);
});
