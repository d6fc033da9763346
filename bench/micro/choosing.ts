import type { Connection } from "../../src/broker/tcp/connection.ts";
import type { Topic } from "../../src/broker/topics/topic.ts";
import { encodeHeader } from "../../src/frame/header.ts";
import type { Bed } from "./bed.ts";
import type { Case } from "./cases.ts";
import { idLines, reusable } from "./streams.ts";

const MESSAGES = 1000;
const KEYS = 10_000;
const NO_BYTES = new Uint8Array(0);

/** Channels that choose their messages: publish, deliver and FIN of each, or publish and pass over. */
export function choosing(bed: Bed): Case[] {
  return [keyed(bed), filtered(bed)];
}

/** Publishes and tick, so that a case can be compared with publishing alone. */
function publish(bed: Bed, topic: Topic, headers: readonly Uint8Array[], from: number): void {
  const { turn } = bed.broker;
  const [partition] = topic.partitions;
  for (let i = 0; i < MESSAGES; i++) partition.publishWithHeader(headers[(from + i) % headers.length], BODY, 0, BODY.length, turn.time);
}

const BODY = Buffer.alloc(200, "x");

function keyed(bed: Bed): Case {
  const topic = bed.broker.registry.topic("keyed#ephemeral");
  const channel = topic.channel("ch#ephemeral");
  channel.changeSettings({ order: "key" });
  const consumer: Connection = bed.connect();
  consumer.receive(Buffer.from(`SUB keyed#ephemeral ch#ephemeral\nRDY 2500\n`));
  const headers = Array.from({ length: KEYS }, (_, i) =>
    encodeHeader({ traceId: 0n, key: Buffer.from(`customer-${i}`), tag: NO_BYTES, text: NO_BYTES }),
  );
  const { log } = topic.partitions[0];
  let sequence = log.next;
  const run = () => {
    publish(bed, topic, headers, sequence);
    bed.tick();
    expectInFlight(consumer, MESSAGES);
    // These lines are all that a call allocates.
    consumer.receive(reusable(idLines("FIN ", "\n", log.prefix, sequence, MESSAGES)));
    expectInFlight(consumer, 0);
    topic.partitions[0].trimLog();
    sequence += MESSAGES;
  };
  return {
    group: "choose",
    name: `order of ${KEYS} keys: publish, deliver, FIN`,
    messages: MESSAGES,
    shows: "a line of messages costs no object",
    run,
  };
}

function expectInFlight(consumer: Connection, count: number): void {
  if (consumer.inFlightCount !== count) throw new Error(`${consumer.inFlightCount} of ${count} are in flight`);
}

function filtered(bed: Bed): Case {
  const topic = bed.broker.registry.topic("filtered#ephemeral");
  const channel = topic.channel("ch#ephemeral");
  channel.changeSettings({ filter: { type: 1, filter_ext_key: "region", filter_data: "eu-west" } });
  const consumer: Connection = bed.connect();
  consumer.receive(Buffer.from(`SUB filtered#ephemeral ch#ephemeral\nRDY 2500\n`));
  const text = Buffer.from(`{"region":"us-east","customer":"customer-1234","kind":"order","note":"${"n".repeat(30)}"}`);
  const headers = [encodeHeader({ traceId: 0n, key: NO_BYTES, tag: NO_BYTES, text })];
  const [part] = channel.partitions;
  const run = () => {
    const before = channel.filteredCount;
    publish(bed, topic, headers, 0);
    bed.tick();
    if (channel.filteredCount !== before + MESSAGES || part.depth !== 0) throw new Error(`${part.depth} are not passed over`);
    topic.partitions[0].trimLog();
  };
  return {
    group: "choose",
    name: "filter of 100 bytes of header: publish, pass over",
    messages: MESSAGES,
    shows: "a header that does not fit is not parsed",
    run,
  };
}
