import { expect, test } from "bun:test";
import { expectNothing } from "../../support/in-process.ts";
import type { RawClient } from "../../support/raw-client.ts";
import { WithHttp } from "../../support/with-http.ts";
import { withHeader } from "./support/player.ts";
import { makeTopic } from "./support/site.ts";

/** The headers of the recorded session; those that Youzan's nsqd takes for tests come first. */
const HEADERS = ['{"zan_test":true}', '{"zan_test":"true"}', '{"zan_test":false}', '{"zan_test":1}', '{"a":"b"}'];
const NO_TESTS = HEADERS.slice(2);
const CALL = "topic=s2&partition=0&channel=z";

async function subscribe(server: WithHttp): Promise<RawClient> {
  const client = await server.started.client();
  await client.call("IDENTIFY", JSON.stringify({ extend_support: true }));
  await client.call("SUB s2 z 0");
  client.command("RDY 10");
  return client;
}

/** Publishes a message with each header. @returns the bodies that come, which are the headers again */
async function delivered(server: WithHttp, consumer: RawClient, headers: readonly string[] = HEADERS): Promise<string[]> {
  const producer = await server.started.client();
  for (const header of [...headers, '{"last":"one"}']) await producer.call("PUB_EXT s2", withHeader(header, header));
  const came: string[] = [];
  for (;;) {
    const { id, data } = await consumer.message();
    const body = data.toString("latin1", 3 + data.readUInt16BE(1));
    consumer.write(Buffer.concat([Buffer.from("FIN "), Buffer.from(id, "latin1"), Buffer.from("\n")]));
    if (body.includes("last")) return came;
    came.push(body);
  }
}

test("a channel skips messages that are marked as tests when it is asked to, as Youzan's, and delivers them before", async () => {
  await using server = WithHttp.start();
  makeTopic(server.started.broker, "s2", { extended: true });
  const channel = server.started.broker.registry.topic("s2").channel("z");
  const consumer = await subscribe(server);
  // There it is the other way round: with --allow-zan-test-skip each channel skips them until it is asked not to.
  expect(await delivered(server, consumer)).toEqual(HEADERS);
  expect(await server.call("POST", `/channel/skipZanTest?${CALL}`)).toBe("200");
  expect(await delivered(server, consumer)).toEqual(NO_TESTS);
  expect(channel.filteredCount).toBe(2);
  expect(await server.call("POST", `/channel/unskipZanTest?${CALL}`)).toBe("200");
  expect(await delivered(server, consumer)).toEqual(HEADERS);
  await expectNothing(consumer);
  expect(channel.depth + channel.inFlightCount).toBe(0);
});

test("tests are skipped beside what the channel's filter and order say", async () => {
  await using server = WithHttp.start();
  makeTopic(server.started.broker, "s2", {});
  const filter = { type: 1, inverse: true, filter_ext_key: "a", filter_data: "b" };
  server.started.broker.registry.topic("s2").channel("z").changeSettings({ order: "partition", skip_zan_test: true, filter });
  const consumer = await subscribe(server);
  expect(await delivered(server, consumer, [...HEADERS, '{ "zan\\u005ftest" : true }'])).toEqual(NO_TESTS.slice(0, 2));
  const { delivery } = (await server.json("GET", "/stats?format=json&topic=s2&channel=z")).topics[0].channels[0];
  expect(delivery).toMatchObject({ skip_zan_test: true, filtered_count: 4 });
  expect(await server.json("GET", `/channel/settings?${CALL}`)).toMatchObject({ skip_zan_test: true });
});

test("a topic that was made without headers has nothing to skip", async () => {
  await using server = WithHttp.start();
  makeTopic(server.started.broker, "s1", { extended: false });
  server.started.broker.registry.topic("s1").channel("z");
  for (const call of ["skipZanTest", "unskipZanTest"]) {
    expect(await server.call("POST", `/channel/${call}?topic=s1&partition=0&channel=z`)).toBe('400 {"message":"INVALID_REQUEST"}');
  }
});
