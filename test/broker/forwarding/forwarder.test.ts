import { expect, test } from "bun:test";
import type { ClusterRouting, RoutedTopic } from "../../../src/broker/cluster-routing.ts";
import type { ForwardAnswer, ForwardedPublish, ForwardRequest, MessagePlace } from "../../../src/broker/forwarding/forwarded-publish.ts";
import { Forwarder } from "../../../src/broker/forwarding/forwarder.ts";
import type { LeaderLinks, LinkAnswer } from "../../../src/broker/forwarding/leader-links.ts";
import { SimulatedClock } from "../../support/simulated-clock.ts";

const OURS = "ours";
const MIB = 1024 * 1024;
const LOST_UNSENT: LinkAnswer = { kind: "lost", wasSent: false, knowsKeys: false };
const LOST_SENT: LinkAnswer = { kind: "lost", wasSent: true, knowsKeys: true };
const DONE: ForwardAnswer = { kind: "done", place: undefined };

interface Sent {
  readonly uid: string;
  readonly publish: ForwardedPublish;
  readonly answer: (answer: LinkAnswer) => void;
}

/** A forwarder whose leaders, and what they answer, a test says. */
class Site implements Pick<ClusterRouting, "create" | "listen" | "topic">, LeaderLinks {
  readonly clock = new SimulatedClock(0);
  readonly sent: Sent[] = [];
  /** By topic and partition: who leads; "": nobody. */
  readonly leaders = new Map<string, string[]>();
  keyPartitions: number | undefined;
  readonly created: string[] = [];
  creates: ((failure: Error | undefined) => void)[] = [];
  readonly outcomes: string[] = [];
  readonly forwarder: Forwarder;
  private listener: (topics: ReadonlySet<string>) => void = () => {};
  private readonly own: Sent[] = [];

  constructor(forwards = true) {
    const own = {
      publish: (publish: ForwardedPublish, answer: (answer: ForwardAnswer) => void) => {
        this.own.push({ uid: OURS, publish, answer: (one) => answer(one as ForwardAnswer) });
      },
    };
    this.forwarder = new Forwarder({ routing: this, links: this, own, uid: OURS, clock: this.clock, isWaiting: () => false, forwards });
  }

  topic(name: string): RoutedTopic | undefined {
    const leaders = this.leaders.get(name);
    if (leaders === undefined) return undefined;
    return {
      partitions: leaders.length,
      keyPartitions: this.keyPartitions ?? leaders.length,
      leader: (partition) => {
        const uid = leaders[partition] ?? "";
        return uid === "" ? undefined : { uid, tcp: `${uid}:4150`, http: "", isOurs: uid === OURS };
      },
    };
  }

  create(name: string): Promise<Error | undefined> {
    this.created.push(name);
    return new Promise((resolve) => this.creates.push(resolve));
  }

  listen(changed: (topics: ReadonlySet<string>) => void): () => void {
    this.listener = changed;
    return () => {};
  }

  send(uid: string, publish: ForwardedPublish, answer: (answer: LinkAnswer) => void): void {
    this.sent.push({ uid, publish, answer });
  }

  /** Other brokers lead, and this one hears of it. */
  lead(topic: string, ...leaders: string[]): void {
    this.leaders.set(topic, leaders);
    this.listener(new Set([topic]));
  }

  publish(name: string, more: Partial<ForwardRequest> = {}): void {
    this.forwarder.forward(requestOf(name, more), (failure: Error | undefined, place: MessagePlace | undefined) => {
      const where = place === undefined ? "" : ` at ${place.sequence}`;
      this.outcomes.push(`${name}: ${failure?.message ?? `OK${where}`}`);
    });
  }

  /** The publishes that were given to leaders since the last call, and the broker that each went to. */
  take(): string[] {
    const sent = this.sent.splice(0).map(({ uid, publish }) => `${nameOf(publish)} to ${uid}/${publish.partition}`);
    return [...sent, ...this.own.splice(0).map(({ publish }) => `${nameOf(publish)} here/${publish.partition}`)];
  }

  /** Answers all that leaders have. */
  answer(answer: LinkAnswer): void {
    for (const one of [...this.sent.splice(0), ...this.own.splice(0)]) one.answer(answer);
    this.clock.endTurn();
  }
}

function requestOf(name: string, more: Partial<ForwardRequest> = {}): ForwardRequest {
  const messages = Buffer.from(name);
  const plain = { command: "PUB", key: "", deferMs: 0, origin: "", isRecords: false, partition: undefined, keyHash: undefined } as const;
  return { topic: "t", ...plain, messages, ...more };
}

function nameOf({ messages }: ForwardedPublish): string {
  return messages.toString("latin1", 0, 8).trim();
}

test("a publish goes to the leader of its partition, of its key, or to each leader in turn", () => {
  const site = new Site();
  site.lead("t", "a", "b", "", "c");
  site.keyPartitions = 2;
  site.publish("named", { partition: 3 });
  site.publish("keyed", { keyHash: 5 });
  for (const name of ["1", "2", "3", "4"]) site.publish(name);
  expect(site.take()).toEqual(["named to c/3", "keyed to b/1", "1 to a/0", "2 to b/1", "3 to c/3", "4 to a/0"]);
});

test("the answer tells where the message is, and refusals are passed on", () => {
  const site = new Site();
  site.lead("t", "a");
  site.publish("one");
  site.answer({ kind: "done", place: { partition: 0, prefix: 1, sequence: 7, position: 70 } });
  site.publish("two");
  site.answer({ kind: "refused", reason: "the disk is full" });
  expect(site.outcomes).toEqual(["one: OK at 7", "two: the disk is full"]);
  expect(site.forwarder.counts).toEqual({ forwarded: 1, forwardedBytes: 3, repeated: 0, refused: 1, leaderless: 0, unknown: 0 });
  expect(site.forwarder.heldBytes).toBe(0);
});

test("while nobody leads, publishes wait in their order, and go on as soon as somebody does", () => {
  const site = new Site();
  site.lead("t", "");
  for (const name of ["1", "2", "3"]) site.publish(name, { partition: 0 });
  site.clock.advance(1_000);
  expect(site.take()).toEqual([]);
  site.lead("t", "b");
  expect(site.take()).toEqual(["1 to b/0", "2 to b/0", "3 to b/0"]);
});

test("after three seconds without a leader they are refused", () => {
  const site = new Site();
  site.lead("t", "");
  site.publish("old", { partition: 0 });
  site.clock.advance(2_000);
  site.publish("new", { partition: 0 });
  site.clock.advance(1_100);
  expect(site.outcomes).toEqual(["old: nobody leads partition 0 of topic t now"]);
  site.lead("t", "a");
  site.answer(DONE);
  expect(site.outcomes.slice(1)).toEqual(["new: OK"]);
  expect(site.forwarder.counts.leaderless).toBe(1);
});

test("a topic that the cluster does not have is made once, and publishes to it wait", async () => {
  const site = new Site();
  site.publish("1");
  site.publish("2");
  expect(site.created).toEqual(["t"]);
  site.leaders.set("t", [OURS]);
  site.creates[0]?.(undefined);
  await Promise.resolve();
  await Promise.resolve();
  expect(site.take()).toEqual(["1 here/0", "2 here/0"]);
});

test("why a topic cannot be made is told to all that wait for it", async () => {
  const site = new Site();
  site.publish("1");
  site.publish("2", { keyHash: 1 });
  site.creates[0]?.(new Error("no broker has room"));
  await Promise.resolve();
  await Promise.resolve();
  expect(site.outcomes).toEqual(["1: no broker has room", "2: no broker has room"]);
});

test("a topic that is not made in time is refused with what may be in the way", () => {
  const site = new Site();
  site.publish("1");
  site.clock.advance(10_000);
  expect(site.outcomes).toEqual(["1: topic t is not known here, and was not made in time; etcd may not answer"]);
});

test("if its topic is gone and cannot be made again, what may have been carried out is refused with that", async () => {
  const site = new Site();
  site.lead("t", "a");
  site.publish("known", { key: "k" });
  site.answer(LOST_SENT);
  site.leaders.delete("t");
  site.publish("new");
  site.clock.advance(100);
  expect(site.created).toEqual(["t"]);
  site.creates[0]?.(new Error("etcd is away"));
  await Promise.resolve();
  await Promise.resolve();
  site.clock.endTurn();
  expect(site.outcomes).toHaveLength(2);
  expect(site.outcomes.find((outcome) => outcome.startsWith("known"))).toMatch(/whether the messages were published is not known$/);
  expect(site.outcomes).toContain("new: etcd is away");
});

test("a leader that refuses what an earlier one may have carried out does not make it certain", () => {
  const site = new Site();
  site.lead("t", "a");
  site.publish("1", { key: "k" });
  site.answer(LOST_SENT);
  site.lead("t", "b");
  site.answer({ kind: "refused", reason: "the disk is full" });
  expect(site.outcomes).toEqual([
    "1: the broker that leads partition 0 of topic t went away before it answered: whether the messages were published is not known",
  ]);
});

test("what was surely not carried out goes to the next leader", () => {
  for (const answer of [LOST_UNSENT, { kind: "not-leader" } as const]) {
    const site = new Site();
    site.lead("t", "a");
    for (const name of ["1", "2", "3"]) site.publish(name, { partition: 0 });
    site.answer(answer);
    site.publish("4", { partition: 0 });
    expect(site.take()).toEqual([]);
    site.lead("t", "b");
    expect(site.take()).toEqual(["1 to b/0", "2 to b/0", "3 to b/0", "4 to b/0"]);
    expect(site.outcomes).toEqual([]);
  }
});

test("a leader that cannot be reached is tried again with one publish at a time", () => {
  const site = new Site();
  site.lead("t", "a");
  for (const name of ["1", "2"]) site.publish(name, { partition: 0 });
  site.answer(LOST_UNSENT);
  const tries: string[][] = [];
  for (let ms = 0; ms < 1_000; ms += 50) {
    site.clock.advance(50);
    const sent = site.sent.map(({ publish }) => nameOf(publish));
    if (sent.length > 0) tries.push(sent);
    site.answer(LOST_UNSENT);
  }
  expect(tries.length).toBeGreaterThan(2);
  expect(tries.every((names) => names.length === 1)).toBe(true);
  site.clock.advance(2_500);
  site.answer(DONE);
  site.clock.advance(2_500);
  expect(site.outcomes.length).toBe(2);
});

test("a publish that waits for one broker that is back goes on with all the others", () => {
  const site = new Site();
  site.lead("t", "a");
  for (const name of ["1", "2", "3"]) site.publish(name, { partition: 0 });
  site.answer(LOST_UNSENT);
  site.clock.advance(300);
  expect(site.sent.length).toBe(1);
  site.answer(DONE);
  expect(site.take()).toEqual(["2 to a/0", "3 to a/0"]);
});

test("what may have been carried out is refused with that, and not sent again", () => {
  const site = new Site();
  site.lead("t", "a");
  site.publish("plain", { partition: 0 });
  site.answer(LOST_SENT);
  site.publish("two", { partition: 0 });
  site.lead("t", "b");
  site.answer({ kind: "unknown", reason: "another broker leads", knowsKeys: true });
  expect(site.outcomes).toEqual([
    "plain: the broker that leads partition 0 of topic t went away before it answered: whether the messages were published is not known",
    "two: another broker leads: whether the messages were published is not known",
  ]);
  expect(site.take()).toEqual([]);
  expect(site.forwarder.counts.unknown).toBe(2);
});

test("with an idempotency key it is sent again, to a leader that knows keys", () => {
  const site = new Site();
  site.lead("t", "a");
  site.publish("known", { partition: 0, key: "k" });
  site.answer(LOST_SENT);
  site.lead("t", "b");
  expect(site.take()).toEqual(["known to b/0"]);
  site.publish("other", { partition: 0, key: "k2" });
  site.answer({ ...LOST_SENT, knowsKeys: false } as LinkAnswer);
  expect(site.outcomes).toEqual([
    "other: the broker that leads partition 0 of topic t went away before it answered: whether the messages were published is not known",
  ]);
  expect(site.forwarder.counts.repeated).toBe(1);
});

test("with an idempotency key that its leader does not know it is not sent again", () => {
  const site = new Site();
  site.lead("t", "a");
  site.publish("1", { key: "k" });
  site.answer({ kind: "unknown", reason: "another broker leads", knowsKeys: false });
  site.clock.advance(1_000);
  expect(site.take()).toEqual([]);
  expect(site.outcomes).toEqual(["1: another broker leads: whether the messages were published is not known"]);
});

test("a repeated publish ends, whatever its leaders do", () => {
  const site = new Site();
  site.lead("t", "a");
  site.publish("keyed", { partition: 0, key: "k" });
  for (let i = 0; i < 100 && site.outcomes.length === 0; i++) {
    site.answer(LOST_SENT);
    site.lead("t", i % 2 === 0 ? "b" : "a");
  }
  expect(site.outcomes.length).toBe(1);
  expect(site.outcomes[0]).toContain("whether the messages were published is not known");
});

test("a forwarded publish that no leader takes comes to an end", () => {
  const site = new Site();
  site.lead("t", "a");
  site.publish("hot", { partition: 0 });
  let sends = 0;
  for (let ms = 0; ms < 5_000; ms += 10) {
    sends += site.sent.length;
    site.answer({ kind: "not-leader" });
    site.clock.advance(10);
  }
  expect(site.outcomes).toEqual(["hot: no broker that leads partition 0 of topic t takes publishes"]);
  expect(sends).toBeLessThan(20);
});

test("a broker that leads by the record but does not take publishes yet is not sent to itself", () => {
  const site = new Site();
  site.leaders.set("t", [OURS]);
  const { topic } = site;
  site.topic = (name) => {
    const routed = topic.call(site, name);
    return routed && { ...routed, leader: (partition) => ({ uid: OURS, tcp: "", http: "", isOurs: false, partition }) };
  };
  site.publish("early", { partition: 0 });
  site.clock.advance(500);
  expect(site.take()).toEqual([]);
  site.topic = topic;
  site.lead("t", OURS);
  expect(site.take()).toEqual(["early here/0"]);
});

test("without --cluster-forward what another broker leads is refused, and what is led here is not", () => {
  const site = new Site(false);
  site.lead("t", "a", OURS);
  site.publish("there", { partition: 0 });
  site.publish("here", { partition: 1 });
  site.clock.endTurn();
  expect(site.outcomes).toEqual(["there: the broker at a:4150 leads partition 0 of topic t"]);
  expect(site.take()).toEqual(["here here/1"]);
});

test("a partition that the topic does not have is refused", () => {
  const site = new Site();
  site.lead("t", "a");
  site.publish("odd", { partition: 4 });
  site.clock.endTurn();
  expect(site.outcomes).toEqual(["odd: topic t has no partition 4"]);
});

test("beyond eight mebibytes on their way to a broker there is no room, until it answers, and others have theirs", () => {
  const site = new Site();
  site.lead("t", "a");
  site.lead("u", "b");
  const messages = Buffer.alloc(MIB, "x");
  const calls: number[] = [];
  let given = 0;
  for (; site.forwarder.hasRoom(requestOf("x")); given++) site.publish("x", { messages });
  expect(given).toBe(8);
  for (let i = 0; i < 3; i++) expect(site.forwarder.hasRoom(requestOf("x"), () => calls.push(i))).toBe(false);
  expect(site.forwarder.hasRoom(requestOf("y", { topic: "u" }))).toBe(true);
  site.clock.endTurn();
  expect(calls).toEqual([]);
  site.sent.shift()?.answer(DONE);
  site.clock.endTurn();
  expect(calls).toEqual([0, 1, 2]);
  expect(site.forwarder.hasRoom(requestOf("x"))).toBe(true);
});

test("those that wait for room are called in their order, as many as find some", () => {
  const site = new Site();
  site.lead("t", "a");
  const messages = Buffer.alloc(8 * MIB, "x");
  site.publish("x", { messages });
  const order: number[] = [];
  const client = (i: number) => {
    if (!site.forwarder.hasRoom(requestOf("x"), () => client(i))) return;
    order.push(i);
    site.publish("x", { messages });
  };
  for (let i = 0; i < 3; i++) client(i);
  for (let i = 0; i < 4; i++) {
    expect(order).toEqual([0, 1, 2].slice(0, i));
    site.answer(DONE);
  }
  expect(order).toEqual([0, 1, 2]);
});

test("what waits for leaders is bounded, and its room is given back when it is refused", () => {
  const site = new Site();
  site.lead("t", "");
  let given = 0;
  const messages = Buffer.alloc(MIB, "x");
  for (; site.forwarder.hasRoom(requestOf("x", { partition: 0 })); given++) site.publish("x", { partition: 0, messages });
  expect(given).toBe(32);
  let resumed = false;
  site.forwarder.hasRoom(requestOf("x", { partition: 0 }), () => {
    resumed = true;
  });
  site.clock.advance(3_100);
  expect([resumed, site.outcomes.length, site.forwarder.heldBytes]).toEqual([true, 32, 0]);
});

test("when it closes, what waits is refused, and what was sent is answered when it is", () => {
  const site = new Site();
  site.lead("t", "a", "");
  site.publish("sent", { partition: 0 });
  site.publish("waits", { partition: 1 });
  site.forwarder.close();
  site.publish("late", { partition: 0 });
  site.clock.endTurn();
  expect(site.outcomes).toEqual(["waits: exiting", "late: exiting"]);
  site.answer(DONE);
  expect(site.outcomes.at(-1)).toBe("sent: OK");
});

test("publishes of one partition keep their order while their leader changes again and again", () => {
  const site = new Site();
  site.lead("t", "a");
  const order: string[] = [];
  let number = 0;
  for (let round = 0; round < 50; round++) {
    for (let i = 0; i < 3; i++) site.publish(`${number++}`, { partition: 0 });
    if (round % 3 === 0) site.answer({ kind: "not-leader" });
    else {
      for (const { publish } of site.sent) order.push(nameOf(publish));
      site.answer(DONE);
    }
    site.lead("t", ["a", "", "b"][round % 3]);
    site.clock.advance(20);
  }
  site.lead("t", "a");
  for (const { publish } of site.sent) order.push(nameOf(publish));
  expect(order).toEqual(Array.from({ length: number }, (_, i) => `${i}`));
});
