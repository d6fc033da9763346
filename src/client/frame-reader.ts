import { FRAME_HEADER_BYTES } from "../frame/frame.ts";

/** The size word of a frame. */
const SIZE_BYTES = 4;

/** Receives whole frames. */
export interface FrameSink {
  /** @param bytes has the frame's data in [from, to). It is not used again, so the receiver may keep views of it */
  onFrame(type: number, bytes: Uint8Array, from: number, to: number): void;
}

/** The broker's bytes are no frames. */
class MalformedFrame extends Error {
  override name = "MalformedFrame";
}

/**
 * Cuts a broker's bytes into frames. Frames that are whole in one piece are not copied; one that is cut by the pieces'
 * borders is copied once, when its last byte has come. Nothing is allocated for bytes that are only announced.
 */
export class FrameReader {
  /** Set by the sink to leave the bytes behind a frame unread, because they are in another encoding. */
  isHalted = false;
  /** The beginning of a frame that is not whole yet. */
  private pieces: Uint8Array[] = [];
  private pieceBytes = 0;

  /** @param maxFrameBytes the largest size word that is accepted */
  constructor(
    private readonly sink: FrameSink,
    private readonly maxFrameBytes: number,
  ) {}

  /** @returns how many bytes were read: all of them, unless the sink has halted the reader. @throws MalformedFrame */
  feed(chunk: Uint8Array): number {
    let at = this.pieceBytes > 0 ? this.completeFrame(chunk) : 0;
    const { length } = chunk;
    while (!this.isHalted && length - at >= FRAME_HEADER_BYTES) {
      const end = at + SIZE_BYTES + this.checked(readSize(chunk, at));
      if (end > length) break;
      // The type is 0, 1 or 2.
      const type = chunk[at + 7] as number;
      const from = at + FRAME_HEADER_BYTES;
      at = end;
      this.sink.onFrame(type, chunk, from, end);
    }
    if (this.isHalted) return at;
    if (at < length) this.keep(chunk.subarray(at));
    return length;
  }

  /** Completes the frame that earlier pieces began. @returns how many bytes of the chunk belong to it */
  private completeFrame(chunk: Uint8Array): number {
    let at = 0;
    if (this.pieceBytes < FRAME_HEADER_BYTES) {
      at = Math.min(FRAME_HEADER_BYTES - this.pieceBytes, chunk.length);
      this.keep(chunk.subarray(0, at));
      if (this.pieceBytes < FRAME_HEADER_BYTES) return at;
      this.pieces = [this.joined(this.pieceBytes)];
    }
    // The first piece has the whole header.
    const whole = SIZE_BYTES + this.checked(readSize(this.pieces[0] as Uint8Array, 0));
    const end = Math.min(at + whole - this.pieceBytes, chunk.length);
    this.keep(chunk.subarray(at, end));
    if (this.pieceBytes < whole) return end;
    const frame = this.joined(whole);
    this.pieces = [];
    this.pieceBytes = 0;
    this.sink.onFrame(frame[7] as number, frame, FRAME_HEADER_BYTES, whole);
    return end;
  }

  private keep(piece: Uint8Array): void {
    if (piece.length === 0) return;
    this.pieces.push(piece);
    this.pieceBytes += piece.length;
  }

  /** The first bytes of the pieces in one. */
  private joined(bytes: number): Uint8Array {
    const joined = new Uint8Array(bytes);
    let at = 0;
    for (const piece of this.pieces) {
      if (at >= bytes) break;
      joined.set(piece.length > bytes - at ? piece.subarray(0, bytes - at) : piece, at);
      at += piece.length;
    }
    return joined;
  }

  private checked(size: number): number {
    if (size >= SIZE_BYTES && size <= this.maxFrameBytes) return size;
    throw new MalformedFrame(`a frame of ${size} bytes; is this the TCP port of a broker?`);
  }
}

function readSize(bytes: Uint8Array, at: number): number {
  // Sizes are far below 2^31; a negative one is refused.
  return ((bytes[at] as number) << 24) | ((bytes[at + 1] as number) << 16) | ((bytes[at + 2] as number) << 8) | (bytes[at + 3] as number);
}
