import type { Clock, Timer } from "../../base/clock.ts";
import type { Etcd } from "../etcd/etcd.ts";
import { EtcdError } from "../etcd/etcd-error.ts";

/** A lease is renewed this often in its time. */
const RENEWALS = 3;
/** How much slower our clock may go than etcd's: a lease counts as ended this part of its time early. Quartz is off by 0.01 %. */
const DRIFT = 0.02;

export interface LeaseEvents {
  /** There is a new lease; keys that were put with one before it are gone or going. */
  onGranted(lease: string): void;
  /** It may have ended, as it was not renewed in time. etcd may still have it, and it may yet be renewed. */
  onLapsed(): void;
  /** It was renewed after it had lapsed: it had not ended. */
  onRenewed(): void;
  /** etcd does not have it any more. Another one is asked for. */
  onGone(): void;
  /** A call failed; it is made again. */
  onTrouble(error: EtcdError): void;
}

/**
 * This process's own lease. It holds until its time has passed since the last renewal that succeeded was **sent**: etcd counts from when the
 * renewal came, which is later, so what we hold has not ended in etcd.
 */
export class Lease {
  /** "" while there is none. */
  id = "";
  /** By the steady clock. */
  holdsUntilMs = Number.NEGATIVE_INFINITY;
  /** A machine that was suspended may find its steady clock where it was, but not its wall clock. */
  private holdsUntilWallMs = Number.NEGATIVE_INFINITY;
  private ttlMs: number;
  private hasLapsed = false;
  private isClosed = false;
  private renewal: Timer | undefined;
  private end: Timer | undefined;

  /** @param wantedMs how long it is to last; etcd may give more */
  constructor(
    private readonly etcd: Etcd,
    private readonly clock: Clock,
    private readonly wantedMs: number,
    private readonly events: LeaseEvents,
  ) {
    this.ttlMs = wantedMs;
  }

  /** Whether it surely has not ended. */
  get holds(): boolean {
    return this.clock.steadyMs() < this.holdsUntilMs && this.clock.wallMs() < this.holdsUntilWallMs;
  }

  start(): void {
    void this.grant();
  }

  /** Stops renewing it. It ends by itself. */
  close(): void {
    this.isClosed = true;
    for (const timer of [this.renewal, this.end]) if (timer !== undefined) this.clock.cancel(timer);
  }

  private get intervalMs(): number {
    return this.ttlMs / RENEWALS;
  }

  private async grant(): Promise<void> {
    const sentMs = this.clock.steadyMs();
    const sentWallMs = this.clock.wallMs();
    this.ttlMs = this.wantedMs;
    const granted = await this.etcd.grant(this.wantedMs, this.intervalMs);
    if (this.isClosed) return;
    if (granted instanceof EtcdError) {
      this.events.onTrouble(granted);
      return this.again(sentMs, () => this.grant());
    }
    this.id = granted.lease;
    this.hasLapsed = false;
    this.hold(granted.ttlMs, sentMs, sentWallMs);
    this.again(sentMs, () => this.renew());
    this.events.onGranted(granted.lease);
  }

  private async renew(): Promise<void> {
    const sentMs = this.clock.steadyMs();
    const sentWallMs = this.clock.wallMs();
    const renewed = await this.etcd.keepAlive(this.id, this.intervalMs);
    if (this.isClosed) return;
    if (renewed instanceof EtcdError) {
      if (renewed.reason === "lease-gone") return this.gone();
      this.events.onTrouble(renewed);
    } else this.hold(renewed.ttlMs, sentMs, sentWallMs);
    this.again(sentMs, () => this.renew());
  }

  private gone(): void {
    this.id = "";
    this.holdsUntilMs = Number.NEGATIVE_INFINITY;
    if (this.end !== undefined) this.clock.cancel(this.end);
    this.events.onGone();
    if (!this.isClosed) void this.grant();
  }

  /** The next call, a third of the time after this one was sent. */
  private again(sentMs: number, call: () => Promise<void>): void {
    this.renewal = this.clock.callAfter(Math.max(0, sentMs + this.intervalMs - this.clock.steadyMs()), () => void call());
  }

  private hold(ttlMs: number, sentMs: number, sentWallMs: number): void {
    this.ttlMs = ttlMs;
    const holdsMs = ttlMs * (1 - DRIFT);
    this.holdsUntilMs = sentMs + holdsMs;
    this.holdsUntilWallMs = sentWallMs + holdsMs;
    if (this.end !== undefined) this.clock.cancel(this.end);
    this.end = this.clock.callAfter(this.holdsUntilMs - this.clock.steadyMs(), () => this.lapse());
    // An answer that took longer than the lease renews nothing.
    if (!this.hasLapsed || this.clock.steadyMs() >= this.holdsUntilMs) return;
    this.hasLapsed = false;
    this.events.onRenewed();
  }

  private lapse(): void {
    if (this.hasLapsed) return;
    // A timer may come early by a fraction of a millisecond.
    if (this.clock.steadyMs() < this.holdsUntilMs) {
      this.end = this.clock.callAfter(1, () => this.lapse());
      return;
    }
    this.hasLapsed = true;
    this.events.onLapsed();
  }
}
