import type { Writer } from "../../net/writer.ts";

/** Frames that are on their way to another broker. */
export class Outgoing {
  queuedBytes = 0;
  private frames: Buffer[] = [];
  /** How much of the first one was accepted. */
  private accepted = 0;

  push(frame: Buffer): void {
    this.frames.push(frame);
    this.queuedBytes += frame.length;
  }

  clear(): void {
    this.frames = [];
    this.accepted = this.queuedBytes = 0;
  }

  /** Writes as much as is accepted. The rest is for the next drain. */
  flush(writer: Writer): void {
    let sent = 0;
    for (const frame of this.frames) {
      const length = frame.length - this.accepted;
      const written = Math.max(0, writer.write(frame, this.accepted, length));
      this.queuedBytes -= written;
      this.accepted += written;
      if (written < length) break;
      this.accepted = 0;
      sent++;
    }
    this.frames.splice(0, sent);
  }
}
