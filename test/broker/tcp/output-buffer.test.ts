import { expect, test } from "bun:test";
import { expectNothing, InProcess, messages } from "../../support/in-process.ts";
import type { RawClient } from "../../support/raw-client.ts";

/** A consumer that asks for an output buffer, and the broker's response. */
async function asking(server: InProcess, fields: object): Promise<{ consumer: RawClient; size: number; timeoutMs: number }> {
  const consumer = await server.client();
  const told = JSON.parse(await consumer.call("IDENTIFY", JSON.stringify({ feature_negotiation: true, ...fields })));
  await consumer.call("SUB t c");
  consumer.command("RDY 10");
  return { consumer, size: told.output_buffer_size, timeoutMs: told.output_buffer_timeout };
}

test("a message does not wait in the output buffer, however long the timeout that was agreed on", async () => {
  await using server = InProcess.start({ maxOutputBufferTimeoutMs: 3_600_000 });
  const { consumer, size, timeoutMs } = await asking(server, { output_buffer_size: 65_536, output_buffer_timeout: 3_600_000 });
  expect([size, timeoutMs]).toEqual([65_536, 3_600_000]);
  await server.publish("t", "one");
  // With nsqd it would wait for an hour, or for 64 KiB of other messages.
  expect((await messages(consumer, 1))[0]?.text).toBe("one");
  consumer.command("CLS");
  expect(await consumer.response()).toBe("CLOSE_WAIT");
});

test("a client may turn the buffer off, and with it the timeout", async () => {
  await using server = InProcess.start();
  const { consumer, size, timeoutMs } = await asking(server, { output_buffer_size: -1, output_buffer_timeout: 1000 });
  expect([size, timeoutMs]).toEqual([1, 0]);
  await server.publish("t", "one", "two");
  expect((await messages(consumer, 2)).map(({ text }) => text)).toEqual(["one", "two"]);
  await expectNothing(consumer);
});

test("a limit between two milliseconds is rounded down", async () => {
  await using server = InProcess.start({ minOutputBufferTimeoutMs: 25.5, maxOutputBufferTimeoutMs: 99.9 });
  for (const timeout of [25, 99]) expect((await asking(server, { output_buffer_timeout: timeout })).timeoutMs).toBe(timeout);
  for (const timeout of [24, 100]) {
    const client = await server.client();
    client.command("IDENTIFY", JSON.stringify({ output_buffer_timeout: timeout }));
    expect((await client.next()).text).toBe(`E_BAD_BODY IDENTIFY output buffer timeout (${timeout}) is invalid`);
  }
});
