import type { Clock } from "../../base/clock.ts";
import type { Etcd } from "../etcd/etcd.ts";
import { MAX_TXN_OPERATIONS } from "../etcd/etcd.ts";
import { EtcdError } from "../etcd/etcd-error.ts";
import { SHAPES } from "../state/records.ts";
import type { Leader } from "./leader.ts";
import type { Replica } from "./replica.ts";

/** How long the right lasts from when etcd was asked. It must be the same for all brokers of a cluster. */
const RIGHT_MS = 3_000;
/** How much two clocks may differ in what they take for a second. */
const DRIFT = 0.02;
/** After this long nobody has a right any more that etcd confirmed before. */
export const RIGHTS_END_MS = RIGHT_MS * (1 + DRIFT);

/**
 * Whether a leader may hand out messages of an ordered partition. One that is cut off does not hear that another one leads, so being the
 * leader is not enough: etcd has to have said so within the last three seconds. A new leader waits for as long, unless the one before has
 * said that it follows, or its process is gone: so two never hand out at the same time.
 */
export class OrderRight {
  /** It was asked for. */
  isAsked = false;
  private untilMs = Number.NEGATIVE_INFINITY;
  /** A machine that was suspended may find its steady clock where it was, but not its wall clock. */
  private untilWallMs = Number.NEGATIVE_INFINITY;
  private fromMs: number;
  /** Somebody was refused since it was last said to begin. */
  private isAwaited = true;

  /** @param former who may still have the right; "": nobody, undefined: it is not known */
  constructor(
    private readonly clock: Clock,
    readonly former: string | undefined,
  ) {
    this.fromMs = former === "" ? Number.NEGATIVE_INFINITY : this.waitFrom(clock.steadyMs());
  }

  private waitFrom(nowMs: number): number {
    return nowMs + RIGHTS_END_MS;
  }

  get holds(): boolean {
    const nowMs = this.clock.steadyMs();
    return nowMs >= this.fromMs && nowMs < this.untilMs && this.clock.wallMs() < this.untilWallMs;
  }

  /** Etcd had this broker as the leader, some time after it was asked. */
  confirmed(sentMs: number, sentWallMs: number): void {
    this.untilMs = sentMs + RIGHT_MS * (1 - DRIFT);
    this.untilWallMs = sentWallMs + RIGHT_MS * (1 - DRIFT);
  }

  /** The leader before hands out nothing any more. */
  formerEnded(): void {
    this.fromMs = Number.NEGATIVE_INFINITY;
  }

  /** Whether messages may be handed out now. Whoever is refused hears of it by begins(). @param isForbidden for another reason */
  permits(isForbidden: boolean): boolean {
    const isPermitted = !isForbidden && this.holds;
    if (!isPermitted) this.isAwaited = true;
    return isPermitted;
  }

  /** @returns whether it holds, and somebody was refused before. It may have ended and begun again since this was called last */
  begins(isForbidden: boolean): boolean {
    if (!this.isAwaited || isForbidden || !this.holds) return false;
    this.isAwaited = false;
    return true;
  }
}

/** Asks etcd whether this broker still leads the ordered partitions that it leads. */
export class OrderRights {
  constructor(
    private readonly etcd: Etcd,
    private readonly clock: Clock,
    private readonly uid: string,
  ) {}

  /** @param isTime false: only those that were not asked for yet */
  ask(replicas: Iterable<Replica>, isTime: boolean): void {
    const asked: { replica: Replica; leading: Leader }[] = [];
    for (const replica of replicas) {
      const { leading } = replica;
      if (leading === undefined || replica.partition.host.isOrdered !== true || (leading.order.isAsked && !isTime)) continue;
      leading.order.isAsked = true;
      asked.push({ replica, leading });
    }
    for (let from = 0; from < asked.length; from += MAX_TXN_OPERATIONS) void this.askEtcd(asked.slice(from, from + MAX_TXN_OPERATIONS));
  }

  private async askEtcd(asked: readonly { readonly replica: Replica; readonly leading: Leader }[]): Promise<void> {
    const [sentMs, sentWallMs] = [this.clock.steadyMs(), this.clock.wallMs()];
    const known = asked.map(({ replica }) => ({ key: replica.partition.key, modRevision: replica.stored?.modRevision ?? 0 }));
    const result = await this.etcd.txn(
      known,
      [],
      known.map(({ key }) => ({ get: key })),
    );
    if (result instanceof EtcdError) return;
    for (const [i, { leading }] of asked.entries()) {
      const entry = result.entries[i];
      const isUnchanged = result.succeeded || entry?.modRevision === known[i].modRevision;
      if (isUnchanged || this.isLed(entry?.value, leading.epoch)) leading.confirmed(sentMs, sentWallMs);
    }
  }

  private isLed(value: string | undefined, epoch: number): boolean {
    const record = value === undefined ? undefined : SHAPES.partitions.read(value);
    return record !== undefined && !(record instanceof Error) && record.leader === this.uid && record.epoch === epoch;
  }
}
