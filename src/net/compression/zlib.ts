import { lazy } from "../../base/lazy.ts";

/**
 * The handle inside node:zlib's streams, in Node and in Bun. It compresses synchronously into our buffer, and reports how far
 * it got. A stream would queue, allocate for each write, answer in a later turn, and could not stop in the middle of a
 * decompression. The handle has no published types; the tests would fail if it changed.
 */
interface Handle {
  writeSync(flush: number, input: Buffer, from: number, length: number, output: Buffer, at: number, room: number): void;
  onerror: (message: string) => void;
  close(): void;
}

interface Stream {
  _handle: Handle;
  /** After writeSync(): the room left in the output, and the bytes left of the input. */
  _writeState: Uint32Array;
}

// From zlib.h.
const Z_NO_FLUSH = 0;
const Z_SYNC_FLUSH = 2;
/** The stream's own output buffer is not used here, so it gets the smallest size that node:zlib allows. */
const SMALLEST_CHUNK = 64;

/** Compresses or decompresses raw deflate (RFC 1951), which has no header and no checksum. */
export class Zlib {
  /** The bytes of the input that the last step() used. */
  used = 0;
  /** The bytes that the last step() wrote to the output. */
  made = 0;
  /** Why the last step() failed; undefined if it did not. */
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
    // The stream would destroy itself and emit an error event that has no listener.
    this.handle.onerror = (message) => {
      this.failure = message;
    };
  }

  /** Continues until the input is used up or the output is full. */
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
