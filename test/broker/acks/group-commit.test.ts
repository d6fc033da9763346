import { expect, test } from "bun:test";
import { growth, LINEAR } from "../../support/growth.ts";
import { expectNothing, InProcess, messages } from "../../support/in-process.ts";
import { sized } from "../../support/raw-client.ts";
import { until } from "../../support/server.ts";
import { SteppedClock } from "../../support/stepped-clock.ts";

test("a train of commands is answered in order, whatever is in it", async () => {
  await using server = InProcess.start();
  const client = await server.consumer("other", "c");
  const train: Buffer[] = [];
  const expected: string[] = [];
  for (let i = 0; i < 200; i++) {
    train.push(Buffer.from("PUB t\n"), sized(`${i}`), Buffer.from("NOP\nFIN 0000000000000000\n"), Buffer.from("DPUB t 5\n"), sized("d"));
    expected.push("OK", "E_FIN_FAILED", "OK");
  }
  client.write(Buffer.concat(train));
  const answers: string[] = [];
  while (answers.length < expected.length) answers.push((await client.next()).text.split(" ")[0]);
  expect(answers).toEqual(expected);
});

test("a train of more publishes than answers may wait is answered whole, and the client can go on", async () => {
  await using server = InProcess.start();
  const client = await server.client();
  await client.call("PUB t", "first");
  let oks = 0;
  client.onFrame = () => oks++;
  const [connection] = server.broker.listener.connections.values();
  // As one piece, so that it is more at once than may be held.
  connection.receive(Buffer.concat(Array.from({ length: 20_000 }, () => Buffer.concat([Buffer.from("PUB t\n"), sized("x")]))));
  await until("all are answered", () => oks === 20_000);
  client.command("PUB t", "y");
  await until("one more is answered", () => oks === 20_001);
});

test("commands that come byte by byte are taken as if they came at once", async () => {
  await using server = InProcess.start();
  const consumer = await server.consumer("t", "c", 10);
  const client = await server.client();
  const count = Buffer.from([0, 0, 0, 2]);
  const stream = Buffer.concat([
    Buffer.from("PUB t\r\n"),
    sized("one"),
    Buffer.from("MPUB t\n"),
    sized(Buffer.concat([count, sized("two"), sized("three")])),
    Buffer.from("NOP\n"),
  ]);
  await until("both are there", () => server.broker.listener.connections.size === 2);
  const connection = [...server.broker.listener.connections.values()][1];
  await client.call("PUB other", "x");
  for (const byte of stream) connection.receive(Buffer.from([byte]));
  expect([await client.response(), await client.response()]).toEqual(["OK", "OK"]);
  expect((await messages(consumer, 3)).map(({ text }) => text)).toEqual(["one", "two", "three"]);
});

test("a large body in small pieces costs its size, not its square", async () => {
  await using server = InProcess.start();
  const consumer = await server.consumer("t", "c", 1);
  const client = await server.client();
  await client.call("PUB other", "x");
  const connection = [...server.broker.listener.connections.values()][1];
  const body = Buffer.from(Array.from({ length: 1024 * 1024 }, (_, i) => i & 255));
  let sent = 0;
  const send = (size: number) => {
    const stream = Buffer.concat([Buffer.from("PUB t\n"), sized(body.subarray(0, size))]);
    for (let at = 0; at < stream.length; at += 7) connection.receive(stream.subarray(at, at + 7));
    sent++;
  };
  expect(growth(send, body.length / 8)).toBeLessThan(LINEAR);
  send(body.length);
  for (let i = 0; i < sent; i++) expect(await client.response()).toBe("OK");
  consumer.command(`RDY ${sent}`);
  expect((await messages(consumer, sent)).at(-1)?.data.equals(body)).toBeTrue();
});

test("bodies of the largest size are taken, and larger ones refused at their size word", async () => {
  await using server = InProcess.start({ maxMsgSizeBytes: 1000, maxBodySizeBytes: 5000 });
  const consumer = await server.consumer("t", "c", 10);
  const client = await server.client();
  expect(await client.call("PUB t", Buffer.alloc(1000))).toBe("OK");
  client.mpub("t", [Buffer.alloc(1000), Buffer.alloc(1000), Buffer.alloc(1000), Buffer.alloc(1000), Buffer.alloc(976)]);
  expect(await client.response()).toBe("OK");
  expect((await messages(consumer, 6)).map(({ data }) => data.length)).toEqual([1000, 1000, 1000, 1000, 1000, 976]);
  client.write("PUB t\n\0\0\x03\xe9");
  expect((await client.next()).text).toBe("E_BAD_MESSAGE PUB message too big 1001 > 1000");
  await client.untilClosed();
  const other = await server.client();
  other.write("MPUB t\n\0\0\x13\x89");
  expect((await other.next()).text).toBe("E_BAD_BODY MPUB body too big 5001 > 5000");
  await other.untilClosed();
  await expectNothing(consumer);
});

test("a batch with one bad message publishes none of it", async () => {
  await using server = InProcess.start();
  const consumer = await server.consumer("t", "c", 10);
  const client = await server.client();
  client.command("MPUB t", Buffer.concat([Buffer.from([0, 0, 0, 2]), sized("good"), Buffer.from([0, 0, 0, 0])]));
  expect((await client.next()).text).toBe("E_BAD_MESSAGE MPUB invalid message(1) body size 0");
  await client.untilClosed();
  await expectNothing(consumer);
});

test("a publish that the disk does not take is refused, the connection ends, and the broker goes on", async () => {
  await using server = InProcess.start();
  const client = await server.client();
  await client.call("PUB t", "before");
  const { files } = server.broker.registry.topic("t").partitions[0].log;
  if (files === undefined) throw new Error("no files");
  const commit = files.commit;
  files.commit = () => {
    throw new Error("ENOSPC: no space left on device, write");
  };
  client.command("PUB t", "lost");
  client.command("PUB t", "lost too");
  expect((await client.next()).text).toBe("E_PUB_FAILED PUB failed ENOSPC: no space left on device, write");
  await client.untilClosed();
  await expect(
    server.broker.publishing.publish(server.broker.registry.topic("t").partitions[0], "", Buffer.from("lost"), 0),
  ).rejects.toThrow("ENOSPC");
  expect(server.broker.health.text).toStartWith("NOK - ENOSPC");
  files.commit = commit;
  await server.publish("t", "after");
  expect(server.broker.health.text).toBe("OK");
  const consumer = await server.consumer("t", "c", 10);
  expect((await messages(consumer, 2)).map(({ text }) => text)).toEqual(["before", "after"]);
  await expectNothing(consumer);
});

test("a deferred publish that falls due on a full disk joins later, once", async () => {
  const clock = new SteppedClock();
  await using server = InProcess.start({}, { clock });
  const consumer = await server.consumer("t", "c", 10);
  const client = await server.client();
  await client.call("PUB t", "first");
  await consumer.message();
  await client.call("DPUB t 50", "deferred");
  const { files } = server.broker.registry.topic("t").partitions[0].log;
  if (files === undefined) throw new Error("no files");
  const commit = files.commit;
  let refused = 0;
  files.commit = () => {
    refused++;
    throw new Error("ENOSPC");
  };
  await clock.pass(55);
  expect(refused).toBeGreaterThan(0);
  files.commit = commit;
  // It is tried again.
  await clock.pass(1500);
  expect((await consumer.message()).text).toBe("deferred");
  await expectNothing(consumer);
});

test("a publish through the broker itself resolves once it is written", async () => {
  await using server = InProcess.start();
  const consumer = await server.consumer("t", "c", 10);
  const topic = server.broker.registry.topic("t");
  await server.broker.publishing.publish(topic.partitions[0], "", new TextEncoder().encode("one"), 0);
  expect(topic.partitions[0].log.committedNext).toBe(1);
  await server.broker.publishing.publishBatch(
    topic.partitions[0],
    "",
    Buffer.concat([Buffer.from([0, 0, 0, 2]), sized("two"), sized("three")]),
  );
  await server.broker.publishing.publish(topic.partitions[0], "", new TextEncoder().encode("four"), 20);
  expect((await messages(consumer, 4)).map(({ text }) => text)).toEqual(["one", "two", "three", "four"]);
});
