import { fatal, type ProtocolError } from "../../frame/error.ts";
import { encodeFrame, FRAME_TYPE_ERROR, MAGIC_V2 } from "../../frame/frame.ts";
import { Line } from "../../frame/line.ts";
import { PieceBuffer } from "../../net/piece-buffer.ts";
import type { Chunk } from "../storage/log/chunk.ts";
import { type BodyCommand, WAIT } from "./commands/command.ts";
import { FIN_LINE_BYTES, finishLines, isFinLine } from "./commands/fin.ts";
import { findCommand } from "./commands/find-command.ts";
import { IDENTIFY } from "./commands/identify.ts";
import type { Connection } from "./connection.ts";

/** nsqd reads commands through a buffer of this size; a longer line ends the connection. */
const MAX_LINE_BYTES = 16 * 1024;

const LF = 0x0a;
const CR = 0x0d;

// What the next byte belongs to.
const MAGIC = 0;
const COMMAND = 1;
const SIZE = 2;
const BODY = 3;
/** A command waits for an answer from elsewhere, and all that comes behind it waits for that command. */
const WAITING = 4;
/** To nothing: between IDENTIFY's answer and the last layer that it promised. */
const NOTHING = 5;

/** Filled by each line in turn: it is executed before the next is read. */
const line = new Line();

/**
 * Takes a client's bytes apart into commands (https://nsq.io/clients/tcp_protocol_spec.html) and has them executed, in
 * whatever pieces they come. What is whole in a piece is decoded in place: no string and no object for a message.
 */
export class Decoder {
  /** When the last line or body was whole; the broker's time, ms. */
  lastCommandMs: number;

  private mode = MAGIC;
  /** Bytes of a magic, a line or a size word that came in pieces. */
  private partial: Buffer | undefined;
  private partialBytes = 0;
  private command: BodyCommand | undefined;
  private bodyBytes = 0;
  /** A body that comes in pieces. */
  private pieces: PieceBuffer<Chunk> | undefined;

  /** The command that waits: its line, or its body if it is named. */
  private waiting: { command: BodyCommand | undefined; bytes: Buffer } | undefined;
  /** What came behind it, and whether the client has ended its side since. */
  private postponed: Buffer[] = [];
  private postponedEnd = false;

  constructor(private readonly client: Connection) {
    this.lastCommandMs = client.broker.currentMs;
  }

  /** The client is spoken to in the protocol: it has said its magic, and no layer is being put on. */
  get speaking(): boolean {
    return this.mode !== MAGIC && this.mode !== NOTHING;
  }

  /** A command waits for an answer from elsewhere. */
  get waits(): boolean {
    return this.mode === WAITING;
  }

  /** Nothing that comes until listen() is a command. */
  ignore(): void {
    this.mode = NOTHING;
  }

  listen(): void {
    this.mode = COMMAND;
  }

  /** The client could not have been heard until now. */
  heardNow(): void {
    this.lastCommandMs = this.client.broker.nowMs;
  }

  /** Executes what is in these bytes, and keeps what is not whole. The buffer is the caller's until this returns. */
  take(data: Buffer): void {
    const { client } = this;
    const end = data.length;
    let at = 0;
    let view: DataView | undefined;
    while (at < end && !client.dying) {
      if (this.mode === COMMAND) {
        let finished = 0;
        // The commonest line by far is taken without looking for its end.
        if (this.partialBytes === 0 && end - at >= FIN_LINE_BYTES && isFinLine(data, at)) {
          // One for all that the socket delivered: FINs out of order must not cost one each.
          if (end - at >= 2 * FIN_LINE_BYTES) view ??= new DataView(data.buffer, data.byteOffset, data.byteLength);
          finished = finishLines(client, data, view, at, end);
          if (finished > 0) this.lastCommandMs = client.broker.nowMs;
        }
        at = finished > 0 ? at + finished * FIN_LINE_BYTES : this.readLine(data, at, end);
      } else if (this.mode === BODY) {
        at = this.readBody(data, at, end);
      } else if (this.mode === SIZE) {
        at = this.readSize(data, at, end);
      } else if (this.mode === WAITING) {
        this.postponed.push(Buffer.from(data.subarray(at, end)));
        return;
      } else if (this.mode === MAGIC) {
        at = this.readMagic(data, at, end);
      } else {
        return;
      }
    }
  }

  /** The client has ended its side. @returns false: it still is to be answered, and this is said again by goOn() */
  end(): boolean {
    if (this.mode === WAITING) {
      this.postponedEnd = true;
      return false;
    }
    if (this.mode === SIZE || this.mode === BODY) {
      this.client.fail((this.command as BodyCommand).truncated(this.mode === BODY, this.client));
    }
    return true;
  }

  /** What a command waited for is there: it runs again, and then what came behind it. @returns false: there was none, or one waits again */
  goOn(): boolean {
    const { waiting } = this;
    if (waiting === undefined) return false;
    this.waiting = undefined;
    this.mode = COMMAND;
    if (waiting.command === undefined) this.execute(waiting.bytes, 0, waiting.bytes.length);
    else this.finishBody(waiting.command, waiting.bytes, 0, waiting.bytes.length);
    const { postponed } = this;
    this.postponed = [];
    for (const data of postponed) this.take(data);
    return !this.waits;
  }

  /** The client had ended its side while a command waited. */
  get ended(): boolean {
    return this.postponedEnd;
  }

  /** The connection is gone: lets go of everything. */
  dispose(): void {
    this.waiting = undefined;
    this.postponed = [];
    this.pieces?.clear();
    this.pieces = undefined;
  }

  private readMagic(data: Buffer, at: number, end: number): number {
    const { client } = this;
    at = this.collect(data, at, end, MAGIC_V2.length);
    if (this.partialBytes < MAGIC_V2.length) return at;
    const magic = (this.partial as Buffer).toString("latin1", 0, MAGIC_V2.length);
    this.partialBytes = 0;
    client.broker.log.info(`CLIENT(${client.remoteAddress}): desired protocol magic '${magic}'`);
    if (magic !== MAGIC_V2) {
      client.broker.log.error(`client(${client.remoteAddress}) bad protocol magic '${magic}'`);
      client.respond(encodeFrame(FRAME_TYPE_ERROR, "E_BAD_PROTOCOL"));
      client.die();
    }
    this.mode = COMMAND;
    client.broker.connectionReady(client);
    return at;
  }

  private readLine(data: Buffer, at: number, end: number): number {
    let stop = at;
    while (stop < end && data[stop] !== LF) stop++;
    const length = this.partialBytes + stop - at;
    if (length >= MAX_LINE_BYTES) {
      const { client } = this;
      client.broker.log.error(`client(${client.remoteAddress}) - failed to read command - line longer than ${MAX_LINE_BYTES} bytes`);
      client.die();
      return end;
    }
    if (stop === end) return this.collect(data, at, end, length);
    if (this.partialBytes > 0) {
      this.collect(data, at, stop, length);
      this.partialBytes = 0;
      this.execute(this.partial as Buffer, 0, length);
    } else {
      this.execute(data, at, stop);
    }
    return stop + 1;
  }

  private execute(buffer: Buffer, start: number, lineEnd: number): void {
    const { client } = this;
    let end = lineEnd;
    if (end > start && buffer[end - 1] === CR) end--;
    line.set(buffer, start, end);
    this.lastCommandMs = client.broker.nowMs;
    const command = findCommand(line);
    if (client.layers.tlsDue && command !== IDENTIFY) {
      return this.fail(fatal("E_INVALID", `cannot ${line.text(0)} in current state (TLS required)`));
    }
    if (command === undefined) {
      return this.fail(fatal("E_INVALID", `invalid command ${line.text(0)}`));
    }
    const result = command.execute(client, line);
    if (result !== undefined) return result === WAIT ? this.wait(undefined, buffer, start, lineEnd) : this.fail(result);
    if ("body" in command) {
      this.command = command as BodyCommand;
      this.mode = SIZE;
    }
  }

  private readSize(data: Buffer, at: number, end: number): number {
    let size: number;
    if (this.partialBytes === 0 && end - at >= 4) {
      size = data.readInt32BE(at);
      at += 4;
    } else {
      at = this.collect(data, at, end, 4);
      if (this.partialBytes < 4) return at;
      size = (this.partial as Buffer).readInt32BE(0);
      this.partialBytes = 0;
    }
    const error = (this.command as BodyCommand).size(this.client, size);
    if (error !== undefined) {
      this.fail(error);
      return at;
    }
    this.bodyBytes = size;
    this.mode = BODY;
    return at;
  }

  private readBody(data: Buffer, at: number, end: number): number {
    const command = this.command as BodyCommand;
    if (this.pieces === undefined) {
      // Whole in what the socket delivered: decoded in place.
      const length = command.measure(this.client, data, at, end, this.bodyBytes, true);
      if (typeof length !== "number") {
        this.fail(length);
        return at;
      }
      if (length > 0) {
        this.mode = COMMAND;
        this.finishBody(command, data, at, at + length);
        return at + length;
      }
    }
    return this.collectBody(command, data, at, end);
  }

  private finishBody(command: BodyCommand, buffer: Buffer, from: number, to: number): void {
    this.lastCommandMs = this.client.broker.nowMs;
    const result = command.body(this.client, buffer, from, to);
    if (result === undefined) return;
    if (result === WAIT) this.wait(command, buffer, from, to);
    else this.fail(result);
  }

  /** Puts a command off until goOn(). */
  private wait(command: BodyCommand | undefined, buffer: Buffer, from: number, to: number): void {
    this.waiting = { command, bytes: Buffer.from(buffer.subarray(from, to)) };
    this.mode = WAITING;
    // What is on its way already still comes, and is kept.
    this.client.pauseReading();
  }

  private fail(error: ProtocolError): void {
    this.client.fail(error);
    if (!error.fatal) this.mode = COMMAND;
  }

  /** Adds a piece to a body that comes in several. */
  private collectBody(command: BodyCommand, data: Buffer, at: number, end: number): number {
    const { client } = this;
    const first = this.pieces === undefined;
    this.pieces ??= new PieceBuffer(client.broker.chunks);
    const { pieces } = this;
    const wanted = Math.max(this.bodyBytes, command.needed(client, this.bodyBytes));
    const taken = Math.min(end - at, wanted - pieces.length);
    pieces.append(data, at, at + taken, wanted);
    const length = command.measure(client, pieces.buffer, 0, pieces.length, this.bodyBytes, first);
    if (typeof length !== "number") {
      this.fail(length);
    } else if (length > 0) {
      this.pieces = undefined;
      this.mode = COMMAND;
      this.finishBody(command, pieces.buffer, 0, length);
      // An MPUB whose messages end before its stated size: nsqd reads on there, and so do we.
      if (length < pieces.length) this.take(Buffer.from(pieces.buffer.subarray(length, pieces.length)));
      pieces.clear();
    }
    return at + taken;
  }

  /** Keeps bytes until there are `wanted` of them. @returns the offset behind what was taken */
  private collect(data: Buffer, at: number, end: number, wanted: number): number {
    const take = Math.min(end - at, wanted - this.partialBytes);
    if (this.partial === undefined || this.partial.length < this.partialBytes + take) {
      const larger = Buffer.allocUnsafeSlow(Math.min(MAX_LINE_BYTES, Math.max(32, 2 * (this.partialBytes + take))));
      this.partial?.copy(larger, 0, 0, this.partialBytes);
      this.partial = larger;
    }
    data.copy(this.partial, this.partialBytes, at, at + take);
    this.partialBytes += take;
    return at + take;
  }
}
