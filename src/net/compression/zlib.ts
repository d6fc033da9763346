import { lazy } from "../../base/lazy.ts";

/**
 * The handle inside node:zlib's streams, as Node and Bun have it. It compresses on the spot, into a buffer of ours, and
 * says how far it came: a stream would queue, allocate for each write and answer turns later, and could not be held to
 * a bound in the middle of a decompression. Its types are nowhere published; the tests would show a change.
 */
interface Handle {
  writeSync(flush: number, input: Buffer, from: number, length: number, output: Buffer, at: number, room: number): void;
  onerror: (message: string) => void;
  close(): void;
}

interface Stream {
  _handle: Handle;
  /** After writeSync: room left in the output, bytes left of the input. */
  _writeState: Uint32Array;
}

// zlib's own numbers, from zlib.h.
const Z_NO_FLUSH = 0;
const Z_SYNC_FLUSH = 2;
/** The stream's own output buffer, which is not used here, is made as small as it may be. */
const SMALLEST_CHUNK = 64;

/** One direction of raw deflate (RFC 1951), without header and checksum. */
export class Zlib {
  /** After step(): how many bytes of the input were used. */
  used = 0;
  /** After step(): how many bytes stand in the output. */
  made = 0;
  /** After step(): why it could not go on. */
  failure: string | undefined;

  private readonly handle: Handle;
  private readonly state: Uint32Array;

  static deflate(level: number): Zlib {
    return new Zlib(lazy.zlib.createDeflateRaw({ level, chunkSize: SMALLEST_CHUNK }));
  }

  static inflate(): Zlib {
    return new Zlib(lazy.zlib.createInflateRaw({ chunkSize: SMALLEST_CHUNK }));
  }

  private constructor(stream: object) {
    const { _handle, _writeState } = stream as Stream;
    this.handle = _handle;
    this.state = _writeState;
    // The stream would destroy itself and throw an event that nobody listens to.
    this.handle.onerror = (message) => {
      this.failure = message;
    };
  }

  /** Goes on until the input is used up or the output is full. */
  step(flush: boolean, input: Buffer, from: number, to: number, output: Buffer): void {
    this.handle.writeSync(flush ? Z_SYNC_FLUSH : Z_NO_FLUSH, input, from, to - from, output, 0, output.length);
    const [room = 0, left = 0] = this.state;
    this.made = output.length - room;
    this.used = to - from - left;
  }

  close(): void {
    this.handle.close();
  }
}
