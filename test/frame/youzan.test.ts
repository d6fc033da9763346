import { expect, test } from "bun:test";
import { messageOfInternalId } from "../../src/broker/topics/inspect/internal-id.ts";
import type { Topic } from "../../src/broker/topics/topic.ts";
import { SEQUENCE_SPAN } from "../../src/frame/id.ts";
import { internalId, partitionInId, sequenceInId, writeInternalId } from "../../src/frame/youzan.ts";

const SEQUENCES = [0, 1, 2 ** 32 - 2, 2 ** 32 - 1, SEQUENCE_SPAN - 1, SEQUENCE_SPAN, 3 * SEQUENCE_SPAN + 7];
const PARTITION = 1023;

test("a message has one internal id, in frames, answers and HTTP calls, also behind 2^40 others", () => {
  const bytes = Buffer.alloc(8);
  for (const sequence of SEQUENCES) {
    writeInternalId(new DataView(bytes.buffer, bytes.byteOffset, 8), 0, PARTITION, sequence);
    const id = bytes.readBigUInt64BE();
    expect(internalId(PARTITION, sequence)).toBe(id);
    // A message's record has no more of its sequence.
    expect(internalId(PARTITION, sequence % SEQUENCE_SPAN)).toBe(id);
    expect([partitionInId(bytes, 0), sequenceInId(bytes, 0)]).toEqual([PARTITION, sequence % SEQUENCE_SPAN]);
    const partition = { log: { next: sequence + 5 } };
    const topic = { partition: (index: number) => (index === PARTITION ? partition : undefined) } as unknown as Topic;
    expect(messageOfInternalId(topic, id)?.sequence).toBe(sequence);
    expect(messageOfInternalId(topic, id + BigInt(SEQUENCE_SPAN))).toBeUndefined();
  }
});

test("an id that no message has is told", () => {
  const read = (id: bigint) => {
    const bytes = Buffer.alloc(8);
    bytes.writeBigUInt64BE(id);
    return [partitionInId(bytes, 0), sequenceInId(bytes, 0)];
  };
  expect(read(0n)[0]).toBe(-1);
  expect(read(2n ** 63n)[0]).toBe(-1);
  expect(read(2n ** 50n)).toEqual([1, -1]);
  expect(read(BigInt(SEQUENCE_SPAN) + 1n)).toEqual([0, -1]);
});
