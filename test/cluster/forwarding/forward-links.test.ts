import { expect, test } from "bun:test";
import { systemClock } from "../../../src/base/clock.ts";
import type { ForwardAnswer, ForwardedPublish } from "../../../src/broker/forwarding/forwarded-publish.ts";
import type { LinkAnswer } from "../../../src/broker/forwarding/leader-links.ts";
import { ForwardLinks } from "../../../src/cluster/forwarding/forward-links.ts";
import { ForwardServices } from "../../../src/cluster/forwarding/forward-services.ts";
import { decodeForwardFrame, encodeForwardFrame, type ForwardFrame } from "../../../src/cluster/forwarding/forward-wire.ts";
import type { Connection, ConnectionEvents, Network } from "../../../src/cluster/net/network.ts";
import { SocketNetwork } from "../../../src/cluster/net/socket-network.ts";
import { WireError } from "../../../src/cluster/replication/fields.ts";
import { Peers } from "../../../src/cluster/replication/peers.ts";
import { MemoryLogger } from "../../support/in-process.ts";
import { Random } from "../../support/random.ts";
import { until } from "../../support/server.ts";
import { SimulatedClock } from "../../support/simulated-clock.ts";

const LEADER = "2".repeat(16);
const SENDER = "1".repeat(16);

/** A broker that leads, on a real socket. */
class Leader implements AsyncDisposable {
  readonly published: ForwardedPublish[] = [];
  readonly troubles: string[] = [];
  answers: ((answer: ForwardAnswer) => void)[] = [];
  readonly services: ForwardServices;
  readonly peers: Peers;

  constructor(cluster = "c", uid = LEADER) {
    const network = new SocketNetwork("--replication-address", new MemoryLogger());
    const onTrouble = (_who: string, error: Error) => this.troubles.push(error.message);
    const own = {
      publish: (publish: ForwardedPublish, done: (answer: ForwardAnswer) => void) => {
        this.published.push({ ...publish, messages: Buffer.from(publish.messages) });
        this.answers.push(done);
      },
    };
    this.services = new ForwardServices({ clock: systemClock, cluster, uid, own, knowsKeys: true, onTrouble });
    const hello = { kind: "hello", version: 1, cluster, uid, run: "r" } as const;
    const events = { onUp: () => {}, onDown: () => {}, onFrame: () => {}, onTrouble };
    this.peers = new Peers({ clock: systemClock, network, random: () => 0.5, hello }, "127.0.0.1:0", events, this.services.take);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.services.close();
    this.peers.close();
  }
}

function linksTo(address: () => string | undefined, troubles: string[] = []): ForwardLinks {
  return new ForwardLinks({
    clock: systemClock,
    network: new SocketNetwork("--replication-address", new MemoryLogger()),
    cluster: "c",
    uid: SENDER,
    addressOf: address,
    onTrouble: (_uid, error) => troubles.push(error.message),
  });
}

function publishOf(number: number, bytes = 10): ForwardedPublish {
  const messages = Buffer.alloc(bytes, `${number} `);
  return {
    topic: "t",
    partition: number % 7,
    command: "MPUB",
    key: `k\xff${number}`,
    deferMs: 1.5,
    origin: "café",
    isRecords: true,
    messages,
  };
}

test("publishes of any size arrive in their order, and each gets its own answer", async () => {
  await using leader = new Leader();
  const links = linksTo(() => leader.peers.address);
  const answers = new Map<number, LinkAnswer>();
  const random = new Random(7);
  const sent = Array.from({ length: 500 }, (_, i) => publishOf(i, i === 250 ? 5_000_000 : random.int(1, 3_000)));
  for (const [i, publish] of sent.entries()) links.send(LEADER, publish, (answer) => answers.set(i, answer));
  await until("all to come", () => leader.published.length === sent.length);
  expect(leader.published.every((one, i) => Bun.deepEquals(one, sent[i]))).toBe(true);
  const places = sent.map((_, i) => ({ partition: 3, prefix: 9, sequence: 2 ** 40 + i, position: 2 ** 41 + i }));
  for (const [i, answer] of [...leader.answers.entries()].reverse()) {
    const kinds: ForwardAnswer[] = [
      { kind: "done", place: places[i] },
      { kind: "done", place: undefined },
      { kind: "not-leader" },
      { kind: "refused", reason: "full" },
      { kind: "unknown", reason: `${"ü".repeat(400)}` },
    ];
    answer(kinds[i % kinds.length] as ForwardAnswer);
  }
  await until("all answers", () => answers.size === sent.length);
  expect([0, 1, 2, 3].map((i) => answers.get(i))).toEqual([
    { kind: "done", place: places[0] },
    { kind: "done", place: undefined },
    { kind: "not-leader" },
    { kind: "refused", reason: "full" },
  ]);
  expect(answers.get(4)).toMatchObject({ kind: "unknown", knowsKeys: true });
  links.close();
});

test("a broker that is not alive, or where nobody listens, is told from one that may have a publish", async () => {
  await using leader = new Leader();
  const answers: LinkAnswer[] = [];
  let address: string | undefined;
  const links = linksTo(() => address);
  links.send(LEADER, publishOf(1), (answer) => answers.push(answer));
  await until("an answer", () => answers.length === 1);
  address = "127.0.0.1:1";
  links.send(LEADER, publishOf(2), (answer) => answers.push(answer));
  await until("an answer", () => answers.length === 2);
  expect(answers.every((answer) => answer.kind === "lost" && !answer.wasSent)).toBe(true);
  ({ address } = leader.peers);
  // After an attempt that failed none is made for a moment.
  let asked = answers.length;
  await until("the publish", () => {
    if (answers.length === asked) {
      links.send(LEADER, publishOf(3), (answer) => answers.push(answer));
      asked++;
    }
    return leader.published.length > 0;
  });
  answers.length = 0;
  leader.services.close();
  await until("an answer", () => answers.length === 1);
  expect(answers[0]).toEqual({ kind: "lost", wasSent: true, knowsKeys: true });
  links.send(LEADER, publishOf(4), (answer) => answers.push(answer));
  await until("the publish after it", () => leader.published.length === 2);
  links.close();
  await until("an answer", () => answers.length === 2);
});

test("a broker of another cluster, or another one at the same address, gets nothing", async () => {
  for (const other of [new Leader("d"), new Leader("c", "3".repeat(16))]) {
    await using leader = other;
    const answers: LinkAnswer[] = [];
    const links = linksTo(() => leader.peers.address);
    links.send(LEADER, publishOf(1), (answer) => answers.push(answer));
    await until("an answer", () => answers.length === 1);
    expect(answers).toEqual([{ kind: "lost", wasSent: false, knowsKeys: false }]);
    expect([leader.published.length, leader.troubles.length]).toEqual([0, 1]);
    links.close();
  }
});

/** A connection whose other end a test plays. It accepts only as many bytes as it is told to. */
class PlayedNetwork implements Network {
  readonly received: Buffer[] = [];
  accepts = Number.POSITIVE_INFINITY;
  aborted = 0;
  events: ConnectionEvents | undefined;

  listen(): never {
    throw new Error("nobody listens here");
  }

  connect(_address: string, events: ConnectionEvents): Connection {
    this.events = events;
    return {
      remote: "",
      write: (bytes, offset, length) => {
        const accepted = Math.min(length, this.accepts);
        this.accepts -= accepted;
        this.received.push(Buffer.from(bytes.subarray(offset, offset + accepted)));
        return accepted;
      },
      pause: () => {},
      resume: () => {},
      close: () => {},
      abort: () => this.aborted++,
    };
  }

  say(frame: ForwardFrame): void {
    this.events?.onData(encodeForwardFrame(frame));
  }
}

function playedLink() {
  const clock = new SimulatedClock(0);
  const network = new PlayedNetwork();
  const troubles: string[] = [];
  const onTrouble = (_uid: string, error: Error) => troubles.push(error.message);
  const links = new ForwardLinks({ clock, network, cluster: "c", uid: SENDER, addressOf: () => "there", onTrouble });
  const answers: string[] = [];
  const send = (name: string, bytes = 10) =>
    links.send(LEADER, publishOf(1, bytes), (answer) => {
      answers.push(`${name} ${answer.kind}${answer.kind === "lost" ? (answer.wasSent ? " sent" : " unsent") : ""}`);
    });
  const open = () => {
    network.events?.onOpen();
    network.say({ kind: "welcome", knowsKeys: true });
    clock.endTurn();
  };
  return { clock, network, troubles, answers, send, open };
}

test("only what was given to the connection as a whole may have been carried out", () => {
  const { clock, network, answers, send, open } = playedLink();
  send("1");
  clock.endTurn();
  open();
  network.accepts = 200_000;
  send("2", 150_000);
  send("3", 150_000);
  send("4", 150_000);
  clock.endTurn();
  expect(answers).toEqual([]);
  network.events?.onClosed("reset", "");
  expect(answers).toEqual(["1 lost sent", "2 lost sent", "3 lost unsent", "4 lost unsent"]);
});

test("before the other broker has answered the greeting nothing is sent, and that takes no longer than a second", () => {
  const { clock, network, answers, send } = playedLink();
  send("1");
  network.events?.onOpen();
  clock.advance(900);
  expect(network.received.length).toBe(1);
  clock.advance(200);
  expect([answers, network.aborted]).toEqual([["1 lost unsent"], 1]);
});

test("a broker that does not answer pings is given up after three seconds; one that does may take its time", () => {
  const { clock, network, answers, send, open } = playedLink();
  send("1");
  open();
  for (let second = 0; second < 20; second++) {
    clock.advance(1_000);
    network.say({ kind: "pong" });
  }
  expect(answers).toEqual([]);
  clock.advance(5_000);
  expect(answers).toEqual(["1 lost sent"]);
});

test("a long publish that is being taken in is no silence", () => {
  const { clock, network, answers, send, open } = playedLink();
  send("0");
  open();
  network.accepts = 0;
  send("long", 10_000_000);
  for (let second = 0; second < 10; second++) {
    clock.advance(1_000);
    network.accepts = 1_000_000;
    network.events?.onDrain();
  }
  expect(answers).toEqual([]);
});

test("what no broker answers ends the connection", () => {
  const frames: ForwardFrame[] = [
    { kind: "answer", number: 99, answer: { kind: "not-leader" } },
    { kind: "welcome", knowsKeys: true },
    { kind: "publish", number: 1, publish: { ...publishOf(1), messages: Buffer.alloc(0) } },
  ];
  for (const frame of frames) {
    const { network, troubles, answers, send, open } = playedLink();
    send("1");
    open();
    network.say(frame);
    expect([answers, troubles.length, network.aborted]).toEqual([["1 lost sent"], 1, 1]);
  }
});

test("a delay that is no time is refused", () => {
  for (const deferMs of [-1, Number.NaN, Number.POSITIVE_INFINITY]) {
    const frame = encodeForwardFrame({ kind: "publish", number: 5, publish: { ...publishOf(1), deferMs, messages: Buffer.alloc(0) } });
    expect(() => decodeForwardFrame(frame.subarray(4))).toThrow(`a delay of ${deferMs} ms`);
  }
});

test("damaged frames are refused", () => {
  const random = new Random(11);
  const { messages, ...publish } = publishOf(3);
  const whole = [
    encodeForwardFrame({ kind: "knock", cluster: "c", from: SENDER, to: LEADER }),
    Buffer.concat([encodeForwardFrame({ kind: "publish", number: 5, publish: { ...publish, messages } }), messages]),
    encodeForwardFrame({
      kind: "answer",
      number: 5,
      answer: { kind: "done", place: { partition: 1, prefix: 2, sequence: 3, position: 4 } },
    }),
  ].map((frame) => frame.subarray(4));
  let refused = 0;
  for (let i = 0; i < 5_000; i++) {
    const bytes = Buffer.from(whole[i % whole.length] as Buffer).subarray(0, random.int(1, 60));
    if (random.chance(0.5)) bytes[random.int(0, bytes.length - 1)] = random.int(0, 255);
    try {
      decodeForwardFrame(bytes);
    } catch (error) {
      if (!(error instanceof WireError)) throw error;
      refused++;
    }
  }
  expect(refused).toBeGreaterThan(1_000);
});
