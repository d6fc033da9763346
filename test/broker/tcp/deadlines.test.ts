import { afterEach, expect, test } from "bun:test";
import { Connection } from "../../../src/broker/tcp/connection.ts";
import type { Transport } from "../../../src/broker/tcp/transport/tls.ts";
import { TimedBroker } from "../../support/timed-broker.ts";

/** Nothing may be later than this. */
const LATE_MS = 5;

/** A client without a socket: what it gets is noted with the time. */
class Client implements Transport {
  readonly connection: Connection;
  readonly heartbeatsMs: number[] = [];
  cutMs = 0;
  endedMs = 0;
  answersHeartbeats = true;
  /** Takes no bytes. */
  isFull = false;
  received = "";

  constructor(
    private readonly timed: Timed,
    id: number,
  ) {
    const { listener } = timed.broker;
    this.connection = new Connection(timed.broker, listener, id, this, `127.0.0.1:${id}`);
    listener.connections.set(id, this.connection);
    this.send("  V2");
  }

  write(bytes: Uint8Array, offset: number, length: number): number {
    if (this.isFull) return 0;
    const text = Buffer.from(bytes.buffer, bytes.byteOffset + offset, length).toString("latin1");
    this.received += text;
    if (text.includes("_heartbeat_")) {
      this.heartbeatsMs.push(this.timed.nowMs);
      if (this.answersHeartbeats) this.timed.clock.callAfterTurn(() => this.send("NOP\n"));
    }
    return length;
  }

  end(): void {
    this.endedMs = this.timed.nowMs;
  }

  terminate(): void {
    this.cutMs = this.timed.nowMs;
    this.connection.onSocketClosed();
    this.timed.broker.listener.connections.delete(this.connection.id);
  }

  pause(): void {}
  resume(): void {}

  send(text: string): void {
    this.connection.receive(Buffer.from(text, "latin1"));
  }

  identify(identity: object): void {
    const body = JSON.stringify(identity);
    const size = Buffer.alloc(4);
    size.writeUInt32BE(body.length);
    this.send(`IDENTIFY\n${size.toString("latin1")}${body}`);
    this.timed.clock.endTurn();
  }
}

/** A broker with clients that have no sockets. */
class Timed extends TimedBroker {
  private clients = 0;

  client(): Client {
    return new Client(this, ++this.clients);
  }
}

let timed: Timed;

afterEach(() => timed.end());

function expectNear(actualMs: number, expectedMs: number): void {
  expect(actualMs).toBeGreaterThanOrEqual(expectedMs);
  expect(actualMs).toBeLessThanOrEqual(expectedMs + LATE_MS);
}

test.each([1000, 1001, 1370, 2000])("heartbeats come each %p ms, and not later", (intervalMs) => {
  timed = new Timed();
  // The survey has a rhythm of its own.
  timed.clock.advance(137);
  const client = timed.client();
  client.identify({ heartbeat_interval: intervalMs });
  const startMs = timed.nowMs;
  timed.clock.advance(20 * intervalMs + 100);
  expect(client.heartbeatsMs).toHaveLength(20);
  for (const [i, atMs] of client.heartbeatsMs.entries()) expectNear(atMs, startMs + (i + 1) * intervalMs);
});

test("a client that does not identify itself gets its heartbeats on time, too", () => {
  timed = new Timed();
  timed.clock.advance(77);
  const client = timed.client();
  timed.clock.advance(90_100);
  expect(client.heartbeatsMs).toHaveLength(3);
  // Those of thousands of clients are sent together, up to a 500th of their interval late.
  for (const [i, atMs] of client.heartbeatsMs.entries()) expect(atMs - 77 - (i + 1) * 30_000).toBeWithin(0, 63);
});

test("a silent client is cut after two intervals, to the millisecond", () => {
  timed = new Timed();
  timed.clock.advance(33);
  const client = timed.client();
  client.answersHeartbeats = false;
  client.identify({ heartbeat_interval: 1111 });
  const startMs = timed.nowMs;
  timed.clock.advance(400);
  client.send("NOP\n");
  timed.clock.advance(3000);
  expectNear(client.cutMs, startMs + 400 + 2222);
  expect(timed.log.matching(/i\/o timeout/)).toHaveLength(1);
});

test("a client that reads nothing is cut after one interval", () => {
  timed = new Timed();
  const client = timed.client();
  client.identify({ heartbeat_interval: 1500 });
  timed.clock.advance(611);
  client.isFull = true;
  client.send("SUB t c\n");
  timed.clock.endTurn();
  const stalledMs = timed.nowMs;
  timed.clock.advance(5000);
  expectNear(client.cutMs, stalledMs + 1500);
  expect(timed.log.matching(/write stalled/)).toHaveLength(1);
});

test("a client that does not leave is cut 2 s after it was told to, and 30 s if it does not read that", () => {
  timed = new Timed();
  const [leaving, full] = [timed.client(), timed.client()];
  for (const client of [leaving, full]) client.identify({ heartbeat_interval: -1 });
  timed.clock.advance(111);
  full.isFull = true;
  const startMs = timed.nowMs;
  for (const client of [leaving, full]) client.send("NONSENSE\n");
  timed.clock.advance(40_000);
  expectNear(leaving.endedMs, startMs);
  expectNear(leaving.cutMs, startMs + 2000);
  expectNear(full.cutMs, startMs + 30_000);
});

test("a message times out and is delivered again within some ms", () => {
  timed = new Timed();
  timed.clock.advance(91);
  const client = timed.client();
  client.identify({ msg_timeout: 1234, heartbeat_interval: 60000 });
  client.send("SUB t c\nRDY 1\n");
  timed.clock.endTurn();
  void timed.broker.publishing.publish(timed.broker.registry.topic("t").partitions[0], "", Buffer.from("body"), 0);
  timed.clock.endTurn();
  const deliveries = () => client.received.split("body").length - 1;
  expect(deliveries()).toBe(1);
  timed.clock.advance(1233);
  expect(deliveries()).toBe(1);
  timed.clock.advance(1 + LATE_MS);
  expect(deliveries()).toBe(2);
});

test("thousands of idle clients wake the broker no more than some dozen times a second", () => {
  timed = new Timed();
  for (let i = 0; i < 3000; i++) {
    if (i % 10 === 0) timed.clock.advance(1);
    timed.client();
  }
  timed.clock.advance(31_000);
  const { turn } = timed.broker;
  const { onWake } = turn;
  let wakes = 0;
  turn.onWake = () => {
    wakes++;
    onWake();
  };
  timed.clock.advance(10_000);
  expect(wakes).toBeLessThan(220);
});

// ---- after a stall

test.each([600, 60_000])("what came while the process was stopped for %d ms is read before clients are cut and messages time out", (ms) => {
  timed = new Timed();
  const client = timed.client();
  client.identify({ msg_timeout: 2000, heartbeat_interval: 1000 });
  client.send("SUB t c\nRDY 5\n");
  timed.clock.endTurn();
  const topic = timed.broker.registry.topic("t");
  for (const body of ["finished", "touched", "left"]) void timed.broker.publishing.publish(topic.partitions[0], "", Buffer.from(body), 0);
  timed.clock.endTurn();
  const ids = [...client.received.matchAll(/[0-9a-f]{16}(?=finished|touched|left)/g)].map(([id]) => id);
  expect(ids).toHaveLength(3);
  // They have been out for so long that they time out meanwhile.
  timed.clock.advance(1_700);
  timed.clock.stall(ms);
  timed.clock.onPoll = () => {
    timed.clock.onPoll = () => {};
    client.send(`FIN ${ids[0]}\nTOUCH ${ids[1]}\n`);
  };
  timed.clock.advance(10);
  const channel = topic.channel("c");
  expect(client.cutMs).toBe(0);
  expect(timed.log.matching(/E_FIN_FAILED|E_TOUCH_FAILED/)).toEqual([]);
  // The one that was left has timed out, and is delivered again.
  expect([channel.timeoutCount, channel.inFlightCount]).toEqual([1, 2]);
  expect(client.received.split("left").length - 1).toBe(2);
});

test("a client that had nothing to answer while the process was stopped stays", () => {
  timed = new Timed();
  const client = timed.client();
  client.identify({ heartbeat_interval: 1000 });
  timed.clock.stall(60_000);
  timed.clock.advance(10);
  expect([client.cutMs, client.heartbeatsMs.length]).toEqual([0, 1]);
  timed.clock.advance(5000);
  expect(client.cutMs).toBe(0);
  expect(client.heartbeatsMs).toHaveLength(6);
});

test("a client that is dead all the same is cut two intervals after a stall", () => {
  timed = new Timed();
  const client = timed.client();
  client.answersHeartbeats = false;
  client.identify({ heartbeat_interval: 1000 });
  timed.clock.stall(60_000);
  timed.clock.advance(1000);
  expect(client.cutMs).toBe(0);
  timed.clock.advance(1500);
  expect(client.cutMs).toBeGreaterThan(0);
});

test("a loop that is held up again and again still meets deadlines", () => {
  timed = new Timed();
  const client = timed.client();
  client.identify({ msg_timeout: 1000, heartbeat_interval: 60000 });
  client.send("SUB t c\nRDY 5\n");
  void timed.broker.publishing.publish(timed.broker.registry.topic("t").partitions[0], "", Buffer.from("body"), 0);
  timed.clock.endTurn();
  for (let i = 0; i < 5; i++) {
    timed.clock.stall(3000);
    timed.clock.advance(5);
  }
  expect(timed.broker.registry.topic("t").channel("c").timeoutCount).toBe(5);
});
