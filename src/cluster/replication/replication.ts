import type { Clock, Timer } from "../../base/clock.ts";
import type { Logger } from "../../base/logger.ts";
import { RateLimitedLog } from "../../base/rate-limited-log.ts";
import { Election } from "../election/election.ts";
import type { Etcd } from "../etcd/etcd.ts";
import type { Network } from "../net/network.ts";
import { Scrubber } from "../repair/scrubber.ts";
import type { RemovalRecord } from "../state/records.ts";
import { ByteRate } from "./byte-rate.ts";
import { Departures } from "./departures.ts";
import type { TakeConnection } from "./greeting.ts";
import { InSyncLog } from "./in-sync-log.ts";
import { OrderRights } from "./order-right.ts";
import type { Peer } from "./peer.ts";
import { Peers } from "./peers.ts";
import { RecordWriter } from "./record-writer.ts";
import { Replica } from "./replica.ts";
import type { ReplicaMemory } from "./replica-log.ts";
import type { PartitionParts, ReplicationParts, ReplicationSettings } from "./replica-parts.ts";
import { ReplicationCounts } from "./replica-status.ts";
import type { Hello, Lead } from "./wire.ts";

/** How often it is looked whether a leader is gone; every second time replicas are reviewed, and every fourth time peers hear a beat. */
const PULSE_MS = 50;
const PULSES_PER_REVIEW = 2;
const PULSES_PER_BEAT = 4;
/** As often etcd is asked whether this broker still leads ordered partitions. */
const PULSES_PER_RIGHT = 20;
/** How often changes of in-sync sets are logged. */
const PULSES_PER_LOG = 20;
/** A pulse that comes later than this means that the process stood still. */
const STALL_MS = 250;

export interface ReplicationOptions {
  readonly clock: Clock;
  readonly etcd: Etcd;
  readonly network: Network;
  /** A number in [0, 1). */
  readonly random: () => number;
  readonly hello: Hello;
  /** Where other brokers reach this one. */
  readonly address: string;
  readonly settings: ReplicationSettings & { readonly catchUpBytesPerSecond: number; readonly scrubMs: number };
  readonly lease: { readonly holds: boolean };
  /** Whether a data path's broker has its key in etcd, as far as that is known. */
  readonly isAlive: (uid: string) => boolean;
  /** How a data path is being removed, as far as that is known; undefined: it is not. */
  readonly removalOf?: (uid: string) => Pick<RemovalRecord, "replacedBy"> | undefined;
  readonly logger: Logger;
  /** Takes connections of other brokers that are for something else. */
  readonly takeOther?: TakeConnection;
  /** Saves the epochs of many partitions at once, before each of them would save its own. @throws what the disk throws */
  readonly saveEpochs?: (epochs: ReadonlyMap<ReplicaMemory, number>) => void;
}

/** All replicas of this broker. */
export class Replication {
  readonly peers: Peers;
  readonly counts = new ReplicationCounts();
  private readonly inSyncLog: InSyncLog;
  private readonly byNumber = new Map<number, Replica>();
  private readonly byKey = new Map<string, Replica>();
  /** By the numbers of partitions. */
  private leads = new Map<number, { readonly peer: Peer; readonly frame: Lead }>();
  private readonly parts: ReplicationParts;
  private readonly election: Election;
  private readonly scrubber: Scrubber;
  private readonly orderRights: OrderRights;
  private readonly departures: Departures;
  private timer: Timer | undefined;
  private pulses = 0;
  /** The last number of ReplicationParts.nextAsk. */
  private asks = 0;
  private pulsedMs: number;

  constructor(private readonly options: ReplicationOptions) {
    const { clock, etcd, network, random, hello, address, settings, lease, logger } = options;
    const errors = new RateLimitedLog(logger, () => clock.steadyMs());
    // Whatever they send, what goes wrong here is told.
    const strangers = new RateLimitedLog(logger, () => clock.steadyMs());
    this.inSyncLog = new InSyncLog(logger, this.counts);
    this.peers = new Peers(
      { clock, network, random, hello },
      address,
      {
        onUp: (peer) => this.each((replica) => replica.peerUp(peer)),
        onDown: (peer) => this.each((replica) => replica.peerDown(peer)),
        onTrouble: (who, error) => (this.peers.get(who) === undefined ? strangers : errors).error(`PEER(${who}): ${error.message}`),
        onFrame: (peer, frame) => {
          if (frame.kind === "ends") for (const end of frame.ends) this.byNumber.get(end.partition)?.onEnd(peer, end);
          else if (frame.kind === "beat") for (const mark of frame.marks) this.byNumber.get(mark.partition)?.onMark(peer, mark);
          else if (frame.kind === "lead") this.onLead(peer, frame);
          else {
            // It may be the answer of one who has said before that it leads.
            if (this.leads.has(frame.partition)) this.takeLeads();
            this.byNumber.get(frame.partition)?.onFrame(peer, frame);
          }
        },
      },
      options.takeOther,
    );
    const writer = new RecordWriter(etcd, clock, (epochs) => {
      this.saveEpochs([...epochs].flatMap(([key, epoch]) => epochOf(this.byKey.get(key), epoch)));
    });
    const catchUp = new ByteRate(clock, settings.catchUpBytesPerSecond);
    const { peers, counts, inSyncLog } = this;
    // What is known of etcd may be old: who is connected is there.
    const isThere = (uid: string) => options.isAlive(uid) || peers.get(uid)?.isUp === true;
    this.departures = new Departures(clock, isThere, options.removalOf ?? (() => undefined));
    const isGone = (uid: string) => this.departures.isGone(uid);
    const nextAsk = () => {
      this.asks = (this.asks + 1) >>> 0;
      return this.asks;
    };
    this.parts = { uid: hello.uid, clock, settings, peers, writer, lease, isGone, nextAsk, catchUp, counts, logger, inSyncLog, errors };
    this.orderRights = new OrderRights(etcd, clock, hello.uid);
    this.election = new Election(this.parts, options.isAlive);
    this.scrubber = new Scrubber(settings.scrubMs, () => this.byNumber.values(), counts);
    this.pulsedMs = clock.steadyMs();
  }

  start(): void {
    this.timer = this.options.clock.callAfter(PULSE_MS, () => this.pulse());
  }

  close(): void {
    if (this.timer !== undefined) this.options.clock.cancel(this.timer);
    for (const number of [...this.byNumber.keys()]) this.remove(number);
    this.parts.writer.close();
    this.peers.close();
  }

  /** All partitions that this broker takes part in. */
  get replicas(): Iterable<Replica> {
    return this.byNumber.values();
  }

  /** @param number the prefix of its message ids @returns undefined: this broker does not have it */
  replica(number: number): Replica | undefined {
    return this.byNumber.get(number);
  }

  /** Takes part in a partition. Its record is to be given to it next. */
  add(partition: PartitionParts): Replica {
    const replica = new Replica(this.parts, partition);
    this.byNumber.set(partition.number, replica);
    this.byKey.set(partition.key, replica);
    return replica;
  }

  /** Ends this broker's part in a partition. @param number the prefix of its message ids */
  remove(number: number): void {
    const replica = this.byNumber.get(number);
    if (replica === undefined) return;
    replica.close();
    this.byNumber.delete(number);
    this.byKey.delete(replica.partition.key);
  }

  /**
   * Hands over all partitions that this broker leads, for a broker that is to stop. Publishes to them wait meanwhile.
   *
   * @param limitMs how long others may take to catch up
   * @param done gets the names of those that it still leads, and why
   */
  drain(limitMs: number, done: (failures: ReadonlyMap<string, Error>) => void): void {
    const failures = new Map<string, Error>();
    const leading = [...this.byNumber.values()].filter((replica) => replica.leading !== undefined);
    let left = leading.length;
    if (left === 0) return done(failures);
    for (const replica of leading) {
      replica.handOver(undefined, limitMs, (failure) => {
        if (failure !== undefined) failures.set(replica.partition.name, failure);
        if (--left === 0) done(failures);
      });
    }
  }

  /** Those that came in one turn are taken together: a broker that takes over has hundreds of partitions at once. */
  private onLead(peer: Peer, frame: Lead): void {
    if (this.leads.has(frame.partition)) this.takeLeads();
    this.leads.set(frame.partition, { peer, frame });
    if (this.leads.size === 1) this.options.clock.callAfterTurn(() => this.takeLeads());
  }

  private takeLeads(): void {
    const leads = [...this.leads.values()];
    this.leads.clear();
    this.saveEpochs(leads.flatMap(({ frame }) => epochOf(this.byNumber.get(frame.partition), frame.epoch)));
    for (const { peer, frame } of leads) this.byNumber.get(frame.partition)?.onFrame(peer, frame);
  }

  /** Each replica saves its own where this fails. */
  private saveEpochs(epochs: readonly (readonly [ReplicaMemory, number])[]): void {
    try {
      this.options.saveEpochs?.(new Map(epochs));
    } catch (error) {
      this.parts.errors.error(`epochs cannot be saved: ${(error as Error).message}`);
    }
  }

  private each(action: (replica: Replica) => void): void {
    for (const replica of this.byNumber.values()) action(replica);
  }

  private pulse(): void {
    this.timer = this.options.clock.callAfter(PULSE_MS, () => this.pulse());
    const nowMs = this.options.clock.steadyMs();
    const sinceMs = nowMs - this.pulsedMs;
    if (sinceMs > STALL_MS) this.forgiveSilence(nowMs);
    this.pulsedMs = nowMs;
    this.pulses++;
    this.departures.review();
    if (this.pulses % PULSES_PER_REVIEW === 0) this.each((replica) => replica.review(nowMs));
    if (this.pulses % PULSES_PER_LOG === 0) this.inSyncLog.flush();
    if (this.pulses % PULSES_PER_BEAT === 0) {
      this.each(({ leading }) => leading?.markBeat());
      for (const peer of this.peers.all()) peer.beat();
    }
    this.orderRights.ask(this.byNumber.values(), this.pulses % PULSES_PER_RIGHT === 0);
    this.election.look(nowMs, this.byNumber.values());
    this.scrubber.step(nowMs, sinceMs - PULSE_MS);
  }

  /** This process stood still, and has not read what others said meanwhile. */
  private forgiveSilence(nowMs: number): void {
    for (const peer of this.peers.all()) peer.forgiveSilence(nowMs);
    this.each(({ leading }) => leading?.forgiveSilence(nowMs));
  }
}

/** @returns nothing for a partition that this broker does not have, or that knows a newer epoch */
function epochOf(replica: Replica | undefined, epoch: number): [ReplicaMemory, number][] {
  return replica === undefined || replica.partition.memory.epoch >= epoch ? [] : [[replica.partition.memory, epoch]];
}
