import { expect, test } from "bun:test";
import { type AddressInfo, createServer } from "node:net";
import { systemClock } from "../../../src/base/clock.ts";
import { SocketNetwork } from "../../../src/cluster/net/socket-network.ts";
import type { Peer } from "../../../src/cluster/replication/peer.ts";
import { Peers } from "../../../src/cluster/replication/peers.ts";
import { encodeFrame, type Frame, MAX_FRAME_BYTES } from "../../../src/cluster/replication/wire.ts";
import { MemoryLogger } from "../../support/in-process.ts";
import { until } from "../../support/server.ts";

/** A broker's peers, on real sockets, and what they tell. */
class Side implements AsyncDisposable {
  readonly frames: Frame[] = [];
  readonly troubles: string[] = [];
  ups = 0;
  downs = 0;
  readonly peers: Peers;

  constructor(
    readonly uid: string,
    cluster = "c",
    address = "127.0.0.1:0",
    readonly run = "r",
  ) {
    const network = new SocketNetwork("--replication-address", new MemoryLogger());
    const hello = { kind: "hello", version: 1, cluster, uid, run } as const;
    this.peers = new Peers({ clock: systemClock, network, random: () => 0.5, hello }, address, {
      onUp: () => this.ups++,
      onDown: () => this.downs++,
      onFrame: (_peer, frame) => this.frames.push(frame),
      onTrouble: (_who, error) => this.troubles.push(error.message),
    });
  }

  meet(...others: Side[]): void {
    for (const { uid, run, peers } of others) this.peers.know({ uid, run, replication: peers.address });
  }

  peer(other: Side): Peer {
    return this.peers.get(other.uid) as Peer;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.peers.close();
  }
}

test("two brokers have one connection, and frames of any size come whole and in order", async () => {
  await using one = new Side("1".repeat(16));
  await using two = new Side("2".repeat(16));
  one.meet(two);
  two.meet(one);
  await until("the brokers to notice", () => one.peer(two).isUp && two.peer(one).isUp);
  const bytes = Buffer.alloc(3 * 1024 * 1024, "abc");
  const commit = { firstSequence: 0, count: 1, length: bytes.length, timeMs: 1, crc: 2 };
  const run = { isGap: false, epoch: 1, startsSegment: true, commits: [commit], bytes } as const;
  for (let i = 0; i < 10; i++) two.peer(one).send({ kind: "append", partition: i, epoch: 1, highWatermark: 0, run });
  expect(two.peer(one).isFull).toBe(true);
  two.peer(one).sendEnd({ partition: 1, epoch: 1, end: 5, synced: 4, state: 2 });
  two.peer(one).sendEnd({ partition: 1, epoch: 1, end: 6, synced: 4, state: -1 });
  one.peer(two).send({ kind: "lead", partition: 3, epoch: 4 });
  await until("the brokers to notice", () => one.frames.length === 11 && two.frames.length === 1);
  expect(
    one.frames.slice(0, 10).every((frame, i) => frame.kind === "append" && frame.partition === i && frame.run.bytes.equals(bytes)),
  ).toBe(true);
  expect(one.frames[10]).toEqual({ kind: "ends", ends: [{ partition: 1, epoch: 1, end: 6, synced: 4, state: -1 }] });
  expect([one.ups, two.ups, one.downs, two.downs]).toEqual([1, 1, 0, 0]);
});

test("a broker whose process is gone is refused, and met again when it is back", async () => {
  await using one = new Side("1".repeat(16));
  await using two = new Side("2".repeat(16));
  const three = new Side("3".repeat(16));
  for (const side of [one, two, three]) side.meet(one, two, three);
  await until("the brokers to notice", () => one.ups + two.ups + three.ups === 6);
  const { address } = three.peers;
  three.peers.close();
  await until("the brokers to notice", () => one.peer(three).isRefused && two.peer(three).isRefused);
  expect([one.peer(two).isRefused, one.downs, two.downs]).toEqual([false, 1, 1]);
  await using back = new Side(three.uid, "c", address);
  back.meet(one, two);
  await until("the brokers to notice", () => one.peer(three).isUp && two.peer(three).isUp);
  expect(one.peer(three).isRefused).toBe(false);
});

test("a broker of another cluster is not talked to", async () => {
  await using one = new Side("1".repeat(16), "mine");
  await using two = new Side("2".repeat(16), "theirs");
  one.meet(two);
  await until("the brokers to notice", () => two.troubles.length > 1);
  expect(two.troubles[0]).toBe('it is of the cluster "mine", and not "theirs"');
  expect([one.ups, two.ups]).toEqual([0, 0]);
});

test("a broker whose data path was emptied does not take itself for the one that was at its address", async () => {
  await using one = new Side("1".repeat(16));
  const [former, later] = ["2".repeat(16), "3".repeat(16)];
  one.peers.know({ uid: former, run: "r", replication: one.peers.address });
  one.peers.know({ uid: one.uid, run: "r", replication: one.peers.address });
  one.peers.know({ uid: later, run: "r", replication: one.peers.address });
  expect([one.peers.get(former)?.address, one.peers.get(later)?.address]).toEqual(["", ""]);
});

test("a broker is talked to when etcd has this run of it, and before that it waits", async () => {
  await using one = new Side("1".repeat(16));
  await using two = new Side("2".repeat(16));
  // Somebody who has seen a uid, but does not know what etcd has.
  await using stranger = new Side(one.uid, "c", "127.0.0.1:0", "guessed");
  stranger.meet(two);
  one.meet(two);
  const waiting = () => [...(Reflect.get(two.peers, "greetings") as Set<object>)].filter((one) => Reflect.get(one, "hello") !== undefined);
  await until("both to have said who they are", () => waiting().length === 2);
  expect([one.ups, stranger.ups, two.ups, two.peers.get(one.uid)]).toEqual([0, 0, 0, undefined]);
  two.meet(one);
  await until("the brokers to notice", () => one.ups === 1 && two.ups === 1);
  expect([waiting().length, two.downs, stranger.ups]).toEqual([1, 0, 0]);
});

test("a connection whose other end takes too little is given up, and another one is made", async () => {
  await using one = new Side("1".repeat(16));
  await using two = new Side("2".repeat(16));
  one.meet(two);
  two.meet(one);
  await until("the brokers to notice", () => one.peer(two).isUp && two.peer(one).isUp);
  const run = { isGap: false, epoch: 1, startsSegment: true, commits: [], bytes: Buffer.alloc(MAX_FRAME_BYTES / 4) } as const;
  const frame = encodeFrame({ kind: "append", partition: 1, epoch: 1, highWatermark: 0, run });
  const outgoing = Reflect.get(two.peer(one), "outgoing") as { queuedBytes: number };
  for (let i = 0; i < 100; i++) two.peer(one).sendEncoded(frame);
  expect(outgoing.queuedBytes).toBeLessThan(2 * MAX_FRAME_BYTES);
  expect(two.troubles[0]).toBe("it does not take what it is sent");
  await until("another connection", () => one.ups === 2 && two.ups === 2);
});

test("a process that stands still does not keep the connections that were to find out whether it is there", async () => {
  let [open, knocks] = [0, 0];
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    knocks++;
    open++;
    socket.on("error", () => {}).on("close", () => open--);
    socket.resume();
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  await using two = new Side("2".repeat(16));
  const { port } = server.address() as AddressInfo;
  two.peers.know({ uid: "1".repeat(16), run: "r", replication: `127.0.0.1:${port}` });
  await until("two knocks", () => knocks >= 2);
  await until("the first one to be over", () => open < 2);
  server.close();
});
