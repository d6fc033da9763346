import type { Clock, Timer } from "../../base/clock.ts";
import type { Etcd, EtcdEntry, EtcdWatch } from "../etcd/etcd.ts";
import { EtcdError } from "../etcd/etcd-error.ts";
import { Lease } from "./lease.ts";
import type { Records } from "./records.ts";
import type { Shape } from "./shape.ts";

/** How long to wait before the own key is looked at again. */
const AGAIN_MS = 200;
/** Another owner's key that stays for this many times a lease is not about to end. */
const PATIENCE_LEASES = 2;
/** A key of our own uid most likely is of an earlier run of ours, which lasts longer if etcd is away for a while. */
const PATIENCE_LEASES_OF_OURS = 5;

/** What a broker and a lookup server have of their own in etcd. */
type OwnRecord = Records["brokers"] | Records["lookups"];

export interface MembershipEvents {
  /** The own key is in etcd; again each time that it was lost and put back. */
  onJoined(): void;
  /** The lease may have ended; see Lease. */
  onLapsed(): void;
  onRenewed(): void;
  /** The own key is gone with its lease. It is put again with another one. */
  onLost(): void;
  /** It cannot be a member: another one has its id, or has taken it over. Nothing is tried any more. */
  onRefused(error: Error): void;
  onTrouble(error: EtcdError): void;
}

/**
 * Keeps the own key in etcd, on a lease of its own. Two processes with one id would be taken for one, so:
 * - a key of another uid is waited for until its lease has ended; if it does not end, this process is refused
 * - a key of the same uid is of an earlier run of this process, whose data path is locked by us: it is taken over at once
 * - of a data path that is an older copy of itself, the key of the same uid may be of a process that uses another copy: it is waited for, too
 * - a process whose key is taken over (its disk was copied, or its network is cut and its data path is elsewhere now) is refused
 */
export class Membership<R extends OwnRecord> {
  readonly lease: Lease;
  private record: R;
  /** The revision of the own key; 0: it is not there. */
  private modRevision = 0;
  private waitsSinceMs: number | undefined;
  private hasJoined = false;
  private isCopy = false;
  private isFollowed = false;
  private isBusy = false;
  private isStale = false;
  private isEnded = false;
  private timer: Timer | undefined;
  private watch: EtcdWatch | undefined;

  constructor(
    private readonly etcd: Etcd,
    private readonly clock: Clock,
    private readonly key: string,
    private readonly shape: Shape<R>,
    record: R,
    private readonly leaseMs: number,
    private readonly events: MembershipEvents,
  ) {
    this.record = record;
    this.lease = new Lease(etcd, clock, leaseMs, {
      onGranted: () => this.put(),
      onLapsed: () => events.onLapsed(),
      onRenewed: () => events.onRenewed(),
      onGone: () => this.lost(),
      onTrouble: (error) => events.onTrouble(error),
    });
  }

  /** @param isCopy the data path is an older copy of itself: see RunClaim */
  start(isCopy = false): void {
    this.isCopy = isCopy;
    this.lease.start();
  }

  /** Says something else of itself, such as its load. What is said last counts. */
  update(changes: Partial<R>): void {
    this.record = { ...this.record, ...changes };
    if (this.modRevision > 0) this.put();
  }

  /** Removes the own key, so that nobody waits for the lease to end. @returns once etcd has answered, or did not in its time */
  async leave(): Promise<void> {
    this.end();
    if (this.modRevision === 0) return;
    await this.etcd.txn([{ key: this.key, modRevision: this.modRevision }], [{ remove: this.key }]);
  }

  private end(): void {
    this.isEnded = true;
    this.lease.close();
    this.watch?.close();
    if (this.timer !== undefined) this.clock.cancel(this.timer);
  }

  private lost(): void {
    const wasMember = this.modRevision > 0;
    this.modRevision = 0;
    if (wasMember) this.events.onLost();
  }

  /** Brings the record to etcd, however often that takes. */
  private put(): void {
    this.isStale = true;
    if (!this.isBusy) void this.putUntilDone();
  }

  private async putUntilDone(): Promise<void> {
    this.isBusy = true;
    while (this.isStale && !this.isEnded && this.lease.id !== "") {
      this.isStale = false;
      const read = await this.etcd.get(this.key);
      if (this.isEnded) break;
      const isDone = read instanceof EtcdError ? this.failed(read) : await this.putOver(read.entry);
      if (isDone || this.isEnded) continue;
      this.isStale = true;
      await this.pause();
    }
    this.isBusy = false;
  }

  /** Puts the record in place of what is there. @returns false if that is to be tried again */
  private async putOver(entry: EtcdEntry | undefined): Promise<boolean> {
    const { lease, key } = this;
    if (entry === undefined) this.lost();
    else if (!this.mayReplace(entry)) return false;
    this.waitsSinceMs = undefined;
    const { id } = lease;
    // Without a lease it would never end. It is put when there is another one.
    if (id === "") return true;
    const put = { put: key, value: this.shape.write(this.record), lease: id };
    const result = await this.etcd.txn([{ key, modRevision: entry?.modRevision ?? 0 }], [put]);
    if (this.isEnded) return true;
    // Whether an outcome that is unknown was a success shows in the next read: the key is of this run then.
    if (result instanceof EtcdError) return result.reason === "lease-gone" ? true : this.failed(result);
    // The lease has ended meanwhile, or somebody was quicker.
    if (!result.succeeded || id !== lease.id) return false;
    const wasMember = this.modRevision > 0;
    this.modRevision = result.revision;
    if (!wasMember || !this.isFollowed) this.follow(result.revision);
    this.hasJoined = true;
    if (!wasMember) this.events.onJoined();
    return true;
  }

  private mayReplace(entry: EtcdEntry): boolean {
    const other = this.shape.read(entry.value);
    const { uid, run } = this.record;
    const isSame = !(other instanceof Error) && other.uid === uid;
    if (isSame && (other.run === run || this.hasJoined || !this.isCopy)) {
      // It is this run, an earlier one, or one that took over from us after we had been there.
      if (other.run === run || !this.hasJoined) return true;
      this.refuse(`its key was taken over by another process with the same data path uid ${uid} (http ${other.http})`);
      return false;
    }
    const nowMs = this.clock.steadyMs();
    this.waitsSinceMs ??= nowMs;
    if (nowMs - this.waitsSinceMs < (isSame ? PATIENCE_LEASES_OF_OURS : PATIENCE_LEASES) * this.leaseMs) return false;
    const whose = other instanceof Error ? `an unreadable value (${other.message})` : `data path uid ${other.uid} (http ${other.http})`;
    const remedy = isSame ? "the data path of this one is an older copy of it" : "give this one another id, or stop the other";
    this.refuse(`${this.key} belongs to ${whose}, which is alive; ${remedy}`);
    return false;
  }

  private failed(error: EtcdError): false {
    // While etcd is away leases do not end.
    this.waitsSinceMs = undefined;
    this.events.onTrouble(error);
    return false;
  }

  /** Notices when somebody else changes or removes the own key. */
  private follow(revision: number): void {
    this.watch?.close();
    this.isFollowed = true;
    this.watch = this.etcd.watch(this.key, revision + 1, {
      onEvents: (revision, events) => {
        const event = events.find(({ key }) => key === this.key);
        if (event !== undefined) this.changed(event.entry, revision);
      },
      // What was missed shows when the key is put again.
      onCompacted: () => {
        this.isFollowed = false;
        this.put();
      },
      onTrouble: (error) => this.events.onTrouble(error),
    });
  }

  private changed(entry: EtcdEntry | undefined, revision: number): void {
    if (this.isEnded || revision <= this.modRevision) return;
    const known = entry === undefined ? undefined : this.shape.read(entry.value);
    const isOurs = known !== undefined && !(known instanceof Error) && known.run === this.record.run;
    // The answer to our own transaction may come after the watch has told it, or not at all.
    if (isOurs && this.modRevision > 0) this.modRevision = revision;
    if (isOurs) return;
    this.lost();
    this.put();
  }

  private refuse(why: string): void {
    this.end();
    this.events.onRefused(new Error(why));
  }

  private pause(): Promise<void> {
    return new Promise((resolve) => {
      this.timer = this.clock.callAfter(AGAIN_MS, resolve);
    });
  }
}
