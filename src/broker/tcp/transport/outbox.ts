import { ATTEMPTS_OFFSET } from "../../../frame/frame.ts";
import type { Writer } from "../../../net/writer.ts";
import type { Chunk, ChunkOwner, ChunkPool } from "../../storage/log/chunk.ts";

/** Small writes of one turn are gathered in a stage of this size. A longer run goes to the kernel from where it is. */
const STAGE_BYTES = 4096;
/** Free stages, shared by all connections: an idle connection has none. */
const freeStages: Buffer[] = [];
const MAX_FREE_STAGES = 256;

/**
 * Bytes that the kernel has not accepted yet. Bytes of a chunk are not copied: the chunk is pinned until they are sent, or, when too
 * many chunks are pinned already, the bytes are read again from the log.
 */
interface Piece {
  /** Undefined: the bytes are read from `log` when they can be sent. */
  buffer: Buffer | undefined;
  /** The bytes are at [from, to) in the buffer, or at these positions in the log. */
  from: number;
  to: number;
  chunk: Chunk | undefined;
  log: ChunkOwner | undefined;
}

/** What is sent to one client, in its order: small writes in a stage, runs of chunks, and what the kernel did not accept. */
export class Outbox {
  private stage: Buffer | undefined;
  private staged = 0;
  private readonly pieces: Piece[] = [];
  /** Bytes that the kernel has not accepted, as the client does not read. */
  pendingBytes = 0;
  /** The rest of a message could not be read again. Nothing more can be sent to the client. */
  failure: Error | undefined;

  constructor(
    private below: Writer,
    private readonly chunks: ChunkPool,
  ) {}

  /** From here on everything is written to another layer. To be called while nothing waits. */
  redirect(below: Writer): void {
    this.below = below;
  }

  /** Whether nothing waits for the kernel, so that more may be written. */
  get writable(): boolean {
    return this.pieces.length === 0;
  }

  /** Whether nothing is left to send. */
  get empty(): boolean {
    return this.pieces.length === 0 && this.staged === 0;
  }

  /** Copies bytes. They are sent by flush(), or before that if the stage is full. */
  write(bytes: Buffer, from: number, to: number): void {
    const at = this.reserve(to - from);
    if (at >= 0) bytes.copy(this.stage as Buffer, at, from, to);
    else this.send(bytes, from, to, undefined);
  }

  /** Sends a range of a chunk. A long one is not copied, however slow the client is. */
  writeRun(chunk: Chunk, from: number, to: number): void {
    if (to - from <= STAGE_BYTES - this.staged) return this.write(chunk.buffer, from, to);
    this.flush();
    this.send(chunk.buffer, from, to, chunk);
  }

  /**
   * Copies the frame of a message, with another number of attempts.
   *
   * @param scratch for a frame that no stage can hold
   */
  writeMessage(frame: Buffer, from: number, to: number, attempts: number, scratch: { reserve(bytes: number): Buffer }): void {
    const length = to - from;
    const at = this.reserve(length);
    const copy = at >= 0 ? (this.stage as Buffer) : scratch.reserve(length);
    const start = Math.max(0, at);
    frame.copy(copy, start, from, to);
    copy.writeUInt16BE(attempts, start + ATTEMPTS_OFFSET);
    if (at < 0) this.send(copy, 0, length, undefined);
  }

  /** Sends the stage. */
  flush(): void {
    if (this.staged === 0) return;
    const stage = this.stage as Buffer;
    const length = this.staged;
    this.staged = 0;
    this.send(stage, 0, length, undefined);
    this.freeStage();
  }

  /** The kernel accepts bytes again. @returns whether everything that waited is sent */
  drain(): boolean {
    while (this.pieces.length > 0) {
      const piece = this.pieces[0];
      if (!this.sendPiece(piece)) return false;
      if (piece.from < piece.to) continue;
      this.pieces.shift();
      if (piece.chunk !== undefined) this.chunks.unpin(piece.chunk);
    }
    return true;
  }

  /** Sends as much of a piece as is in memory together. @returns whether the kernel accepted all of that */
  private sendPiece(piece: Piece): boolean {
    let { buffer, from } = piece;
    let length = piece.to - from;
    if (buffer === undefined) {
      const chunk = this.readAgain(piece);
      if (chunk === undefined) return false;
      length = Math.min(length, chunk.end - from);
      buffer = chunk.buffer;
      from = chunk.offsetOf(from);
    }
    const sent = Math.max(0, this.below.write(buffer, from, length));
    this.pendingBytes -= sent;
    piece.from += sent;
    return sent === length;
  }

  private readAgain({ log, from }: Piece): Chunk | undefined {
    try {
      const chunk = (log as ChunkOwner).chunkAt(from, false);
      if (!chunk.isGap) return chunk;
      this.failure = new Error("it is not in the log any more, or damaged");
    } catch (error) {
      this.failure = error as Error;
    }
    return undefined;
  }

  /** The connection is closed: frees the memory. */
  dispose(): void {
    for (const { chunk } of this.pieces.splice(0)) if (chunk !== undefined) this.chunks.unpin(chunk);
    this.pendingBytes = 0;
    this.staged = 0;
    this.freeStage();
  }

  /** Room for `length` bytes in the stage. @returns its offset; -1 if no stage is large enough */
  private reserve(length: number): number {
    if (length > STAGE_BYTES) {
      this.flush();
      return -1;
    }
    if (this.staged + length > STAGE_BYTES) this.flush();
    this.stage ??= freeStages.pop() ?? Buffer.allocUnsafeSlow(STAGE_BYTES);
    const at = this.staged;
    this.staged += length;
    return at;
  }

  private freeStage(): void {
    if (this.stage !== undefined && freeStages.length < MAX_FREE_STAGES) freeStages.push(this.stage);
    this.stage = undefined;
  }

  private send(buffer: Buffer, from: number, to: number, chunk: Chunk | undefined): void {
    if (this.pieces.length === 0) {
      from += Math.max(0, this.below.write(buffer, from, to - from));
      if (from === to) return;
    }
    this.pendingBytes += to - from;
    if (chunk !== undefined && this.chunks.pin(chunk)) {
      this.pieces.push({ buffer, from, to, chunk, log: undefined });
    } else if (chunk !== undefined) {
      this.pieces.push({ buffer: undefined, from: chunk.start + from, to: chunk.start + to, chunk: undefined, log: chunk.owner });
    } else {
      // A copy, because the buffer is a stage or scratch memory, which will be overwritten.
      const copy = Buffer.from(buffer.subarray(from, to));
      this.pieces.push({ buffer: copy, from: 0, to: copy.length, chunk: undefined, log: undefined });
    }
  }
}
