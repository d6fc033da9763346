import { expect, test } from "bun:test";
import { KIND_REQUEUE } from "../../../../src/broker/storage/deferred/entry.ts";
import { StoredMessage } from "../../../../src/broker/storage/deferred/stored-message.ts";
import type { Consumer } from "../../../../src/broker/topics/channel/consumer.ts";
import { InFlight, NOT_IN_FLIGHT, NOT_OWNER } from "../../../../src/broker/topics/channel/in-flight.ts";
import { READY, Window } from "../../../../src/broker/topics/channel/window.ts";
import { TraceName } from "../../../../src/broker/trace/trace-name.ts";

const FRAME_BYTES = 34;

/** A consumer that counts the messages it has, and sends nothing. */
function consumer(id: number): Consumer {
  return {
    id,
    nearness: 0,
    capacity: 100,
    sampleRate: 0,
    onlyLog: undefined,
    msgTimeoutMs: 50,
    traceName: new TraceName("consumer"),
    inFlightCount: 0,
    sendRun: () => {},
    sendAgain: () => {},
    closeGracefully: () => {},
  };
}

/** Messages from sequence 0 on, which a consumer has until `deadlineMs`. The last `detached` of them left the window. */
function delivered(client: Consumer, count: number, deadlineMs: number, detached = 0): InFlight {
  const view = new DataView(new ArrayBuffer(FRAME_BYTES * count));
  for (let i = 0; i < count; i++) view.setUint32(FRAME_BYTES * i, FRAME_BYTES - 4);
  const inFlight = new InFlight(new Window(0), { wakeAt: () => {} });
  inFlight.addConsumer(client);
  inFlight.window.takeRun(view, 0, 0, view.byteLength, count, view.byteLength, client.id, 0, deadlineMs);
  inFlight.addRun(count, deadlineMs);
  client.inFlightCount = count;
  for (let sequence = count - detached; sequence < count; sequence++) inFlight.detach(stored(sequence));
  return inFlight;
}

function stored(sequence: number): StoredMessage {
  return new StoredMessage(KIND_REQUEUE, 1, 1, 100 + sequence, sequence, 0, 1, undefined, 0, FRAME_BYTES, Buffer.alloc(FRAME_BYTES));
}

test("a message's state is found in the window and outside of it alike", () => {
  const client = consumer(7);
  const inFlight = delivered(client, 4, 50, 2);
  for (const sequence of [0, 3]) {
    const slot = inFlight.slotOwnedBy(7, sequence);
    if (slot instanceof Error) throw slot;
    expect(slot).toMatchObject({ owner: 7, attempts: 1, deadlineMs: 50, deliveredAtMs: 0 });
    expect(inFlight.slotOwnedBy(8, sequence)).toBe(NOT_OWNER);
    inFlight.makeReady(sequence);
    expect(slot.state).toBe(READY);
    expect(inFlight.slotOwnedBy(7, sequence)).toBe(NOT_IN_FLIGHT);
    expect(inFlight.redeliver(sequence, consumer(8), 10, 60)).toBe(2);
    expect(inFlight.slotOwnedBy(8, sequence)).toMatchObject({ owner: 8, attempts: 2, deadlineMs: 60, deliveredAtMs: 10 });
  }
  expect(inFlight.slotOwnedBy(7, 4)).toBe(NOT_IN_FLIGHT);
  expect(inFlight.remove(0)).toBeUndefined();
  expect(inFlight.remove(3)?.number).toBe(103);
  expect([0, 1, 2, 3].map((sequence) => inFlight.isUnfinished(sequence))).toEqual([false, true, true, false]);
});

test("messages time out, and short delays end, in the window and outside of it", () => {
  const client = consumer(7);
  const inFlight = delivered(client, 6, 50, 2);
  for (const sequence of [1, 5]) {
    inFlight.uncount(client, 1);
    inFlight.defer(sequence, 30);
  }
  expect([inFlight.nextDeadlineMs, inFlight.count, inFlight.deferredCount, client.inFlightCount]).toEqual([30, 4, 2, 4]);
  expect(inFlight.expire(40)).toBe(0);
  expect([inFlight.nextDeadlineMs, inFlight.ready.length, inFlight.deferredCount]).toEqual([50, 2, 0]);
  expect(inFlight.expire(50)).toBe(4);
  expect([inFlight.nextDeadlineMs, inFlight.ready.length, inFlight.count, client.inFlightCount]).toEqual([
    Number.POSITIVE_INFINITY,
    6,
    0,
    0,
  ]);
});

test("the messages of a consumer that leaves are ready, and those of others stay in flight", () => {
  const client = consumer(7);
  const other = consumer(8);
  const inFlight = delivered(client, 5, 50, 2);
  inFlight.addConsumer(other);
  for (const sequence of [0, 4]) {
    inFlight.uncount(client, 1);
    inFlight.makeReady(sequence);
    inFlight.redeliver(inFlight.ready.shift(), other, 0, 50);
    other.inFlightCount++;
  }
  inFlight.removeConsumer(client);
  expect([client.inFlightCount, other.inFlightCount, inFlight.count, inFlight.ready.length]).toEqual([0, 2, 2, 3]);
  expect([1, 2, 3]).toEqual([inFlight.ready.shift(), inFlight.ready.shift(), inFlight.ready.shift()]);
});

test("a run is not finished while messages are detached, since the window counts these as done", () => {
  const client = consumer(7);
  const inFlight = delivered(client, 4, 50, 1);
  expect(inFlight.finishRun(client, 0, 4)).toBe(0);
  inFlight.remove(3);
  inFlight.uncount(client, 1);
  expect(inFlight.finishRun(client, 0, 4)).toBe(3);
  expect([inFlight.count, client.inFlightCount, inFlight.window.floor]).toEqual([0, 0, 4]);
});
