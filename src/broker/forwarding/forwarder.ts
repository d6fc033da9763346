import type { Clock, Timer } from "../../base/clock.ts";
import { EXITING, LeaderError } from "../acks/pending-publish.ts";
import type { ClusterRouting, PartitionLeader, RoutedTopic } from "../cluster-routing.ts";
import { type ForwardAnswer, type ForwardedPublish, type ForwardRequest, heldBytes, type MessagePlace } from "./forwarded-publish.ts";
import type { LeaderLinks, LinkAnswer } from "./leader-links.ts";
import { RoomQueues } from "./room-queues.ts";

/** How long a publish waits while nobody leads its partition, or its leader cannot be reached: a fail-over takes less. */
const PATIENCE_MS = 3_000;
/** How often it is looked whether a publish that waits can go on, besides whenever leaders change. */
const REVIEW_MS = 50;
/** A broker that did not lead after all, or could not be reached, gets no publish to that partition for this long, unless leaders change. */
const AVOIDED_MS = 200;
/** How often a publish is sent again of which it is not known whether it was carried out. */
const MAX_DOUBTS = 4;
/** Bytes on their way to one broker. Beyond them the clients that publish there are not read. */
const TARGET_LIMIT_BYTES = 8 * 1024 * 1024;
/** Bytes of publishes that wait for leaders. Beyond them the clients that publish to such partitions are not read. */
const WAITING_LIMIT_BYTES = 32 * 1024 * 1024;

/** The partitions that this broker leads. */
export interface OwnPartitions {
  /** @param done called once, perhaps from within this call */
  publish(publish: ForwardedPublish, done: (answer: ForwardAnswer) => void): void;
}

export interface ForwarderParts {
  readonly routing: Pick<ClusterRouting, "create" | "listen" | "topic">;
  readonly links: LeaderLinks;
  readonly own: OwnPartitions;
  /** This broker's data path uid. */
  readonly uid: string;
  readonly clock: Clock;
  /** Whether this broker has a topic of an earlier run that it cannot open yet. */
  readonly isWaiting: (topic: string) => boolean;
  /** False: what another broker leads is refused. A publish still waits for a topic that is being made, and for a change of leader. */
  readonly forwards: boolean;
}

/** What became of a publish: `place` is undefined for one that repeated an earlier one. */
export type ForwardDone = (failure: Error | undefined, place: MessagePlace | undefined) => void;

/** Where a publish is to go. */
type Target = Pick<ForwardRequest, "topic" | "partition" | "keyHash">;

/** A partition and its leader. */
interface Led extends PartitionLeader {
  readonly partition: number;
}

/** A publish until it is answered. */
interface Entry {
  readonly request: ForwardRequest;
  readonly bytes: number;
  readonly done: ForwardDone;
  /** When it is refused if it still waits then, by the steady clock. */
  untilMs: number;
  wasSent: boolean;
  /** How often it was not known whether it had been carried out, and why at last. */
  doubts: number;
  doubt: string;
  /** Why it does not go on. */
  reason: string;
}

/** Publishes that wait for one partition, in their order. */
interface Lane {
  readonly topic: string;
  readonly entries: Entry[];
}

/** Counts since the start. */
export interface ForwardCounts {
  /** Publishes that other brokers have acknowledged, and their bytes. */
  forwarded: number;
  forwardedBytes: number;
  /** Those that had to be sent again. */
  repeated: number;
  /** Those that were refused: by a leader, because nobody led in time, and because it is not known what came of them. */
  refused: number;
  leaderless: number;
  unknown: number;
}

/**
 * Has publishes carried out that this broker cannot carry out itself: by the broker that leads their partition, or by itself once it
 * leads. Each waits while nobody does, for a bounded time.
 *
 * It is sent a second time only if it is sure that the first one did nothing, or if it has an idempotency key that the leader knows.
 */
export class Forwarder {
  readonly counts: ForwardCounts = { forwarded: 0, forwardedBytes: 0, repeated: 0, refused: 0, leaderless: 0, unknown: 0 };
  private readonly lanes = new Map<string, Lane>();
  private readonly creating = new Map<string, Promise<Error | undefined>>();
  private readonly room: RoomQueues;
  private timer: Timer | undefined;
  /** The partition that the last publish to a topic went to which may go to any. */
  private readonly turns = new Map<string, number>();
  /** By topic: until when which brokers are avoided for which of its partitions, by the steady clock. */
  private readonly avoided = new Map<string, Map<string, number>>();
  private readonly unlisten: () => void;
  private isClosed = false;

  constructor(private readonly parts: ForwarderParts) {
    this.room = new RoomQueues(parts.clock, { target: TARGET_LIMIT_BYTES, waiting: WAITING_LIMIT_BYTES });
    this.unlisten = parts.routing.listen((topics) => {
      for (const topic of topics) this.avoided.delete(topic);
      this.resume((lane) => topics.has(lane.topic));
      this.room.wakeAll();
    });
  }

  /** Refuses what waits, and whatever comes. What was sent is answered when it is answered. */
  close(): void {
    this.isClosed = true;
    this.unlisten();
    if (this.timer !== undefined) this.parts.clock.cancel(this.timer);
    for (const { entries } of [...this.lanes.values()]) for (const entry of entries) this.refuse(entry);
    this.lanes.clear();
    this.room.wakeAll();
  }

  /** The topic of the cluster that has a name; undefined: none has. */
  topic(name: string): RoutedTopic | undefined {
    return this.parts.routing.topic(name);
  }

  /** Makes a topic of the cluster. @returns once somebody leads it; an error if that did not come to be. It never rejects */
  make(topic: string): Promise<Error | undefined> {
    let making = this.creating.get(topic);
    if (making === undefined) {
      making = this.parts.routing.create(topic).finally(() => this.creating.delete(topic));
      this.creating.set(topic, making);
    }
    return making;
  }

  /** Whether this broker has a topic of an earlier run that it cannot open yet. */
  isWaiting(name: string): boolean {
    return this.parts.isWaiting(name);
  }

  /** Bytes that wait for a leader or for its answer. */
  get heldBytes(): number {
    return this.room.heldBytes;
  }

  /**
   * Whether a publish may be given to forward() now.
   *
   * @param resume called once there may be room; it then asks again. Undefined: the caller does not wait
   */
  hasRoom(request: Target, resume?: () => void): boolean {
    const leader = this.laneFor(request) === undefined ? this.leaderOf(request) : undefined;
    const target = leader?.uid === this.parts.uid ? undefined : leader?.uid;
    if (this.room.has(target)) return true;
    if (resume !== undefined) this.room.wait(target, resume);
    return false;
  }

  /** @param done called once, never from within this call */
  forward(request: ForwardRequest, done: ForwardDone): void {
    const untilMs = this.parts.clock.steadyMs() + PATIENCE_MS;
    const entry: Entry = { request, bytes: heldBytes(request), done, untilMs, wasSent: false, doubts: 0, doubt: "", reason: "" };
    const lane = this.laneFor(request);
    this.room.take(undefined, entry.bytes);
    if (this.isClosed) this.parts.clock.callAfterTurn(() => this.settle(entry, new LeaderError(EXITING, "E_FAILED_ON_NOT_LEADER")));
    else if (lane !== undefined) lane.entries.push(entry);
    else if (!this.tryEntry(entry)) this.wait(entry);
  }

  // ---- where a publish goes

  /** The partition that a publish goes to now, and its leader. @returns undefined: nobody leads it, or any */
  private leaderOf({ topic: name, partition, keyHash }: Target): Led | undefined {
    const topic = this.parts.routing.topic(name);
    if (topic === undefined) return undefined;
    if (partition === undefined && keyHash === undefined) return this.anyLeader(name, topic);
    const index = partition ?? (keyHash ?? 0) % topic.keyPartitions;
    const leader = index < topic.partitions ? topic.leader(index) : undefined;
    return leader && { ...leader, partition: index };
  }

  private anyLeader(name: string, topic: RoutedTopic): Led | undefined {
    const last = this.turns.get(name) ?? -1;
    for (let i = 1; i <= topic.partitions; i++) {
      const partition = (last + i) % topic.partitions;
      const leader = topic.leader(partition);
      if (leader === undefined || (leader.uid === this.parts.uid && !leader.isOurs)) continue;
      if (!this.isAvoided(name, leader.uid, partition)) return { ...leader, partition };
    }
    return undefined;
  }

  private isAvoided(topic: string, uid: string, partition: number): boolean {
    const untilMs = this.avoided.get(topic)?.get(`${partition} ${uid}`);
    return untilMs !== undefined && untilMs > this.parts.clock.steadyMs();
  }

  private avoid(topic: string, uid: string, partition: number): void {
    let places = this.avoided.get(topic);
    if (places === undefined) {
      places = new Map();
      this.avoided.set(topic, places);
    }
    places.set(`${partition} ${uid}`, this.parts.clock.steadyMs() + AVOIDED_MS);
  }

  /** A broker carries publishes out. */
  private trust({ topic, partition }: ForwardedPublish, uid: string): void {
    if (this.avoided.get(topic)?.delete(`${partition} ${uid}`) !== true) return;
    if (this.avoided.get(topic)?.size === 0) this.avoided.delete(topic);
    this.resume((lane) => lane.topic === topic);
  }

  /** @returns false: it has to wait */
  private tryEntry(entry: Entry): boolean {
    const { request } = entry;
    const { topic: name, partition, keyHash } = request;
    const topic = this.parts.routing.topic(name);
    if (topic === undefined) return this.makeTopic(entry);
    if (partition !== undefined && partition >= topic.partitions) {
      this.later(entry, new LeaderError(`topic ${name} has no partition ${partition}`, "E_FAILED_ON_NOT_LEADER"));
      return true;
    }
    const leader = this.leaderOf(request);
    // By its record this broker may lead a partition before it takes publishes to it, or when it takes none any more.
    if (leader === undefined || (leader.uid === this.parts.uid && !leader.isOurs)) {
      entry.reason = `nobody leads ${this.laneOf(request)} now`;
      return false;
    }
    if (this.isAvoided(name, leader.uid, leader.partition)) return false;
    // The next ones wait to see how this one fares.
    if (this.avoided.size > 0 && this.avoided.get(name)?.has(`${leader.partition} ${leader.uid}`) === true) {
      this.avoid(name, leader.uid, leader.partition);
    }
    if (partition === undefined && keyHash === undefined) this.turns.set(name, leader.partition);
    const publish: ForwardedPublish = { ...request, partition: leader.partition };
    if (leader.isOurs) this.carryOut(entry, leader.uid, publish);
    else if (!this.parts.forwards) {
      const where = leader.tcp === "" ? "another broker" : `the broker at ${leader.tcp}`;
      this.later(entry, new LeaderError(`${where} leads partition ${leader.partition} of topic ${name}`, "E_FAILED_ON_NOT_LEADER"));
    } else this.send(entry, leader.uid, publish);
    return true;
  }

  private makeTopic(entry: Entry): boolean {
    const { topic } = entry.request;
    entry.reason = `topic ${topic} is not known here, and was not made in time; etcd may not answer`;
    if (this.creating.has(topic)) return false;
    void this.make(topic).then((failure) => {
      if (failure === undefined) return this.resume((lane) => lane.topic === topic);
      for (const [name, lane] of [...this.lanes]) {
        if (lane.topic !== topic) continue;
        this.lanes.delete(name);
        for (const waiting of lane.entries) this.fail(waiting, new LeaderError(failure.message, "E_FAILED_ON_NOT_WRITABLE"));
      }
    });
    return false;
  }

  // ---- carrying it out

  private carryOut(entry: Entry, uid: string, publish: ForwardedPublish): void {
    let isInCall = true;
    this.parts.own.publish(publish, (answer) => {
      // This broker has taken the key, so it knows keys.
      const known = answer.kind === "unknown" ? { ...answer, knowsKeys: true } : answer;
      if (isInCall) this.parts.clock.callAfterTurn(() => this.answered(entry, uid, publish, known));
      else this.answered(entry, uid, publish, known);
    });
    isInCall = false;
  }

  private send(entry: Entry, uid: string, publish: ForwardedPublish): void {
    if (entry.wasSent) this.counts.repeated++;
    entry.wasSent = true;
    this.room.give(undefined, entry.bytes);
    this.room.take(uid, entry.bytes);
    this.parts.links.send(uid, publish, (answer) => {
      this.room.give(uid, entry.bytes);
      this.room.take(undefined, entry.bytes);
      if (answer.kind === "done") {
        this.counts.forwarded++;
        this.counts.forwardedBytes += publish.messages.length;
      }
      this.answered(entry, uid, publish, answer);
    });
  }

  private answered(entry: Entry, uid: string, publish: ForwardedPublish, answer: LinkAnswer): void {
    const { topic, partition } = publish;
    if (answer.kind === "not-leader" || answer.kind === "lost") this.avoid(topic, uid, partition);
    else if (this.avoided.size > 0) this.trust(publish, uid);
    switch (answer.kind) {
      case "done":
        return this.settle(entry, undefined, answer.place);
      case "refused":
        if (entry.doubts === 0) this.counts.refused++;
        return this.fail(entry, new LeaderError(answer.reason, "E_FAILED_ON_NOT_WRITABLE"));
      case "not-leader":
        entry.reason = `no broker that leads partition ${partition} of topic ${topic} takes publishes`;
        return this.again(entry);
      case "unknown":
        return this.again(entry, answer.reason, answer.knowsKeys && isRecognizable(publish));
      case "lost":
        entry.reason = `the broker that leads partition ${partition} of topic ${topic} cannot be reached`;
        if (!answer.wasSent) return this.again(entry);
        return this.again(
          entry,
          `the broker that leads partition ${partition} of topic ${topic} went away before it answered`,
          answer.knowsKeys && isRecognizable(publish),
        );
    }
  }

  /**
   * @param doubt why it is not known whether the publish was carried out; undefined: it surely was not
   * @param isRecognized a repetition would be recognized by its key
   */
  private again(entry: Entry, doubt?: string, isRecognized = false): void {
    const nowMs = this.parts.clock.steadyMs();
    if (doubt !== undefined) {
      if (!isRecognized || ++entry.doubts > MAX_DOUBTS || this.isClosed) {
        this.counts.unknown++;
        return this.settle(entry, unknownOutcome(doubt));
      }
      entry.reason = entry.doubt = doubt;
      // The next leader may take as long to come as any.
      entry.untilMs = nowMs + PATIENCE_MS;
    }
    if (this.isClosed || entry.untilMs <= nowMs) return this.refuse(entry);
    this.wait(entry);
  }

  // ---- waiting

  private laneFor(request: Target): Lane | undefined {
    return this.lanes.size === 0 ? undefined : this.lanes.get(this.laneOf(request));
  }

  /** Names what a publish waits for. Those of one partition keep their order. */
  private laneOf({ topic, partition, keyHash }: Target): string {
    if (partition === undefined && keyHash === undefined) return `topic ${topic}`;
    const keyPartitions = this.parts.routing.topic(topic)?.keyPartitions;
    const index = partition ?? (keyPartitions && (keyHash ?? 0) % keyPartitions);
    return `partition ${index ?? "of a key"} of topic ${topic}`;
  }

  private wait(entry: Entry): void {
    const name = this.laneOf(entry.request);
    const lane = this.lanes.get(name);
    if (lane === undefined) this.lanes.set(name, { topic: entry.request.topic, entries: [entry] });
    else {
      // What was sent before came before what was not.
      const behind = entry.wasSent ? lane.entries.findIndex(({ wasSent }) => !wasSent) : -1;
      lane.entries.splice(behind < 0 ? lane.entries.length : behind, 0, entry);
    }
    this.timer ??= this.parts.clock.callAfter(REVIEW_MS, () => this.review());
  }

  private review(): void {
    this.timer = undefined;
    const nowMs = this.parts.clock.steadyMs();
    for (const [name, lane] of [...this.lanes]) {
      const late = lane.entries.filter(({ untilMs }) => untilMs <= nowMs);
      if (late.length > 0) lane.entries.splice(0, lane.entries.length, ...lane.entries.filter(({ untilMs }) => untilMs > nowMs));
      if (lane.entries.length === 0) this.lanes.delete(name);
      for (const entry of late) this.refuse(entry);
    }
    this.resume(() => true);
    if (this.lanes.size > 0 && !this.isClosed) this.timer ??= this.parts.clock.callAfter(REVIEW_MS, () => this.review());
  }

  /** Lets publishes go on whose leaders may be there now. */
  private resume(concerns: (lane: Lane) => boolean): void {
    for (const [name, lane] of [...this.lanes]) {
      if (!concerns(lane)) continue;
      let gone = 0;
      while (gone < lane.entries.length && this.tryEntry(lane.entries[gone])) gone++;
      lane.entries.splice(0, gone);
      if (lane.entries.length === 0 && this.lanes.get(name) === lane) this.lanes.delete(name);
    }
  }

  private refuse(entry: Entry): void {
    if (entry.doubts === 0) this.counts.leaderless++;
    this.fail(entry, new LeaderError(this.isClosed ? EXITING : entry.reason, "E_FAILED_ON_NOT_LEADER"));
  }

  private later(entry: Entry, failure: LeaderError): void {
    this.parts.clock.callAfterTurn(() => this.fail(entry, failure));
  }

  /** @param failure why it was not carried out this time. An earlier attempt may have been, of which it is not known. */
  private fail(entry: Entry, failure: LeaderError): void {
    if (entry.doubts === 0) return this.settle(entry, failure);
    this.counts.unknown++;
    this.settle(entry, unknownOutcome(entry.doubt));
  }

  private settle(entry: Entry, failure: Error | undefined, place?: MessagePlace): void {
    this.room.give(undefined, entry.bytes);
    entry.done(failure, place);
  }
}

/** Whether the next leader recognizes a repetition. Keys go to replicas with the messages of a log, and a deferred one is in none yet. */
function isRecognizable({ key, command, deferMs }: ForwardedPublish): boolean {
  return key !== "" && (command !== "DPUB" || deferMs === 0);
}

function unknownOutcome(why: string): LeaderError {
  return new LeaderError(`${why}: whether the messages were published is not known`, undefined);
}
