import type { TopicLog } from "../../../storage/log/topic-log.ts";
import type { TopicParts } from "../../topic-parts.ts";
import type { InFlight } from "../in-flight.ts";

/** The record of a message, until others are read. One object serves all messages. */
export interface FoundRecord {
  buffer: Buffer;
  /** The record is in [from, to). */
  from: number;
  to: number;
  /** In the log; 0: it is not known. */
  position: number;
  /** There is none: it is damaged on the disk. */
  isDamaged: boolean;
}

/** Finds the records of messages that wait, wherever they are: in the log, in the deferred store, or copied from a log that forgets. */
export class RecordFinder {
  private readonly found: FoundRecord = { buffer: Buffer.alloc(0), from: 0, to: 0, position: 0, isDamaged: false };

  constructor(
    private readonly inFlight: InFlight,
    private readonly log: TopicLog,
    private readonly parts: Pick<TopicParts, "deferred" | "scratch">,
  ) {}

  /** @throws UnreadableFile */
  find(sequence: number): FoundRecord {
    const { inFlight } = this;
    const stored = inFlight.detachedAt(sequence);
    if (stored !== undefined) {
      const frame = this.parts.scratch.reserve(stored.frameBytes);
      this.parts.deferred.readFrame(stored, frame, 0);
      return this.set(frame, 0, stored.frameBytes, 0);
    }
    const left = inFlight.leftAt(sequence);
    if (left?.frame !== undefined) return this.set(left.frame, 0, left.frame.length, left.position);
    const { window } = inFlight;
    const position = left?.position ?? window.position[sequence & window.mask];
    const chunk = this.log.chunkAt(position, false);
    if (chunk.isGap) {
      this.found.isDamaged = true;
      return this.found;
    }
    const at = chunk.offsetOf(position);
    return this.set(chunk.buffer, at, at + 4 + chunk.view.getUint32(at), position);
  }

  private set(buffer: Buffer, from: number, to: number, position: number): FoundRecord {
    const { found } = this;
    found.buffer = buffer;
    found.from = from;
    found.to = to;
    found.position = position;
    found.isDamaged = false;
    return found;
  }
}
