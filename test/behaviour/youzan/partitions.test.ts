import { expect, test } from "bun:test";
import { InProcess } from "../../support/in-process.ts";
import { type Difference, Player, traced, withHeader } from "./support/player.ts";
import { makeTopic } from "./support/site.ts";
import { readTranscript } from "./support/transcript.ts";

const EVERY_FORM = "the partition counts in every form of the line";

test("consumers get the partition that they name, whatever else the line has", async () => {
  await using started = InProcess.start();
  makeTopic(started.broker, "mp", { extended: true }, 4);
  const producer = await started.client();
  for (const partition of [0, 3]) await producer.call(`PUB_TRACE mp ${partition}`, traced(1n, "x"));
  const topic = started.broker.registry.topic("mp");
  for (const name of ["v4", "v5"]) topic.channel(name, ({ log }) => log.next);
  for (const partition of [0, 3]) await producer.call(`PUB_EXT mp ${partition}`, withHeader('{"##trace_id":"9"}', `onpart${partition}`));
  const differences: Difference[] = [
    { section: "SUB_ADVANCED mp", at: 3, why: "a channel that is set to the end is there, without a stale message", answers: ["nothing"] },
    {
      section: "SUB_ADVANCED mp",
      at: 5,
      why: EVERY_FORM,
      answers: ["message attempts 1 id c000000000001 trace 0000000000000001 version 0 header  (offset) size 32 body x"],
    },
  ];
  const player = new Player(started, { shift: 1n, differences, identities: { "": { extend_support: true } } });
  for (const section of readTranscript("a6")) await player.section(section);
  expect([...player.met]).toEqual(differences);
});

test("a client that names no partition gets the messages of all, each with its partition in its id", async () => {
  await using started = InProcess.start();
  makeTopic(started.broker, "t", {}, 3);
  started.broker.registry.topic("t").channel("ch");
  const producer = await started.client();
  const places = [];
  for (const partition of [2, 0, 1]) {
    producer.command(`PUB_TRACE t ${partition}`, traced(5n, `m${partition}`));
    places.push((await producer.next()).data.toString("hex", 2, 10));
  }
  expect(places).toEqual(["0008000000000001", "0000000000000001", "0004000000000001"]);
  const consumer = await started.client();
  await consumer.call("IDENTIFY", JSON.stringify({ multiplexing: true }));
  await consumer.call("SUB t ch");
  consumer.command("RDY 10");
  const ids = [];
  for (let i = 0; i < 3; i++) {
    const { id } = await consumer.message();
    ids.push(Buffer.from(id, "latin1").toString("hex", 0, 8));
    consumer.write(Buffer.concat([Buffer.from("FIN "), Buffer.from(id, "latin1"), Buffer.from("\n")]));
  }
  expect(ids.sort()).toEqual(places.sort());
  consumer.write(Buffer.concat([Buffer.from("FIN "), Buffer.from("0008000000000001", "hex"), Buffer.alloc(8), Buffer.from("\n")]));
  expect((await consumer.next()).text).toStartWith("E_FIN_FAILED FIN [0 8 0 0 0 0 0 1 ");
});
