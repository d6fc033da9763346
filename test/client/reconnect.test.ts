import { heapStats } from "bun:jsc";
import { expect, test } from "bun:test";
import { Consumer, Producer } from "../../src/client/bun.ts";
import type { Transport } from "../../src/client/transport.ts";
import { bunTransport } from "../../src/client/transports/bun.ts";
import { nodeTransport } from "../../src/client/transports/node.ts";
import { encodeFrame, FRAME_TYPE_RESPONSE } from "../../src/frame/frame.ts";
import { until } from "../support/server.ts";
import { SimulatedClock } from "../support/simulated-clock.ts";
import { RecordingBroker } from "./support/recording-broker.ts";

const RECONNECTS = 200;
/** Compiled code and caches add some objects; each reconnect must not leave one. */
const MAX_NEW_OBJECTS = 20 * RECONNECTS;

for (const [name, transport] of [
  ["Bun", bunTransport],
  ["Node", nodeTransport],
] as const) {
  test(`${RECONNECTS} reconnects leave nothing behind, with the sockets of ${name}`, async () => {
    using broker = new RecordingBroker(Array.from({ length: 1_000 }, (_, i) => `${i}`));
    const options = { brokers: [broker.address], maxReconnectMs: 1, transport };
    let handled = 0;
    let lost = 0;
    const onEvent = ({ type }: { type: string }) => {
      if (type === "disconnected") lost++;
    };
    const producer = new Producer({ ...options, onEvent });
    const consumer = new Consumer({ ...options, onEvent, topic: "t", channel: "c", maxInFlight: 1 });
    void consumer.run(() => void handled++);
    let before = 0;
    for (let i = 0; i < RECONNECTS; i++) {
      await until("both are connected", () => producer.connected.length === 1 && consumer.connected.length === 1);
      if (i === 20) before = objectCount();
      await producer.publish("t", "x");
      broker.cut();
      await until("both have noticed", () => lost === 2 * (i + 1));
    }
    await until("both are connected again", () => producer.connected.length === 1 && consumer.connected.length === 1);
    await until("old connections are gone", () => broker.connections === 2);
    expect(objectCount() - before).toBeLessThan(MAX_NEW_OBJECTS);
    expect(handled).toBeGreaterThan(0);
    await producer.close();
    await consumer.close();
    await until("all connections are gone", () => broker.connections === 0);
  }, 60_000);
}

function objectCount(): number {
  Bun.gc(true);
  return heapStats().objectCount;
}

test("a broker that falls silent is left after two heartbeats", async () => {
  const clock = new SimulatedClock(0);
  // The clock's turns end when the test says so.
  const turns = setInterval(() => clock.endTurn(), 1);
  using broker = new RecordingBroker();
  const errors: (string | undefined)[] = [];
  const producer = new Producer({
    brokers: [broker.address],
    clock,
    heartbeatMs: 10_000,
    onEvent: (event) => {
      if (event.type === "disconnected") errors.push(event.error?.code);
    },
  });
  await until("the connection", () => producer.connected.length === 1);
  clock.advance(15_000);
  broker.send(0, "_heartbeat_");
  await until("its answer", () => broker.commands.includes("NOP"));
  clock.advance(15_000);
  expect(producer.connected).toHaveLength(1);
  clock.advance(10_000);
  await until("the end", () => errors.length === 1);
  expect(errors).toEqual(["HEARTBEAT_MISSED"]);
  clearInterval(turns);
  const closing = producer.close({ drainMs: 0 });
  clock.advance(2_000);
  await closing;
});

test("a connection that is lost in the moment of its last handshake is made again", async () => {
  let attempts = 0;
  const transport: Transport = {
    hostname: () => "here",
    connect: (_address, events) => {
      attempts++;
      queueMicrotask(() => events.onOpen());
      return {
        waitingBytes: 0,
        write: () => {
          events.onData(encodeFrame(FRAME_TYPE_RESPONSE, "OK"));
          events.onClose(undefined);
          return true;
        },
        startTls: () => {},
        end: () => {},
        destroy: () => {},
      };
    },
  };
  const events: string[] = [];
  const producer = new Producer({ brokers: ["broker:4150"], transport, maxReconnectMs: 5, onEvent: ({ type }) => events.push(type) });
  await until("another attempt", () => attempts > 1);
  expect(events.slice(0, 2)).toEqual(["broker-found", "connect-failed"]);
  await producer.close();
});

test("two brokers that take subscriptions and hang up are not tried as fast as they can be reached", async () => {
  const clock = new SimulatedClock(0);
  using one = new RecordingBroker();
  using other = new RecordingBroker();
  const brokers = [one, other];
  const consumer = new Consumer({ topic: "t", channel: "c", brokers: brokers.map(({ address }) => address), clock });
  void consumer.run(() => {});
  let hungUp = 0;
  let turns = 0;
  // The clock stands still, but for its turns.
  const timer = setInterval(() => {
    turns++;
    clock.endTurn();
    for (const broker of brokers) {
      if (broker.commands.at(-1)?.startsWith("RDY") !== true) continue;
      broker.commands.length = 0;
      broker.cut();
      hungUp++;
    }
  }, 1);
  await until("both were tried", () => hungUp > 1);
  const since = turns;
  await until("there was time for many more attempts", () => turns > since + 200);
  clearInterval(timer);
  expect(hungUp).toBeLessThan(8);
  const closing = consumer.close();
  clock.advance(60_000);
  await closing;
});
