import type { Clock } from "../../base/clock.ts";

/** What stands for no target. */
const NOWHERE = "";

/** How many bytes are under way to one place, and who waits until they are fewer. */
interface Place {
  bytes: number;
  waiting: (() => void)[];
}

/** Counts the bytes of publishes on their way to each broker, and of those that wait for a leader. Beyond a limit others wait for room. */
export class RoomQueues {
  private readonly places = new Map<string, Place>();
  private readonly roomy = new Set<string>();

  /** @param limits in bytes, for each target, and for those that have none */
  constructor(
    private readonly clock: Pick<Clock, "callAfterTurn">,
    private readonly limits: { readonly target: number; readonly waiting: number },
  ) {}

  /** Bytes in all places. */
  get heldBytes(): number {
    let sum = 0;
    for (const { bytes } of this.places.values()) sum += bytes;
    return sum;
  }

  /** Whether one more may come. @param target undefined: none */
  has(target = NOWHERE): boolean {
    return (this.places.get(target)?.bytes ?? 0) < (target === NOWHERE ? this.limits.waiting : this.limits.target);
  }

  /** @param resume called once there may be room; whoever came first is called first */
  wait(target = NOWHERE, resume: () => void): void {
    this.place(target).waiting.push(resume);
    // Bytes that nobody has there are not given back.
    if (this.has(target)) this.wake(target);
  }

  take(target = NOWHERE, bytes: number): void {
    this.place(target).bytes += bytes;
  }

  give(target = NOWHERE, bytes: number): void {
    const place = this.place(target);
    place.bytes -= bytes;
    if (place.waiting.length > 0) this.wake(target);
    else if (place.bytes === 0) this.places.delete(target);
  }

  /** Has everybody ask again: the targets have changed. */
  wakeAll(): void {
    for (const [target, { waiting }] of this.places) if (waiting.length > 0) this.wake(target, true);
  }

  private place(target: string): Place {
    let place = this.places.get(target);
    if (place === undefined) {
      place = { bytes: 0, waiting: [] };
      this.places.set(target, place);
    }
    return place;
  }

  private wake(target: string, all = false): void {
    if (this.roomy.has(target)) return;
    this.roomy.add(target);
    this.clock.callAfterTurn(() => {
      this.roomy.delete(target);
      const place = this.places.get(target);
      // Those that do not find room come to the end of the queue again.
      for (let left = place?.waiting.length ?? 0; left > 0 && (all || this.has(target)); left--) place?.waiting.shift()?.();
      if (place !== undefined && place.bytes === 0 && place.waiting.length === 0) this.places.delete(target);
    });
  }
}
