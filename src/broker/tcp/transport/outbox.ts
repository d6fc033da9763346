import type { Writer } from "../../../net/writer.ts";
import type { Chunk, ChunkPool } from "../../storage/log/chunk.ts";

/** Small writes of one turn are put together here; a run larger than this goes to the kernel from where it lies. */
const STAGE_BYTES = 4096;

/** Staging buffers, shared by all connections: an idle one holds none. */
export class StagePool {
  private readonly free: Buffer[] = [];

  take(): Buffer {
    return this.free.pop() ?? Buffer.allocUnsafeSlow(STAGE_BYTES);
  }

  give(buffer: Buffer): void {
    if (this.free.length < 256) this.free.push(buffer);
  }
}

/** Bytes the kernel has not taken yet. Of a chunk it is a reference, and the chunk stays until they are gone. */
interface Piece {
  buffer: Buffer;
  from: number;
  to: number;
  chunk: Chunk | undefined;
}

/** What goes out to one client, in order: staged small writes, runs of chunks, and what the kernel refused. */
export class Outbox {
  private stage: Buffer | undefined;
  private staged = 0;
  private readonly pieces: Piece[] = [];
  /** Bytes that wait for the client to read. */
  pendingBytes = 0;

  constructor(
    private transport: Writer,
    private readonly stages: StagePool,
    private readonly chunks: ChunkPool,
  ) {}

  /** From here on all goes another way. To be called while nothing waits. */
  redirect(transport: Writer): void {
    this.transport = transport;
  }

  /** Nothing waits for the kernel: more may be written. */
  get clear(): boolean {
    return this.pieces.length === 0;
  }

  get empty(): boolean {
    return this.pieces.length === 0 && this.staged === 0;
  }

  /** Copies bytes in; they go out with flush(), or before if the stage is full. */
  write(bytes: Buffer, from: number, to: number): void {
    const at = this.reserve(to - from);
    if (at >= 0) bytes.copy(this.stage as Buffer, at, from, to);
    else this.writeNow(bytes, from, to, undefined);
  }

  /** Room for `length` bytes in the stage: the buffer is `stageBuffer`, the offset is returned; -1 if they do not fit in any stage. */
  reserve(length: number): number {
    if (length > STAGE_BYTES) {
      this.flush();
      return -1;
    }
    if (this.staged + length > STAGE_BYTES) this.flush();
    this.stage ??= this.stages.take();
    const at = this.staged;
    this.staged += length;
    return at;
  }

  get stageBuffer(): Buffer {
    return this.stage as Buffer;
  }

  /** Sends a range of a chunk. Large ones are not copied, however slow the client is. */
  writeRun(chunk: Chunk, from: number, to: number): void {
    if (to - from <= STAGE_BYTES - this.staged) return this.write(chunk.buffer, from, to);
    this.flush();
    this.writeNow(chunk.buffer, from, to, chunk);
  }

  /** Sends what is staged. */
  flush(): void {
    if (this.staged === 0) return;
    const stage = this.stage as Buffer;
    const length = this.staged;
    this.staged = 0;
    this.writeNow(stage, 0, length, undefined);
    this.stage = undefined;
    this.stages.give(stage);
  }

  /** The kernel takes bytes again. @returns whether all that waited is out */
  drain(): boolean {
    while (this.pieces.length > 0) {
      const piece = this.pieces[0];
      const taken = Math.max(0, this.transport.write(piece.buffer, piece.from, piece.to - piece.from));
      this.pendingBytes -= taken;
      piece.from += taken;
      if (piece.from < piece.to) return false;
      this.pieces.shift();
      if (piece.chunk !== undefined) this.chunks.unpin(piece.chunk);
    }
    return true;
  }

  /** The connection is gone: lets go of everything. */
  dispose(): void {
    for (const { chunk } of this.pieces.splice(0)) if (chunk !== undefined) this.chunks.unpin(chunk);
    this.pendingBytes = 0;
    this.staged = 0;
    if (this.stage !== undefined) this.stages.give(this.stage);
    this.stage = undefined;
  }

  private writeNow(buffer: Buffer, from: number, to: number, chunk: Chunk | undefined): void {
    if (this.pieces.length === 0) {
      from += Math.max(0, this.transport.write(buffer, from, to - from));
      if (from === to) return;
    }
    this.pendingBytes += to - from;
    if (chunk !== undefined) {
      chunk.pins++;
      this.pieces.push({ buffer, from, to, chunk });
    } else {
      // A copy: the buffer is somebody's stage or scratch, and will be written over.
      const copy = Buffer.from(buffer.subarray(from, to));
      this.pieces.push({ buffer: copy, from: 0, to: copy.length, chunk: undefined });
    }
  }
}
