import { fatal, type ProtocolError } from "../frame/error.ts";
import type { Session } from "./commands/command.ts";
import { findCommand } from "./commands/find-command.ts";
import { checkIdentify, identify } from "./commands/identify.ts";
import { Inbox } from "./inbox.ts";
import type { Lookup } from "./lookup.ts";
import type { Producer } from "./producer.ts";
import { encodeResponse } from "./response.ts";
import { trimSpace } from "./text.ts";

/** How a client says that it speaks this protocol. */
const MAGIC_V1 = "  V1";
/** Longer lines end the connection: a command with the longest names takes 140 bytes. nsqlookupd has no bound. */
const MAX_LINE_BYTES = 16 * 1024;
/** Of more commands than this at once the rest wait until others had their turn. */
const COMMANDS_PER_TURN = 256;
/** Of a broker that left so many registrations are taken away at a time: a fraction of a millisecond. */
const FORGOTTEN_PER_TURN = 200;
/** How long a client may take to read our last words and to hang up. */
const LINGER_MS = 2000;
/** Of the word in front of IDENTIFY's body. */
const SIZE_BYTES = 4;

const EMPTY = Buffer.alloc(0);

const MAGIC = 0;
const LINE = 1;
const SIZE = 2;
const BODY = 3;

/** The part of a Bun socket that a connection uses. */
export interface ClientSocket {
  /** @returns how many bytes were taken; 0 or less when none were, until the next drain */
  write(bytes: Uint8Array): number;
  /** Ends the writing side. */
  end(): void;
  /** Cuts the connection now. */
  terminate(): void;
  pause(): void;
  resume(): void;
}

/**
 * One broker's connection: takes its bytes apart into commands and answers each in turn.
 * https://nsq.io/components/nsqlookupd.html, nsqlookupd/lookup_protocol_v1.go
 */
export class Connection implements Session {
  producer: Producer | undefined;

  private mode = MAGIC;
  private readonly inbox = new Inbox();
  private bodyBytes = 0;
  /** Answers of this turn. */
  private answers: Buffer[] = [];
  /** Bytes that the kernel has not taken yet; while there are any, no command is carried out. */
  private unsent: Buffer = EMPTY;
  /** Commands wait for the next turn. */
  private scheduled = false;
  private reading = true;
  private inputEnded = false;
  /** Nothing more is read; the connection ends when what it still gets is out. */
  private dying = false;
  private closed = false;
  private lingerTimer: Timer | undefined;

  constructor(
    readonly lookup: Lookup,
    private readonly socket: ClientSocket,
    readonly remoteAddress: string,
  ) {}

  /** Bytes from the client, which stay as they are. */
  receive(data: Buffer): void {
    if (this.dying) return;
    this.inbox.push(data);
    if (!this.busy) this.work();
  }

  /** The client has ended its side: what it sent is answered, then the connection ends. */
  end(): void {
    this.inputEnded = true;
    if (!this.busy && !this.dying) this.work();
  }

  /** The kernel takes bytes again. */
  drained(): void {
    if (this.closed) return;
    this.flush();
    if (this.unsent.length === 0 && !this.dying && !this.scheduled) this.work();
  }

  /** The socket is gone. */
  socketClosed(): void {
    this.closed = true;
    this.dying = true;
    clearTimeout(this.lingerTimer);
    this.leave();
  }

  /** The server goes down. */
  hangUp(): void {
    this.die();
    this.flush();
  }

  private get busy(): boolean {
    return this.scheduled || this.unsent.length > 0;
  }

  private work(): void {
    let steps = 0;
    while (!this.dying && this.step()) {
      if (++steps < COMMANDS_PER_TURN) continue;
      this.scheduled = true;
      setImmediate(() => this.goOn());
      break;
    }
    if (!this.dying && !this.scheduled) {
      this.inbox.keepRest();
      if (this.inputEnded) this.finish();
    }
    this.flush();
  }

  private goOn(): void {
    this.scheduled = false;
    if (!this.dying && !this.busy) this.work();
  }

  /** Carries out the next command, or a part of one. @returns false when more bytes are needed */
  private step(): boolean {
    const { inbox } = this;
    switch (this.mode) {
      case MAGIC:
        if (inbox.length < MAGIC_V1.length) return false;
        this.readMagic(inbox.take(MAGIC_V1.length).toString("latin1"));
        return true;
      case LINE: {
        const line = inbox.takeLine();
        if ((line?.length ?? inbox.length) >= MAX_LINE_BYTES) {
          this.lookup.log.error(`[${this.remoteAddress}] - line longer than ${MAX_LINE_BYTES} bytes`);
          this.die();
          return false;
        }
        if (line === undefined) return false;
        this.execute(trimSpace(line).split(" "));
        return true;
      }
      case SIZE: {
        if (inbox.length < SIZE_BYTES) return false;
        this.bodyBytes = inbox.takeInt32();
        const error = checkIdentify(this.bodyBytes);
        if (error !== undefined) this.answer(error);
        this.mode = BODY;
        return true;
      }
      default:
        if (inbox.length < this.bodyBytes) return false;
        this.mode = LINE;
        this.answer(identify(this, inbox.take(this.bodyBytes)));
        return true;
    }
  }

  private readMagic(magic: string): void {
    const { log } = this.lookup;
    log.info(`CLIENT(${this.remoteAddress}): desired protocol magic '${magic}'`);
    if (magic !== MAGIC_V1) {
      log.error(`client(${this.remoteAddress}) bad protocol magic '${magic}'`);
      this.answers.push(encodeResponse("E_BAD_PROTOCOL"));
      this.die();
    }
    this.mode = LINE;
  }

  private execute(words: string[]): void {
    const command = findCommand(words[0]);
    if (command === undefined) return this.answer(fatal("E_INVALID", `invalid command ${words[0]}`));
    const answer = command(this, words);
    if (answer === "body") this.mode = SIZE;
    else this.answer(answer);
  }

  /** The client sends no more, and what it sent is answered, except for what it left unfinished. */
  private finish(): void {
    if (this.mode === SIZE) this.answer(fatal("E_BAD_BODY", "IDENTIFY failed to read body size"));
    else if (this.mode === BODY) this.answer(fatal("E_BAD_BODY", "IDENTIFY failed to read body"));
    this.die();
  }

  private answer(answer: Buffer | ProtocolError): void {
    if (!("code" in answer)) {
      this.answers.push(answer);
      return;
    }
    const text = `${answer.code} ${answer.text}`;
    this.lookup.log.error(`[${this.remoteAddress}] - ${text}`);
    this.answers.push(encodeResponse(Buffer.from(text, "latin1")));
    if (answer.fatal) this.die();
  }

  /** Sends the answers; reads on only when the client has room for more. */
  private flush(): void {
    if (this.closed) return;
    if (this.answers.length > 0) {
      const { answers } = this;
      this.answers = [];
      this.unsent = this.unsent.length === 0 && answers.length === 1 ? answers[0] : Buffer.concat([this.unsent, ...answers]);
    }
    if (this.unsent.length > 0) this.unsent = this.unsent.subarray(Math.max(0, this.socket.write(this.unsent)));
    if (this.dying) {
      if (this.unsent.length === 0) this.socket.end();
      return;
    }
    if (this.reading !== this.busy) return;
    this.reading = !this.busy;
    if (this.reading) this.socket.resume();
    else this.socket.pause();
  }

  private die(): void {
    if (this.dying) return;
    this.dying = true;
    this.leave();
    this.lingerTimer = setTimeout(() => this.socket.terminate(), LINGER_MS);
  }

  /** Clients are not to be sent to a broker that is gone. */
  private leave(): void {
    const { producer } = this;
    if (producer === undefined) return;
    this.producer = undefined;
    const count = this.lookup.registry.removeProducer(producer);
    // nsqlookupd has a line for each: thousands of them would keep others waiting.
    this.lookup.log.info(`DB: client(${this.remoteAddress}) UNREGISTER all, ${count} topics and channels`);
    this.forget(producer);
  }

  private forget(producer: Producer): void {
    if (!this.lookup.registry.forget(producer, FORGOTTEN_PER_TURN)) setImmediate(() => this.forget(producer));
  }
}
