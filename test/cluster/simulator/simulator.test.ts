import { expect, test } from "bun:test";
import type { CloseReason, Connection, ConnectionEvents, Network } from "../../../src/cluster/net/network.ts";
import { playSchedules } from "./schedules.ts";
import { NO_NETWORK_FAULTS } from "./sim-network.ts";
import type { SimNode } from "./sim-node.ts";
import { SimWorld } from "./sim-world.ts";

const NAMES = ["a", "b", "c"];
const PORT = ":1";

/** Sends numbered messages of 4 bytes to another node, over one connection after the other. */
class Sender implements ConnectionEvents {
  connection: Connection | undefined;
  readonly closed: CloseReason[] = [];
  isOpen = false;
  next = 0;
  private rest = Buffer.alloc(0);

  constructor(
    readonly world: SimWorld,
    readonly node: SimNode,
    readonly to: string,
    readonly network: Network,
    /** Names the connection in what is received. */
    readonly id: number,
  ) {
    this.connection = network.connect(to + PORT, this);
  }

  onOpen(): void {
    this.isOpen = true;
    this.send();
  }
  onData(): void {}
  onDrain(): void {
    this.flush();
  }
  onClosed(reason: CloseReason): void {
    this.isOpen = false;
    this.closed.push(reason);
    this.world.note(`${this.node.name}>${this.to} ${this.id} ${reason} after ${this.next}`);
  }

  send(): void {
    if (!this.isOpen) return;
    const message = Buffer.alloc(8);
    message.writeUInt32BE(this.id, 0);
    message.writeUInt32BE(this.next++, 4);
    this.rest = Buffer.concat([this.rest, message]);
    this.flush();
  }

  private flush(): void {
    const accepted = this.connection?.write(this.rest, 0, this.rest.length) ?? 0;
    this.rest = this.rest.subarray(accepted);
  }
}

/** Takes the messages of one connection, which must come in order and whole. */
class Receiver implements ConnectionEvents {
  expected = 0;
  id = -1;
  private rest = Buffer.alloc(0);

  constructor(
    readonly world: SimWorld,
    readonly node: SimNode,
    readonly received: Map<number, number>,
  ) {}

  onOpen(): void {}
  onDrain(): void {}
  onData(bytes: Buffer): void {
    this.rest = Buffer.concat([this.rest, bytes]);
    for (; this.rest.length >= 8; this.rest = this.rest.subarray(8)) {
      this.id = this.rest.readUInt32BE(0);
      const number = this.rest.readUInt32BE(4);
      if (number !== this.expected) throw new Error(`message ${number} of connection ${this.id} came instead of ${this.expected}`);
      this.expected++;
      this.received.set(this.id, this.expected);
    }
  }
  onClosed(reason: CloseReason): void {
    this.world.note(`${this.node.name} ${this.id} ${reason} after ${this.expected}`);
  }
}

/** A schedule without a program of ours in it: nodes that send to each other, while everything happens to them. */
function play(seed: number): string[] {
  const world = new SimWorld(seed);
  const { time, random, network } = world;
  network.faults = world.randomNetworkFaults();
  const received = new Map<number, number>();
  const nodes = new Map<string, SimNode>();
  const senders: Sender[] = [];
  const start = (name: string) => {
    const node = world.node(name);
    nodes.set(name, node);
    network.of(node).listen(name + PORT, () => new Receiver(world, node, received));
  };
  for (const name of NAMES) start(name);
  const connect = (from: string) => {
    const node = nodes.get(from) as SimNode;
    senders.push(new Sender(world, node, random.pick(NAMES), network.of(node), senders.length));
  };
  for (const name of NAMES) connect(name);
  for (let step = 0; step < 60; step++) {
    const name = random.pick(NAMES);
    const node = nodes.get(name) as SimNode;
    const what = random.next();
    if (what < 0.05) network.cut(name, random.pick(NAMES));
    else if (what < 0.1) network.healAll();
    else if (what < 0.13) node.pause();
    else if (what < 0.18) node.resume();
    else if (what < 0.22 && node.isAlive) network.end(node, random.chance(0.3));
    else if (what < 0.3 && !node.isAlive) {
      network.lightUp(name);
      start(name);
    } else if (what < 0.4 && node.isAlive) connect(name);
    else if (what < 0.43) random.pick(senders).connection?.abort();
    else if (what < 0.46) random.pick(senders).connection?.close();
    else for (const sender of senders) for (let i = random.int(0, 5); i > 0; i--) sender.send();
    time.advance(random.int(0, 100));
  }
  // Afterwards what is still connected works, and what is not has been told so.
  network.faults = NO_NETWORK_FAULTS;
  network.healAll();
  for (const name of NAMES) {
    network.lightUp(name);
    nodes.get(name)?.resume();
  }
  for (let i = 0; i < 3; i++) {
    time.advance(5_000);
    for (const sender of senders) sender.send();
  }
  time.advance(5_000);
  for (const sender of senders) {
    if (!sender.node.isAlive) continue;
    if (sender.closed.length > 1) throw new Error(`connection ${sender.id} was closed twice`);
    if (sender.closed.length === 1) continue;
    if (!sender.isOpen) throw new Error(`connection ${sender.id} neither opened nor failed`);
    if (received.get(sender.id) !== sender.next)
      throw new Error(`connection ${sender.id}: ${received.get(sender.id)} of ${sender.next} came`);
  }
  world.note(`${time.count} events`);
  return world.trace;
}

test("whatever happens, a connection brings what was sent in order, or ends at both ends that live", () => {
  playSchedules(300, play);
});

test("a seed plays the same schedule again, and another one another", () => {
  const one = play(7);
  expect(one.length).toBeGreaterThan(5);
  expect(play(7)).toEqual(one);
  expect(play(8)).not.toEqual(one);
});

/** Two nodes with a connection between them. */
function pair(world: SimWorld): { near: SimNode; far: SimNode; sender: Sender; received: Map<number, number> } {
  const [near, far] = [world.node("near"), world.node("far")];
  const received = new Map<number, number>();
  world.network.of(far).listen("far:1", () => new Receiver(world, far, received));
  const sender = new Sender(world, near, "far", world.network.of(near), 0);
  world.time.advance(100);
  expect(received.get(0)).toBe(1);
  return { near, far, sender, received };
}

test("a cut holds one direction back, and what was sent comes when it is healed", () => {
  const world = new SimWorld(1);
  const { sender, received } = pair(world);
  world.network.cut("near", "far");
  for (let i = 0; i < 9; i++) sender.send();
  world.time.advance(60_000);
  expect(received.get(0)).toBe(1);
  world.network.heal("near", "far");
  world.time.advance(100);
  expect([received.get(0), sender.closed]).toEqual([10, []]);
});

test("a connection that is asked for through a cut waits, and is refused or opened when it is healed", () => {
  const world = new SimWorld(2);
  const { near, sender } = pair(world);
  world.network.cut("far", "near");
  const other = new Sender(world, near, "far", world.network.of(near), 1);
  const refused = new Sender(world, near, "nobody", world.network.of(near), 2);
  world.time.advance(60_000);
  expect([other.isOpen, other.closed, refused.closed]).toEqual([false, [], ["refused"]]);
  world.network.healAll();
  world.time.advance(100);
  expect([other.isOpen, sender.closed]).toEqual([true, []]);
});

test("whose process ends is known at once, whose machine ends only when it has power again", () => {
  for (const isDark of [false, true]) {
    const world = new SimWorld(3);
    const { near, far, sender } = pair(world);
    world.network.end(far, isDark);
    world.time.advance(1_000);
    sender.send();
    const again = new Sender(world, near, "far", world.network.of(near), 1);
    world.time.advance(60_000);
    expect([sender.closed.length, again.closed]).toEqual(isDark ? [0, []] : [1, ["refused"]]);
    world.network.lightUp("far");
    world.time.advance(1_000);
    expect([sender.closed.length, again.closed]).toEqual([1, ["refused"]]);
  }
});

test("a process that stands still takes what came meanwhile when it goes on", () => {
  const world = new SimWorld(4);
  const { far, sender, received } = pair(world);
  far.pause();
  for (let i = 0; i < 9; i++) sender.send();
  world.time.advance(60_000);
  expect(received.get(0)).toBe(1);
  far.resume();
  world.time.advance(100);
  expect(received.get(0)).toBe(10);
});

test("clocks go at their own rates, are set, and go on while their process stands still", () => {
  const world = new SimWorld(5);
  const node = world.node("a");
  const [steadyMs, wallMs] = [node.steadyMs(), node.wallMs()];
  const called: number[] = [];
  node.setRate(2);
  node.callAfter(100, () => called.push(node.steadyMs() - steadyMs));
  world.time.advance(49);
  expect(called).toEqual([]);
  world.time.advance(1);
  expect(called).toEqual([100]);
  node.setWallClock(-1_000_000);
  node.pause();
  node.callAfter(100, () => called.push(node.steadyMs() - steadyMs));
  world.time.advance(500);
  expect(called).toEqual([100]);
  expect([node.steadyMs() - steadyMs, node.wallMs() - wallMs]).toEqual([1_100, 1_100 - 1_000_000]);
  node.resume();
  world.time.advance(0);
  expect(called).toEqual([100, 1_100]);
});
