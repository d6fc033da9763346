import { type JsonScanner, MAX_SPANS, STOPS } from "./json-scanner.ts";

const QUOTE = 0x22;
/** Longer texts are scanned each time. */
const MAX_BYTES = 1024;
/** After a text that was like none before it, this many are scanned without being compared. */
const PAUSE = 15;

/**
 * The JSON of the message before, for producers whose headers are alike: of the next one only those bytes are looked at which are
 * different, and they have to be within values that are strings. Takes about a third of a scan's time.
 */
export class HeaderTemplate {
  /** What a scan would have found in the text that matched last. */
  traceIdFrom = 0;
  traceIdTo = 0;
  tagFrom = 0;
  tagTo = 0;
  keyFrom = 0;
  keyTo = 0;
  private readonly bytes = Buffer.allocUnsafeSlow(MAX_BYTES);
  private readonly view = new DataView(this.bytes.buffer, this.bytes.byteOffset, MAX_BYTES);
  private length = 0;
  /** Where values that are strings begin behind their quotes, and where their last quotes are. */
  private readonly starts = new Int32Array(MAX_SPANS);
  private readonly ends = new Int32Array(MAX_SPANS);
  private spans = 0;
  /** Which of them are those that are looked for; -1: none. */
  private traceIdSpan = -1;
  private tagSpan = -1;
  private keySpan = -1;
  private pause = 0;
  private hasMatched = false;

  /** Whether to compare the next text. Otherwise it is to be scanned, without learn(). */
  isWanted(): boolean {
    if (this.pause === 0) return true;
    this.pause--;
    return false;
  }

  /** Keeps the text in [from, to) for comparison, which the scanner has just read and found usual. */
  learn(bytes: Buffer, from: number, to: number, scanner: JsonScanner): void {
    if (!this.hasMatched) this.pause = PAUSE;
    this.hasMatched = false;
    this.length = 0;
    if (to - from > MAX_BYTES || scanner.spans > MAX_SPANS) return;
    this.length = bytes.copy(this.bytes, 0, from, to);
    this.spans = scanner.spans;
    this.traceIdSpan = this.tagSpan = this.keySpan = -1;
    for (let i = 0; i < this.spans; i++) {
      this.starts[i] = scanner.starts[i] - from;
      this.ends[i] = scanner.ends[i] - from;
      if (scanner.starts[i] === scanner.traceIdFrom) this.traceIdSpan = i;
      if (scanner.starts[i] === scanner.tagFrom) this.tagSpan = i;
      if (scanner.starts[i] === scanner.keyFrom) this.keySpan = i;
    }
  }

  /** Whether the text in [from, to) is JSON like the one that was learnt. @param view of `bytes` */
  matches(bytes: Buffer, view: DataView, from: number, to: number): boolean {
    const { length, view: own, bytes: ownBytes, spans, starts, ends } = this;
    if (length === 0) return false;
    this.traceIdFrom = this.traceIdTo = this.tagFrom = this.tagTo = this.keyFrom = this.keyTo = 0;
    let at = 0;
    let span = 0;
    let shift = from;
    for (;;) {
      const end = Math.min(length, to - shift);
      while (at + 4 <= end && own.getInt32(at) === view.getInt32(at + shift)) at += 4;
      while (at < end && ownBytes[at] === bytes[at + shift]) at++;
      if (at === length) break;
      for (; span < spans && ends[span] < at; span++) this.found(span, starts[span] + shift, ends[span] + shift);
      if (span === spans || at < starts[span]) return false;
      let stop = at + shift;
      while (stop < to && STOPS[bytes[stop]] === 0) stop++;
      if (stop >= to || bytes[stop] !== QUOTE) return false;
      this.found(span, starts[span] + shift, stop);
      at = ends[span];
      shift = stop - at;
      span++;
    }
    if (at + shift !== to) return false;
    for (; span < spans; span++) this.found(span, starts[span] + shift, ends[span] + shift);
    this.hasMatched = true;
    return true;
  }

  private found(span: number, from: number, to: number): void {
    if (span === this.keySpan) {
      this.keyFrom = from;
      this.keyTo = to;
    } else if (span === this.traceIdSpan) {
      this.traceIdFrom = from;
      this.traceIdTo = to;
    } else if (span === this.tagSpan) {
      this.tagFrom = from;
      this.tagTo = to;
    }
  }
}
