import type { Logger } from "../../base/logger.ts";
import { fatal, type ProtocolError } from "../../frame/error.ts";
import { encodeFrame, FRAME_TYPE_ERROR, MAGIC_V2, MESSAGE_ID_BYTES } from "../../frame/frame.ts";
import { Line } from "../../frame/line.ts";
import { PieceBuffer } from "../../net/piece-buffer.ts";
import type { Chunk, ChunkPool } from "../storage/log/chunk.ts";
import type { CommandClient } from "./commands/client.ts";
import { type BodyCommand, type Command, WAIT } from "./commands/command.ts";
import { findCommand, findYouzanCommand, findYouzanVerb } from "./commands/commands.ts";
import { FIN_LINE_BYTES, finishLines, isFinLine } from "./commands/fin.ts";
import { IDENTIFY } from "./commands/identify.ts";
import { MPUB_EXT } from "./commands/youzan/mpub.ts";
import { PUB_EXT } from "./commands/youzan/pub.ts";

/** nsqd reads commands through a buffer of this size; a longer line ends the connection. */
const MAX_LINE_BYTES = 16 * 1024;

const LF = 0x0a;
const CR = 0x0d;

// What the next byte belongs to.
const MAGIC = 0;
const COMMAND = 1;
const SIZE = 2;
const BODY = 3;
/** A command waits for an answer from elsewhere, and everything after it waits for that command. */
const WAITING = 4;
/** Nothing: IDENTIFY was answered, and not all of the layers that it agreed on are there. */
const IGNORED = 5;

/** Filled by each line in turn: a line is executed before the next one is decoded. */
const line = new Line();

/** The verbs that a raw id follows, with their spaces. */
const FIN_VERB = Buffer.from("FIN ");
const REQ_VERB = Buffer.from("REQ ");
const TOUCH_VERB = Buffer.from("TOUCH ");
const LONGEST_VERB_BYTES = TOUCH_VERB.length;
/** The beginning of a line that came in pieces. */
const verb = Buffer.alloc(LONGEST_VERB_BYTES);

/** The client whose bytes are decoded. */
export type DecodedClient = CommandClient & {
  /** No more of the client's commands are executed. */
  readonly closing: boolean;
  /** All commands but IDENTIFY are refused until the client speaks TLS. */
  readonly isTlsRequired: boolean;
  /** Sends an error. A fatal one ends the connection. */
  fail(error: ProtocolError): void;
  closeGracefully(): void;
  pauseReading(): void;
};

/** What a decoder needs of the broker. */
export interface DecoderServices {
  readonly turn: { readonly nowMs: number; readonly currentMs: number; wakeAt(atMs: number): void };
  readonly logger: Logger;
  readonly chunks: ChunkPool;
}

/**
 * Splits a client's bytes into commands (https://nsq.io/clients/tcp_protocol_spec.html) and has them executed, whatever
 * pieces they come in. A command that is whole in one piece is decoded in place, without a string or an object per message.
 */
export class Decoder {
  /** When the last line or body was complete, by the broker's time, ms. */
  lastCommandMs: number;
  /** The client ended its side while a command waited. */
  inputEnded = false;

  /** The client speaks Youzan's form of the protocol. */
  speaksYouzan = false;
  /** The ids in FIN, REQ and TOUCH are 16 bytes of any kind, line ends included. */
  hasRawIds = false;

  private mode = MAGIC;
  /** Bytes of a magic, a line or a size word that is not complete. */
  private partial: Buffer | undefined;
  private partialBytes = 0;
  /** The command whose size word or body is next, and what its size word says. */
  private command: BodyCommand | undefined;
  private bodyBytes = 0;
  /** The beginning of a body that comes in several pieces. */
  private pieces: PieceBuffer<Chunk> | undefined;

  /** The command that waits: its body, or its line if no command is named. */
  private waitingCommand: { command: BodyCommand | undefined; bytes: Buffer } | undefined;
  /** What came after it. */
  private postponed: Buffer[] = [];

  constructor(
    private readonly client: DecodedClient,
    private readonly services: DecoderServices,
  ) {
    this.lastCommandMs = services.turn.currentMs;
  }

  /** Whether frames may be sent to the client: it has sent its magic, and no layer is being put on. */
  get acceptsFrames(): boolean {
    return this.mode !== MAGIC && this.mode !== IGNORED;
  }

  /** The client has sent its magic. */
  get hasMagic(): boolean {
    return this.mode !== MAGIC;
  }

  /** A command waits for an answer from elsewhere. */
  get isWaiting(): boolean {
    return this.mode === WAITING;
  }

  /** Drops everything that comes before acceptCommands(). */
  ignoreInput(): void {
    this.mode = IGNORED;
  }

  acceptCommands(): void {
    this.mode = COMMAND;
  }

  /** The client was not read until now: its silence counts from here. */
  restartSilence(): void {
    this.lastCommandMs = this.services.turn.nowMs;
  }

  /** Executes the commands in these bytes, and keeps an incomplete one. The buffer is the caller's again when this returns. */
  decode(data: Buffer): void {
    const { client } = this;
    const end = data.length;
    let at = 0;
    let view: DataView | undefined;
    while (at < end && !client.closing) {
      if (this.mode === COMMAND) {
        let finished = 0;
        // A FIN is the commonest line by far. It is decoded without a search for its end.
        if (!this.hasRawIds && this.partialBytes === 0 && end - at >= FIN_LINE_BYTES && isFinLine(data, at)) {
          // One view for all that the socket delivered: FINs out of order must not cost one each.
          if (end - at >= 2 * FIN_LINE_BYTES) view ??= new DataView(data.buffer, data.byteOffset, data.byteLength);
          finished = finishLines(client, data, view, at, end);
          if (finished > 0) this.lastCommandMs = this.services.turn.nowMs;
        }
        at = finished > 0 ? at + finished * FIN_LINE_BYTES : this.decodeLine(data, at, end);
      } else if (this.mode === BODY) {
        at = this.decodeBody(data, at, end);
      } else if (this.mode === SIZE) {
        at = this.decodeSize(data, at, end);
      } else if (this.mode === WAITING) {
        this.postponed.push(Buffer.from(data.subarray(at, end)));
        return;
      } else if (this.mode === MAGIC) {
        at = this.decodeMagic(data, at, end);
      } else {
        return;
      }
    }
  }

  /** The client has ended its side. @returns false: a command waits, and the end counts when resume() has executed it */
  onInputEnd(): boolean {
    if (this.mode === WAITING) {
      this.inputEnded = true;
      return false;
    }
    if (this.mode === SIZE || this.mode === BODY) {
      this.client.fail((this.command as BodyCommand).truncated(this.mode === BODY, this.client));
    }
    return true;
  }

  /** The answer that a command waits for is there: executes it, and what came after it. @returns false: none waited, or one waits again */
  resume(): boolean {
    const waiting = this.waitingCommand;
    if (waiting === undefined) return false;
    this.waitingCommand = undefined;
    this.mode = COMMAND;
    if (waiting.command === undefined) this.execute(waiting.bytes, 0, waiting.bytes.length);
    else this.executeBody(waiting.command, waiting.bytes, 0, waiting.bytes.length);
    const { postponed } = this;
    this.postponed = [];
    for (const data of postponed) this.decode(data);
    return !this.isWaiting;
  }

  /** The connection is closed: frees the memory. */
  dispose(): void {
    this.waitingCommand = undefined;
    this.postponed = [];
    this.pieces?.clear();
    this.pieces = undefined;
  }

  // ---- Each of these decodes a part from `at` on, and returns the offset behind it.

  private decodeMagic(data: Buffer, at: number, end: number): number {
    const { client, services } = this;
    at = this.appendPartial(data, at, end, MAGIC_V2.length);
    if (this.partialBytes < MAGIC_V2.length) return at;
    const magic = (this.partial as Buffer).toString("latin1", 0, MAGIC_V2.length);
    this.partialBytes = 0;
    services.logger.info(`CLIENT(${client.remoteAddress}): desired protocol magic '${magic}'`, client);
    if (magic !== MAGIC_V2) {
      services.logger.error(`client(${client.remoteAddress}) bad protocol magic '${magic}'`, client);
      client.respond(encodeFrame(FRAME_TYPE_ERROR, "E_BAD_PROTOCOL"));
      client.closeGracefully();
    }
    this.mode = COMMAND;
    services.turn.wakeAt(services.turn.nowMs + client.heartbeatIntervalMs);
    return at;
  }

  private decodeLine(data: Buffer, at: number, end: number): number {
    let stop = this.hasRawIds ? this.skipRawId(data, at, end) : at;
    while (stop < end && data[stop] !== LF) stop++;
    const length = this.partialBytes + stop - at;
    if (length >= MAX_LINE_BYTES) {
      const { client, services } = this;
      services.logger.error(`client(${client.remoteAddress}) - failed to read command - line longer than ${MAX_LINE_BYTES} bytes`, client);
      client.closeGracefully();
      return end;
    }
    if (stop === end) return this.appendPartial(data, at, end, length);
    if (this.partialBytes > 0) {
      this.appendPartial(data, at, stop, length);
      this.partialBytes = 0;
      this.execute(this.partial as Buffer, 0, length);
    } else {
      this.execute(data, at, stop);
    }
    return stop + 1;
  }

  /** Where the end of a line is to be looked for: behind its raw id, if it has one. */
  private skipRawId(data: Buffer, at: number, end: number): number {
    const { partialBytes } = this;
    if (partialBytes === 0) return Math.min(end, at + rawIdEnd(data, at, end));
    // A verb may come in pieces. What was kept of it ends before its id, or has all of the verb.
    if (partialBytes < LONGEST_VERB_BYTES) {
      const added = Math.min(end - at, LONGEST_VERB_BYTES - partialBytes);
      verb.set((this.partial as Buffer).subarray(0, partialBytes));
      verb.set(data.subarray(at, at + added), partialBytes);
      return Math.min(end, at + Math.max(0, rawIdEnd(verb, 0, partialBytes + added) - partialBytes));
    }
    return Math.min(end, at + Math.max(0, rawIdEnd(this.partial as Buffer, 0, partialBytes) - partialBytes));
  }

  private decodeSize(data: Buffer, at: number, end: number): number {
    let size: number;
    if (this.partialBytes === 0 && end - at >= 4) {
      size = data.readInt32BE(at);
      at += 4;
    } else {
      at = this.appendPartial(data, at, end, 4);
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

  private decodeBody(data: Buffer, at: number, end: number): number {
    const command = this.command as BodyCommand;
    if (this.pieces === undefined) {
      // A body that is whole in what the socket delivered is decoded in place.
      const length = command.measure(this.client, data, at, end, this.bodyBytes, true);
      if (typeof length !== "number") {
        this.fail(length);
        return at;
      }
      if (length > 0) {
        this.mode = COMMAND;
        this.executeBody(command, data, at, at + length);
        return at + length;
      }
    }
    return this.appendBody(command, data, at, end);
  }

  /** Adds a piece to a body that comes in several. */
  private appendBody(command: BodyCommand, data: Buffer, at: number, end: number): number {
    const { client } = this;
    const isFirst = this.pieces === undefined;
    this.pieces ??= new PieceBuffer(this.services.chunks);
    const { pieces } = this;
    const needed = Math.max(this.bodyBytes, command.needed(client, this.bodyBytes));
    const to = at + Math.min(end - at, needed - pieces.length);
    pieces.append(data, at, to, needed);
    const length = command.measure(client, pieces.buffer, 0, pieces.length, this.bodyBytes, isFirst);
    if (typeof length !== "number") {
      this.fail(length);
    } else if (length > 0) {
      this.pieces = undefined;
      this.mode = COMMAND;
      this.executeBody(command, pieces.buffer, 0, length);
      // An MPUB's messages may end before its stated size. nsqd goes on there, and so does this.
      if (length < pieces.length) this.decode(Buffer.from(pieces.buffer.subarray(length, pieces.length)));
      pieces.clear();
    }
    return to;
  }

  /** Keeps bytes until there are `wanted` of them. */
  private appendPartial(data: Buffer, at: number, end: number, wanted: number): number {
    const added = Math.min(end - at, wanted - this.partialBytes);
    if (this.partial === undefined || this.partial.length < this.partialBytes + added) {
      const larger = Buffer.allocUnsafeSlow(Math.min(MAX_LINE_BYTES, Math.max(32, 2 * (this.partialBytes + added))));
      this.partial?.copy(larger, 0, 0, this.partialBytes);
      this.partial = larger;
    }
    data.copy(this.partial, this.partialBytes, at, at + added);
    this.partialBytes += added;
    return at + added;
  }

  // ---- execution

  private execute(buffer: Buffer, start: number, lineEnd: number): void {
    const { client } = this;
    const idEnd = this.hasRawIds ? start + rawIdEnd(buffer, start, lineEnd) : start;
    let end = lineEnd;
    if (end > idEnd && buffer[end - 1] === CR) end--;
    if (idEnd > start) line.setWithId(buffer, start, idEnd - MESSAGE_ID_BYTES, idEnd, end);
    else line.set(buffer, start, end);
    this.lastCommandMs = this.services.turn.nowMs;
    const command = this.speaksYouzan ? findYouzanCommand(line) : (findCommand(line) ?? this.startYouzan());
    if (client.isTlsRequired && command !== IDENTIFY) {
      return this.fail(fatal("E_INVALID", `cannot ${line.text(0)} in current state (TLS required)`));
    }
    if (command === undefined) {
      return this.fail(fatal("E_INVALID", `invalid command ${this.speaksYouzan ? wordsAsBytes(buffer, start, end) : line.text(0)}`));
    }
    const result = command.execute(client, line);
    if (result !== undefined) return result === WAIT ? this.postpone(undefined, buffer, start, lineEnd) : this.fail(result);
    if ("body" in command) {
      this.command = command as BodyCommand;
      this.mode = SIZE;
    }
  }

  /** A command that NSQ does not have: one of Youzan's is the first sign of such a client, unless it negotiated just these. */
  private startYouzan(): Command | undefined {
    const command = findYouzanVerb(line);
    const isOwn = (command === PUB_EXT || command === MPUB_EXT) && this.client.publisher.makesTopics;
    if (command !== undefined && !isOwn) this.client.speakYouzan();
    return command;
  }

  private executeBody(command: BodyCommand, buffer: Buffer, from: number, to: number): void {
    this.lastCommandMs = this.services.turn.nowMs;
    const result = command.body(this.client, buffer, from, to);
    if (result === undefined) return;
    if (result === WAIT) this.postpone(command, buffer, from, to);
    else this.fail(result);
  }

  /** Keeps a command until resume(). */
  private postpone(command: BodyCommand | undefined, buffer: Buffer, from: number, to: number): void {
    this.waitingCommand = { command, bytes: Buffer.from(buffer.subarray(from, to)) };
    this.mode = WAITING;
    // Bytes that are on their way already still come. They are kept, too.
    this.client.pauseReading();
  }

  private fail(error: ProtocolError): void {
    this.client.fail(error);
    if (!error.fatal) this.mode = COMMAND;
  }
}

/** How many bytes a line has up to the end of its raw id; 0 if it has none, or if too little of [start, end) is there to tell. */
function rawIdEnd(bytes: Buffer, start: number, end: number): number {
  if (begins(bytes, start, end, FIN_VERB) || begins(bytes, start, end, REQ_VERB)) return FIN_VERB.length + MESSAGE_ID_BYTES;
  return begins(bytes, start, end, TOUCH_VERB) ? TOUCH_VERB.length + MESSAGE_ID_BYTES : 0;
}

function begins(bytes: Buffer, start: number, end: number, expected: Buffer): boolean {
  if (end - start < expected.length) return false;
  for (let i = 0; i < expected.length; i++) if (bytes[start + i] !== expected[i]) return false;
  return true;
}

/** The words of a line as Go prints lists of bytes. */
function wordsAsBytes(buffer: Buffer, start: number, end: number): string {
  const words = buffer.toString("latin1", start, end).split(" ");
  return `[${words.map((word) => `[${Buffer.from(word, "latin1").join(" ")}]`).join(" ")}]`;
}
