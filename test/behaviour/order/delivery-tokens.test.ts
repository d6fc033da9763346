import { expect, test } from "bun:test";
import { expectNothing, InProcess } from "../../support/in-process.ts";
import type { RawClient } from "../../support/raw-client.ts";
import { SteppedClock } from "../../support/stepped-clock.ts";

const TIMEOUT_MS = 1000;
/** A time-out, and how long a message waits behind it for a late FIN. */
const AGAIN_MS = TIMEOUT_MS + 300;

/** The forms of the protocol, each with what an error says. */
const FORMS = [
  { form: "NSQ", identity: {}, unknown: "ID not in flight" },
  { form: "Youzan", identity: { extend_support: false }, unknown: "Message ID not in flight" },
];

async function consumer(server: InProcess, identity: object): Promise<RawClient> {
  const client = await server.client();
  await client.call("IDENTIFY", JSON.stringify({ msg_timeout: TIMEOUT_MS, ...identity }));
  await client.call("SUB t c");
  client.command("RDY 1");
  return client;
}

function send(client: RawClient, verb: string, id: string, rest = ""): void {
  client.write(Buffer.from(`${verb} ${id}${rest}\n`, "latin1"));
}

async function error(client: RawClient): Promise<string> {
  const { type, text } = await client.next();
  expect(type).toBe("error");
  return text;
}

for (const { form, identity, unknown } of FORMS) {
  for (const order of ["none", "key", "partition"]) {
    test(`${form}, order ${order}: what is said of an earlier delivery fails, of the current one it counts`, async () => {
      const clock = new SteppedClock();
      await using server = InProcess.start({}, { clock });
      server.broker.registry.topic("t").channel("c").changeSettings({ order });
      await server.publish("t", "1");
      const client = await consumer(server, { ...identity, delivery_tokens: true });
      const first = await client.message();
      expect(first.attempts).toBe(1);
      await clock.pass(AGAIN_MS);
      const again = await client.message();
      expect(again).toMatchObject({ id: first.id, attempts: 2 });
      for (const stale of ["1", "3", "0", "", "x", "01x"]) {
        send(client, "FIN", first.id, ` ${stale}`);
        expect(await error(client)).toStartWith("E_FIN_FAILED ");
        send(client, "REQ", first.id, ` 0 ${stale}`);
        expect(await error(client)).toStartWith("E_REQ_FAILED ");
        send(client, "TOUCH", first.id, ` ${stale}`);
        expect(await error(client)).toEndWith(` failed ${unknown}`);
      }
      const channel = server.broker.registry.topic("t").channel("c");
      expect({ inFlight: channel.inFlightCount, depth: channel.depth }).toEqual({ inFlight: 1, depth: 0 });
      await clock.pass(600);
      send(client, "TOUCH", first.id, " 2");
      await expectNothing(client);
      await clock.pass(TIMEOUT_MS - 100);
      expect(channel.timeoutCount).toBe(1);
      send(client, "REQ", first.id, " 0 2");
      expect(await client.message()).toMatchObject({ id: first.id, attempts: 3 });
      send(client, "FIN", first.id, " 3");
      await expectNothing(client);
      expect({ inFlight: channel.inFlightCount, depth: channel.depth }).toEqual({ inFlight: 0, depth: 0 });
    });
  }

  test(`${form}: a client that did not negotiate tokens has its further words ignored`, async () => {
    const clock = new SteppedClock();
    await using server = InProcess.start({}, { clock });
    await server.publish("t", "1");
    const client = await consumer(server, identity);
    const { id } = await client.message();
    send(client, "TOUCH", id, " 7");
    send(client, "FIN", id, " 7");
    await expectNothing(client);
    expect(server.broker.registry.topic("t").channel("c").inFlightCount).toBe(0);
  });
}

test("tokens are told to who negotiates", async () => {
  await using server = InProcess.start();
  const answer = async (fields: object) => {
    const client = await server.client();
    return JSON.parse(await client.call("IDENTIFY", JSON.stringify({ feature_negotiation: true, ...fields })));
  };
  expect((await answer({ delivery_tokens: true })).delivery_tokens).toBe(true);
  for (const fields of [{ delivery_tokens: false }, {}]) expect(await answer(fields)).not.toHaveProperty("delivery_tokens");
});
