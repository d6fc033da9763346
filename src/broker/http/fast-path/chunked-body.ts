/** More is to come. */
export const MORE = 0;
/** The body has ended, and its trailer section with it. */
export const ENDED = 1;
/** Unusual framing. What was decoded is a body so far, and the rest is for Bun.serve() to judge. */
export const UNUSUAL = 2;
/** The body has ended, but its trailer section is none. */
export const BAD_TRAILER = 3;

/** A chunk's size has at most this many digits: no body is nearly as long. */
const MAX_SIZE_DIGITS = 8;
/** The longest line of a chunk's size with its extensions, or of a trailer field. */
const MAX_LINE_BYTES = 4096;
/** The most bytes of all trailer fields. */
const MAX_TRAILER_BYTES = 8 * 1024;
/** As in Go: what chunks take beside their data may exceed 16 bytes and twice the data by this much in all. */
const MAX_EXCESS_BYTES = 16 * 1024;

const CR = 0x0d;
const LF = 0x0a;

/** A chunk's size, and extensions, which are ignored. As in Go, spaces may only be at the end of the line. */
const SIZE_LINE = /^([0-9A-Fa-f]+)(?:[ \t]*|;[\t\x20-\x7e\x80-\xff]*)$/;
const TRAILER_LINE = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t\x20-\x7e\x80-\xff]*$/;

/** What of the body comes next. */
type State = "size" | "data" | "data end" | "trailer";

/**
 * Decodes a body in chunks (RFC 9112, 7.1), with its trailer section, whose fields are ignored. It accepts no line without
 * CR LF, no size that is not hexadecimal, and bounds everything. It accepts nothing that Go's net/http refuses.
 */
export class ChunkedBody {
  /** The range of the last feed() that is data of the body. */
  dataFrom = 0;
  dataTo = 0;
  private state: State = "size";
  /** Bytes of the chunk that are still to come. */
  private left = 0;
  /** The line under way, one character per byte. */
  private line = "";
  private excessBytes = 0;
  private trailerBytes = 0;
  /** MORE, ENDED, UNUSUAL or BAD_TRAILER. */
  status = MORE;

  /** Decodes bytes up to the end of the next range of data, and sets that. @returns the offset behind what was decoded */
  feed(bytes: Uint8Array, from: number, to: number): number {
    this.dataFrom = this.dataTo = from;
    let at = from;
    while (at < to && this.status === MORE) {
      if (this.state === "data") {
        const count = Math.min(this.left, to - at);
        this.dataFrom = at;
        this.dataTo = at + count;
        this.left -= count;
        if (this.left === 0) this.state = "data end";
        return at + count;
      }
      const byte = bytes[at++];
      this.line += String.fromCharCode(byte);
      if (byte === LF) this.endLine();
      else if (this.state === "data end" ? byte !== CR : this.line.length >= MAX_LINE_BYTES) this.refuse();
    }
    return at;
  }

  private endLine(): void {
    if (!this.line.endsWith("\r\n")) return this.refuse();
    const text = this.line.slice(0, -2);
    if (this.state === "data end") {
      if (text !== "") return this.refuse();
      this.state = "size";
    } else if (this.state === "size") {
      const digits = SIZE_LINE.exec(text)?.[1];
      if (digits === undefined || digits.length > MAX_SIZE_DIGITS) return this.refuse();
      this.left = Number.parseInt(digits, 16);
      this.excessBytes = Math.max(0, this.excessBytes + this.line.length - 16 - 2 * this.left);
      if (this.excessBytes > MAX_EXCESS_BYTES) return this.refuse();
      this.state = this.left === 0 ? "trailer" : "data";
    } else if (text === "") {
      this.status = ENDED;
    } else {
      this.trailerBytes += this.line.length;
      if (this.trailerBytes > MAX_TRAILER_BYTES || !TRAILER_LINE.test(text)) return this.refuse();
    }
    this.line = "";
  }

  private refuse(): void {
    this.status = this.state === "trailer" ? BAD_TRAILER : UNUSUAL;
  }

  /** What follows, in chunks again, on a body whose data so far was `dataBytes` long: with this in front, the rest can be decoded by another. */
  resumeText(dataBytes: number): string {
    const afterData = dataBytes > 0 ? "\r\n" : "";
    switch (this.state) {
      case "data":
        return `${afterData}${this.left.toString(16)}\r\n`;
      case "data end":
        return this.line;
      default:
        return afterData + this.line;
    }
  }
}
