/** The bytes of a message, or a text that is sent as UTF-8. */
export type Body = string | Uint8Array;

/** The size of a buffer for commands. A larger one, for large bodies, is given up when it was sent. */
const BUFFER_BYTES = 64 * 1024;
/** A buffer with less room is given up, not filled. */
const MIN_ROOM_BYTES = 4 * 1024;
/** The length in front of a header. */
const HEADER_LENGTH_BYTES = 2;
/** No character of a string takes more bytes in UTF-8. */
const MAX_CHARACTER_BYTES = 3;

const encoder = new TextEncoder();

/** A body with the header that it is sent with. */
export interface BodyWithHeader {
  readonly body: Body;
  /** JSON; undefined: none. */
  readonly header: string | undefined;
}

/** Where an outbox sends its bytes. */
export interface ByteSink {
  /** @returns whether these bytes and all earlier ones may be overwritten */
  write(bytes: Uint8Array): boolean;
}

/** Gathers the commands of one turn of the event loop, so that they are sent in one piece. */
export class Outbox {
  private buffer = new Uint8Array(BUFFER_BYTES);
  /** Unsent bytes are in [start, end). */
  private start = 0;
  private end = 0;

  get isEmpty(): boolean {
    return this.start === this.end;
  }

  get bytes(): number {
    return this.end - this.start;
  }

  /** Sends what was gathered. */
  flush(sink: ByteSink): void {
    if (this.isEmpty) return;
    const isFree = sink.write(this.buffer.subarray(this.start, this.end));
    if (this.buffer.length > BUFFER_BYTES || (!isFree && this.buffer.length - this.end < MIN_ROOM_BYTES)) {
      this.buffer = new Uint8Array(BUFFER_BYTES);
      this.start = this.end = 0;
    } else {
      this.start = this.end = isFree ? 0 : this.end;
    }
  }

  clear(): void {
    this.start = this.end = 0;
  }

  /** Adds text of one-byte characters. */
  ascii(text: string): this {
    this.makeRoom(text.length);
    const { buffer } = this;
    let { end } = this;
    for (let i = 0; i < text.length; i++) buffer[end++] = text.charCodeAt(i);
    this.end = end;
    return this;
  }

  /** Adds a line of a command that names a message: `FIN id`, `REQ id rest`. @param bytes has the id's characters from `at` on */
  message(command: string, bytes: Uint8Array, at: number, rest: string): void {
    this.ascii(command);
    this.makeRoom(17 + rest.length);
    const { buffer } = this;
    let { end } = this;
    for (let i = 0; i < 16; i++) buffer[end++] = bytes[at + i] as number;
    this.end = end;
    this.ascii(rest).ascii("\n");
  }

  /** Adds a body with its size in front. */
  sized(body: Body): this {
    this.makeRoom(4 + bodyBytes(body));
    this.put(body);
    return this;
  }

  /** Adds MPUB's body: its size, the number of bodies, and each with its size. */
  batch(bodies: readonly Body[]): this {
    let bytes = 8;
    for (const body of bodies) bytes += 4 + bodyBytes(body);
    this.makeRoom(bytes);
    const at = this.end;
    this.setUint32(at + 4, bodies.length);
    this.end = at + 8;
    for (const body of bodies) this.put(body);
    this.setUint32(at, this.end - at - 4);
    return this;
  }

  /** Adds a header and a body, with the size of both in front. */
  sizedWithHeader(item: BodyWithHeader): this {
    this.makeRoom(itemBytes(item));
    this.putItem(item);
    return this;
  }

  /** Adds MPUB_EXT's body, as batch(). */
  batchWithHeaders(items: readonly BodyWithHeader[]): this {
    let bytes = 8;
    for (const item of items) bytes += itemBytes(item);
    this.makeRoom(bytes);
    const at = this.end;
    this.setUint32(at + 4, items.length);
    this.end = at + 8;
    for (const item of items) this.putItem(item);
    this.setUint32(at, this.end - at - 4);
    return this;
  }

  /** There is room for it. */
  private putItem({ header, body }: BodyWithHeader): void {
    const at = this.end;
    const headerBytes = header === undefined ? 0 : this.utf8(header, at + 4 + HEADER_LENGTH_BYTES);
    this.buffer[at + 4] = headerBytes >>> 8;
    this.buffer[at + 5] = headerBytes;
    this.end = at + 4 + HEADER_LENGTH_BYTES + headerBytes;
    this.end += this.putBytes(body, this.end);
    this.setUint32(at, this.end - at - 4);
  }

  /** There is room for it. */
  private put(body: Body): void {
    const at = this.end + 4;
    const length = this.putBytes(body, at);
    this.setUint32(this.end, length);
    this.end = at + length;
  }

  /** @returns how many bytes it wrote */
  private putBytes(body: Body, at: number): number {
    if (typeof body === "string") return this.utf8(body, at);
    this.buffer.set(body, at);
    return body.length;
  }

  /** Short ASCII texts are faster in a loop than in a call. @returns how many bytes it wrote */
  private utf8(text: string, at: number): number {
    const { buffer } = this;
    if (text.length <= 32) {
      let i = 0;
      for (; i < text.length; i++) {
        const code = text.charCodeAt(i);
        if (code > 0x7f) break;
        buffer[at + i] = code;
      }
      if (i === text.length) return i;
    }
    return encoder.encodeInto(text, buffer.subarray(at)).written;
  }

  private setUint32(at: number, value: number): void {
    const { buffer } = this;
    buffer[at] = value >>> 24;
    buffer[at + 1] = value >>> 16;
    buffer[at + 2] = value >>> 8;
    buffer[at + 3] = value;
  }

  private makeRoom(bytes: number): void {
    if (this.buffer.length - this.end >= bytes) return;
    const unsent = this.end - this.start;
    const larger = new Uint8Array(Math.max(BUFFER_BYTES, 2 * (unsent + bytes)));
    larger.set(this.buffer.subarray(this.start, this.end));
    this.buffer = larger;
    this.start = 0;
    this.end = unsent;
  }
}

/** Long texts become bytes at once, so that their size is known. */
const LONG_CHARACTERS = 64 * 1024;

/** The form in which a body waits to be sent. */
export function packedBody(body: Body): Body {
  return typeof body === "string" && body.length > LONG_CHARACTERS ? encoder.encode(body) : body;
}

/** How many bytes a body takes at most. */
export function bodyBytes(body: Body): number {
  return typeof body === "string" ? body.length * MAX_CHARACTER_BYTES : body.length;
}

/** How many bytes a body takes at most with its header, and the size in front of both. */
export function itemBytes({ body, header }: BodyWithHeader): number {
  return 4 + bodyBytes(body) + HEADER_LENGTH_BYTES + (header === undefined ? 0 : bodyBytes(header));
}
