import type { Writer } from "../../net/writer.ts";
import { Outgoing } from "../replication/outgoing.ts";

/** Frames that are smaller than this are put together, so that a turn's publishes are one write. */
const GATHERED_BYTES = 64 * 1024;

/** Frames on their way to another broker, of which it can be told which ones have left. */
export class SentFrames {
  private readonly outgoing = new Outgoing();
  private gathered: Buffer[] = [];
  private gatheredBytes = 0;
  /** Bytes of all frames since the start. */
  private addedBytes = 0;

  /** @returns the number to be asked for with hasLeft(), which grows */
  add(...parts: Buffer[]): number {
    for (const part of parts) {
      this.addedBytes += part.length;
      if (part.length >= GATHERED_BYTES) {
        this.pushGathered();
        this.outgoing.push(part);
        continue;
      }
      this.gathered.push(part);
      this.gatheredBytes += part.length;
      if (this.gatheredBytes >= GATHERED_BYTES) this.pushGathered();
    }
    return this.addedBytes;
  }

  /** Bytes that were given to the connection. */
  get leftBytes(): number {
    return this.addedBytes - this.gatheredBytes - this.outgoing.queuedBytes;
  }

  /** Whether all of a frame was given to the connection. What was not, nobody has. */
  hasLeft(number: number): boolean {
    return number <= this.leftBytes;
  }

  /** Writes as much as is accepted. */
  flush(writer: Writer): void {
    this.pushGathered();
    this.outgoing.flush(writer);
  }

  private pushGathered(): void {
    if (this.gathered.length === 0) return;
    this.outgoing.push(this.gathered.length === 1 ? this.gathered[0] : Buffer.concat(this.gathered));
    this.gathered = [];
    this.gatheredBytes = 0;
  }
}
