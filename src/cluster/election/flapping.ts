/** A leader that is heard again this soon after it was replaced had not been gone. */
const FALSE_ALARM_MS = 10_000;
const FORGET_MS = 60_000;
const LONGEST_WAIT_MS = 30_000;

interface Replaced {
  atMs: number;
  falseAlarms: number;
  isPending: boolean;
}

/** Has this broker wait longer before it replaces a leader that it has replaced wrongly twice. */
export class Flapping {
  private readonly replaced = new Map<string, Replaced>();

  constructor(private readonly firstWaitMs: number) {}

  /** This broker takes over from a leader. */
  tookOverFrom(leader: string, nowMs: number): void {
    const before = this.replaced.get(leader);
    this.replaced.set(leader, { atMs: nowMs, falseAlarms: before?.falseAlarms ?? 0, isPending: true });
  }

  /** @param isHeard whether a broker is heard at the moment */
  look(nowMs: number, isHeard: (uid: string) => boolean): void {
    for (const [uid, one] of this.replaced) {
      if (nowMs - one.atMs > FORGET_MS) this.replaced.delete(uid);
      else if (one.isPending && nowMs - one.atMs < FALSE_ALARM_MS && isHeard(uid)) {
        one.isPending = false;
        one.falseAlarms++;
      }
    }
  }

  /** How much longer than others this broker waits before it takes over from a leader, ms. */
  waitMs(leader: string): number {
    const falseAlarms = this.replaced.get(leader)?.falseAlarms ?? 0;
    return falseAlarms < 2 ? 0 : Math.min(LONGEST_WAIT_MS, this.firstWaitMs * 2 ** (falseAlarms - 2));
  }
}
