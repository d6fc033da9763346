import { expect, test } from "bun:test";
import { connect, type Socket } from "node:net";
import { systemClock } from "../../../src/base/clock.ts";
import { ForwardServices } from "../../../src/cluster/forwarding/forward-services.ts";
import { encodeForwardFrame } from "../../../src/cluster/forwarding/forward-wire.ts";
import { SocketNetwork } from "../../../src/cluster/net/socket-network.ts";
import type { Peer } from "../../../src/cluster/replication/peer.ts";
import { Peers } from "../../../src/cluster/replication/peers.ts";
import { encodeFrame, type Frame } from "../../../src/cluster/replication/wire.ts";
import { MemoryLogger } from "../../support/in-process.ts";
import { Random, seedFromEnvironment } from "../../support/random.ts";
import { until } from "../../support/server.ts";

const [ONE, TWO] = ["1".repeat(16), "2".repeat(16)];

/** A broker's replication port, for peers and for publishes that are passed on. */
class Port implements AsyncDisposable {
  readonly logger = new MemoryLogger();
  readonly frames: Frame[] = [];
  published = 0;
  downs = 0;
  readonly peers: Peers;
  private readonly services: ForwardServices;

  constructor(readonly uid: string) {
    const network = new SocketNetwork("replication-address", this.logger);
    const own = { publish: () => this.published++ };
    const onTrouble = () => {};
    this.services = new ForwardServices({ clock: systemClock, cluster: "c", uid, own, knowsKeys: true, onTrouble });
    const hello = { kind: "hello", version: 1, cluster: "c", uid, run: "r" } as const;
    const events = {
      onUp: () => {},
      onDown: () => this.downs++,
      onFrame: (_peer: Peer, frame: Frame) => this.frames.push(frame),
      onTrouble,
    };
    this.peers = new Peers({ clock: systemClock, network, random: () => 0.5, hello }, "127.0.0.1:0", events, this.services.take);
  }

  know({ uid, peers }: Port): void {
    this.peers.know({ uid, run: "r", replication: peers.address });
  }

  /** Connections that have not said who they are. */
  get greetings(): number {
    return (Reflect.get(this.peers, "greetings") as Set<object>).size;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.services.close();
    this.peers.close();
  }
}

/** Two brokers that talk to each other, and a port to the second one. */
async function brokers() {
  const [one, two] = [new Port(ONE), new Port(TWO)];
  one.know(two);
  two.know(one);
  await until("the brokers to meet", () => one.peers.get(TWO)?.isUp === true && two.peers.get(ONE)?.isUp === true);
  const port = Number(two.peers.address.split(":").at(-1));
  const stranger = (): Socket => connect(port, "127.0.0.1").on("error", () => {});
  return {
    one,
    two,
    stranger,
    [Symbol.asyncDispose]: async () => void (await Promise.all([one, two].map((side) => side[Symbol.asyncDispose]()))),
  };
}

/** What somebody may send who is no broker, or one of another release. */
function garbage(random: Random): Buffer {
  const hello = encodeFrame({ kind: "hello", version: 1, cluster: "c", uid: ONE, run: "guessed" });
  const knock = encodeForwardFrame({ kind: "knock", cluster: "c", from: ONE, to: random.pick([ONE, TWO]) });
  const publish = encodeForwardFrame({
    kind: "publish",
    number: 1,
    publish: { topic: "t", partition: 0, command: "MPUB", key: "", deferMs: 0, origin: "", isRecords: false, messages: Buffer.alloc(0) },
  });
  const beat = encodeFrame({ kind: "beat", marks: [{ partition: 1, epoch: 1, highWatermark: 1 }] });
  const noise = Buffer.from(Array.from({ length: random.int(0, 3_000) }, () => random.int(0, 255)));
  const begun = random.pick([hello, knock, beat, publish, noise, Buffer.from("GET / HTTP/1.1\r\n\r\n"), Buffer.from("  V2")]);
  const bytes = Buffer.concat([begun, random.pick([Buffer.alloc(0), noise, beat, publish, hello])]);
  if (random.chance(0.5)) for (let i = random.int(1, 4); i > 0; i--) bytes[random.int(0, bytes.length - 1)] = random.pick([0, 1, 255]);
  return random.chance(0.3) ? bytes.subarray(0, random.int(0, bytes.length)) : bytes;
}

test("whatever strangers send, the brokers go on, and nothing is kept of it", async () => {
  const seed = seedFromEnvironment();
  console.log(`seed ${seed}`);
  const random = new Random(seed);
  await using cluster = await brokers();
  const { one, two } = cluster;
  let closed = 0;
  let sent = 0;
  for (let round = 0; round < 300; round++) {
    const socket = cluster.stranger().on("close", () => closed++);
    const bytes = garbage(random);
    const cut = random.int(0, bytes.length);
    socket.write(bytes.subarray(0, cut), () => {
      if (random.chance(0.5)) socket.write(bytes.subarray(cut));
      else socket.end(bytes.subarray(cut));
    });
    if (random.chance(0.2)) setImmediate(() => socket.destroy());
    socket.resume();
    setTimeout(() => socket.destroy(), 300);
    if (round % 10 !== 0) continue;
    one.peers.get(TWO)?.send({ kind: "lead", partition: 3, epoch: round });
    sent++;
    await until("what a broker sends to come", () => two.frames.filter(({ kind }) => kind === "lead").length === sent);
  }
  await until("all strangers to be gone", () => closed === 300 && two.greetings === 0);
  expect([one.downs, two.downs]).toEqual([0, 0]);
  expect(two.logger.lines.filter((line) => line.includes("defect"))).toEqual([]);
});

test("of many connections that say nothing the oldest are cut, and brokers are let in", async () => {
  await using cluster = await brokers();
  const { one, two } = cluster;
  let closed = 0;
  const sockets = Array.from({ length: 400 }, () => cluster.stranger().on("close", () => closed++));
  await until("some to be cut", () => closed >= 400 - 256);
  expect(two.greetings).toBeLessThanOrEqual(256);
  await using three = new Port("0".repeat(16));
  two.know(three);
  three.know(two);
  await until("a third broker to be let in", () => two.peers.get(three.uid)?.isUp === true);
  expect([one.downs, two.downs]).toEqual([0, 0]);
  for (const socket of sockets) socket.destroy();
});
