import { ID_OFFSET } from "../../../frame/frame.ts";
import { readPrefix, topicNumberOf, useIdPrefix } from "../../../frame/id.ts";

/**
 * What the ids of a log's messages begin with. Earlier releases gave ids with the node id of the day, so a log may have several prefixes.
 * Which ones is learnt from messages.
 */
export class IdPrefixes {
  /** Other prefixes that records are known to have. There are at most as many as node ids. */
  private readonly earlier: number[] = [];

  /** @param own that of new messages */
  constructor(private readonly own: number) {
    useIdPrefix(own);
  }

  /** Whether ids of the log's messages are known to begin with a prefix. */
  has(prefix: number): boolean {
    return prefix === this.own || this.earlier.includes(prefix);
  }

  /**
   * Whether a message has the id that a prefix and its sequence make.
   *
   * @param frameOf reads the message's frame; returns undefined if it cannot be read
   */
  confirm(prefix: number, frameOf: () => { buffer: Buffer; from: number } | undefined): boolean {
    if (this.has(prefix)) return true;
    if (prefix < 0 || topicNumberOf(prefix) !== topicNumberOf(this.own)) return false;
    const frame = frameOf();
    if (frame === undefined || readPrefix(frame.buffer, frame.from + ID_OFFSET) !== prefix) return false;
    this.earlier.push(prefix);
    return true;
  }
}
