import { UnreadableFile } from "../../broker/storage/disk/unreadable-file.ts";
import type { CommitRun } from "../../broker/storage/log/commit-run.ts";
import { runBelow } from "../../broker/storage/log/commit-run.ts";
import type { DamagedRange } from "../../broker/storage/log/log-repair.ts";
import { isDamage, type Mender } from "../../broker/storage/log/mender.ts";
import { type Mending, PlaceError } from "../../broker/storage/log/mending.ts";
import type { Peer } from "../replication/peer.ts";
import type { PartitionParts, ReplicationParts } from "../replication/replica-parts.ts";
import type { Have, Need } from "./repair-frames.ts";

/** The most bytes of commits in one frame, but for a single commit that has more. */
const RUN_BYTES = 1024 * 1024;
/** A replica that has not answered for this long is asked again. */
const ANSWER_LIMIT_MS = 5_000;
/** How long to wait after something went wrong. */
const AGAIN_MS = 500;

/** What a repair needs to know of its replica. */
export interface RepairedReplica {
  readonly epoch: number;
  readonly isLeading: boolean;
  /** The log has nothing but what the leader of the epoch has. */
  readonly isAgreed: boolean;
  /** What is not below it others may be about to get. */
  readonly highWatermark: number;
  /** Who may have what is damaged here, those first who should: the leader, or its followers. */
  readonly sources: readonly string[];
  /** What was known to be damaged is mended, or lost. */
  onMended(): void;
  /** The log cannot be mended from a sequence on where it is. */
  onMisplaced(sequence: number): void;
  /** The leader's log begins in the middle of what is damaged here. */
  onRemoved(start: number): void;
}

interface Work {
  readonly range: DamagedRange;
  readonly mending: Mending;
  /** Who has said that they do not have what comes next. */
  readonly lacking: Set<string>;
  /** When those may be asked again that could not answer, by the steady clock. */
  readonly askAgainMs: Map<string, number>;
  /** From whom something came. */
  readonly givers: Set<string>;
  asked: { readonly uid: string; readonly untilMs: number } | undefined;
  isFinishing: boolean;
}

/**
 * Gets what is damaged in one partition's log on this broker from its other replicas: a follower from its leader, and a leader from all
 * others. Only when each of them has said that it does not have it, it is lost. What is asked is at most a frame of RUN_BYTES at a time.
 */
export class PartitionRepair implements Mender {
  /** Where something is damaged that is not looked at yet. */
  private readonly queue: number[] = [];
  private work: Work | undefined;
  /** Nobody has these. What was looked for above the high watermark is looked for again below it. */
  private lost: (DamagedRange & { readonly isEarly: boolean })[] = [];
  private isAsked = false;
  private restUntilMs = Number.NEGATIVE_INFINITY;
  /** Damage that the start has found is not mended yet. */
  private isHeldBack = false;

  constructor(
    private readonly parts: ReplicationParts,
    private readonly partition: PartitionParts,
    private readonly replica: RepairedReplica,
  ) {}

  /** What is damaged and not lost. */
  get isBusy(): boolean {
    return this.work !== undefined || this.queue.length > 0;
  }

  /** What the start has found is not mended yet: others must not rely on this log. */
  get holdsBack(): boolean {
    return this.isHeldBack;
  }

  need(from: number, to: number): boolean {
    if (this.isLost(from, to)) return false;
    const { work } = this;
    if (work !== undefined && from < work.range.to && to > work.range.from) return true;
    if (!this.queue.includes(from)) this.queue.push(from);
    // Whoever needs it is in the middle of something.
    this.goOnLater();
    return true;
  }

  /** The log agrees with that of the leader of an epoch, up to its end: what the start has found is to be mended. */
  begin(): void {
    const damaged = this.damagedAtStart();
    this.isHeldBack = damaged.length > 0;
    for (const { from } of damaged) if (!this.queue.includes(from)) this.queue.push(from);
    if (this.isHeldBack) this.goOnLater();
  }

  /** The replica has another role, or another leader. */
  reset(): void {
    this.endWork();
    // Other messages may get these sequences.
    this.lost = this.lost.filter(({ isEarly }) => !isEarly);
    this.isHeldBack = false;
  }

  /** To be called several times a second. */
  review(nowMs: number): void {
    const { work } = this;
    if (work === undefined && this.queue.length === 0 && !this.isHeldBack) return;
    if (work?.asked !== undefined && nowMs > work.asked.untilMs) this.postpone(work, work.asked.uid);
    this.goOn(nowMs);
  }

  /** What another replica needs. */
  onNeed(peer: Peer, { partition, epoch, from, to }: Need): void {
    const answer = peer.isFull ? "later" : this.answer(from, to);
    const run = typeof answer === "string" ? undefined : answer;
    const { start } = this.partition.log;
    peer.send({ kind: "have", partition, epoch, from, answer: typeof answer === "string" ? answer : "records", start, run });
  }

  onHave(peer: Peer, { from, answer, start, run }: Have): void {
    const { work } = this;
    if (work?.asked?.uid !== peer.uid || from !== work.mending.next) return;
    work.asked = undefined;
    if (answer === "removed" && !this.replica.isLeading) this.leave(work, start);
    else if (answer === "lacking" || answer === "removed") work.lacking.add(peer.uid);
    else if (run === undefined) this.postpone(work, peer.uid);
    else this.take(work, peer.uid, run);
    this.goOn(this.nowMs);
  }

  // ---- mending

  private take(work: Work, uid: string, run: CommitRun): void {
    const { catchUp, errors } = this.parts;
    catchUp.take(run.bytes.length);
    try {
      work.mending.add(run);
    } catch (error) {
      errors.error(`PARTITION(${this.partition.name}): what ${uid} sent cannot be used: ${(error as Error).message}`);
      return this.postpone(work, uid);
    }
    work.givers.add(uid);
    work.lacking.clear();
  }

  private postpone(work: Work, uid: string): void {
    work.asked = undefined;
    work.askAgainMs.set(uid, this.nowMs + AGAIN_MS);
  }

  private goOnLater(): void {
    if (this.isAsked) return;
    this.isAsked = true;
    this.parts.clock.callAfterTurn(() => {
      this.isAsked = false;
      this.goOn(this.nowMs);
    });
  }

  private goOn(nowMs: number): void {
    if (!this.replica.isAgreed || nowMs < this.restUntilMs) return;
    this.work ??= this.next();
    const { work } = this;
    if (work === undefined || work.isFinishing || work.asked !== undefined) return;
    if (work.mending.isComplete) this.finish(work);
    else this.ask(work, nowMs);
  }

  private next(): Work | undefined {
    const { log } = this.partition;
    while (this.queue.length > 0) {
      const [sequence] = this.queue;
      try {
        const range = log.repair.damageAt(sequence);
        const mending = range === undefined || this.isLost(range.from, range.to) ? undefined : log.repair.begin(sequence);
        if (range !== undefined && mending !== undefined) {
          this.queue.shift();
          this.tell(range);
          return { range, mending, lacking: new Set(), askAgainMs: new Map(), givers: new Set(), asked: undefined, isFinishing: false };
        }
      } catch (error) {
        this.failed(sequence, error as Error);
        return undefined;
      }
      this.queue.shift();
    }
    this.lookAgain();
    return undefined;
  }

  private tell({ from, to, problem }: DamagedRange): void {
    this.parts.errors.error(
      `PARTITION(${this.partition.name}): messages ${from} to ${to - 1} are damaged (${problem}); they are read from another replica`,
    );
  }

  private ask(work: Work, nowMs: number): void {
    const { parts, partition, replica } = this;
    const candidates = replica.sources.filter((uid) => !work.lacking.has(uid));
    if (candidates.length === 0) return this.giveUp(work);
    if (!parts.catchUp.hasLeft) return;
    for (const uid of candidates) {
      const peer = parts.peers.get(uid);
      if (peer?.isUp !== true || nowMs < (work.askAgainMs.get(uid) ?? nowMs)) continue;
      work.asked = { uid, untilMs: nowMs + ANSWER_LIMIT_MS };
      peer.send({ kind: "need", partition: partition.number, epoch: replica.epoch, from: work.mending.next, to: work.range.to });
      return;
    }
  }

  private finish(work: Work): void {
    const { from, to } = work.range;
    const { next } = work.mending;
    const { logger, counts } = this.parts;
    work.isFinishing = true;
    work.mending.finish((failure) => {
      if (this.work === work) this.work = undefined;
      if (failure instanceof PlaceError) this.replica.onMisplaced(from);
      if (failure !== undefined) this.failed(from, failure);
      else {
        counts.repairedRegions++;
        logger.info(
          `PARTITION(${this.partition.name}): messages ${from} to ${next - 1} are whole again, as ${[...work.givers].join(" and ")} had them`,
        );
        if (next < to) this.queue.unshift(next);
      }
      this.goOnLater();
    });
  }

  /** What could not be mended now is tried again. */
  private failed(sequence: number, error: Error): void {
    this.parts.errors.error(`PARTITION(${this.partition.name}): cannot mend messages from ${sequence} on: ${error.message}; trying again`);
    if (!this.queue.includes(sequence)) this.queue.unshift(sequence);
    this.restUntilMs = this.nowMs + AGAIN_MS;
  }

  private giveUp({ range, mending }: Work): void {
    this.parts.counts.failedRepairs++;
    this.parts.logger.error(
      `PARTITION(${this.partition.name}): messages ${range.from} to ${range.to - 1} are damaged (${range.problem}), and no other replica has ` +
        "them; what cannot be read of them is lost, and skipped",
    );
    this.lost.push({ ...range, isEarly: range.to > this.replica.highWatermark });
    mending.abandon();
    this.work = undefined;
    this.goOnLater();
  }

  /** Nobody needs the messages any more: the leader has removed them. */
  private leave({ range, mending }: Work, start: number): void {
    mending.abandon();
    this.work = undefined;
    if (start < range.to) return this.replica.onRemoved(start);
    this.parts.logger.info(`PARTITION(${this.partition.name}): nobody needs messages ${range.from} to ${range.to - 1} any more`);
    this.lost.push({ ...range, isEarly: false });
  }

  private endWork(): void {
    const { work } = this;
    this.work = undefined;
    if (work === undefined || work.isFinishing) return;
    work.mending.abandon();
    this.queue.unshift(work.range.from);
  }

  /** Nothing is left to do. */
  private lookAgain(): void {
    if (!this.isHeldBack || this.damagedAtStart().length > 0) return;
    this.isHeldBack = false;
    this.replica.onMended();
  }

  private damagedAtStart(): DamagedRange[] {
    return this.partition.log.repair.known().filter(({ from, to }) => !this.isLost(from, to));
  }

  private isLost(from: number, to: number): boolean {
    const { highWatermark } = this.replica;
    if (this.lost.some((range) => range.isEarly && range.to <= highWatermark)) this.lost = this.lost.filter(({ isEarly }) => !isEarly);
    return this.lost.some((range) => from >= range.from && to <= range.to);
  }

  // ---- answering

  private answer(from: number, to: number): CommitRun | Have["answer"] {
    const { log } = this.partition;
    const { isAgreed, isLeading } = this.replica;
    if (!isAgreed) return "later";
    if (from < log.start) return "removed";
    if (from >= log.end) return "lacking";
    try {
      const run = log.commitsFrom(from, RUN_BYTES);
      return run === undefined || run.isGap ? "lacking" : runBelow(run, to);
    } catch (error) {
      if (!(error instanceof UnreadableFile)) throw error;
      // A leader asks all others before it says that; one of these would have to ask the leader.
      return isLeading || !isDamage(error) ? "later" : "lacking";
    }
  }

  private get nowMs(): number {
    return this.parts.clock.steadyMs();
  }
}
