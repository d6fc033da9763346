import { fatal, type ProtocolError } from "../frame/error.ts";
import type { ClientConnection } from "../net/client-listener.ts";
import type { Session } from "./commands/command.ts";
import { findCommand } from "./commands/find-command.ts";
import { acceptIdentity, checkBodySize } from "./commands/identify.ts";
import { Inbox } from "./inbox.ts";
import type { Lookup } from "./lookup.ts";
import type { RegisteredNode } from "./registered-node.ts";
import { encodeResponse } from "./response.ts";
import { trimSpace } from "./text.ts";

/** The first bytes of a client that speaks this protocol. */
const MAGIC_V1 = "  V1";
/** A longer line ends the connection. A command with the longest names has 140 bytes. nsqlookupd has no limit. */
const MAX_LINE_BYTES = 16 * 1024;
/** If a client sends more commands at once, the others wait for a later turn, so that other clients are served in between. */
const COMMANDS_PER_TURN = 256;
/** Registrations of a broker that has gone are removed in slices of this size, which take a fraction of a millisecond. */
const UNREGISTERED_PER_TURN = 200;
/** How long a client may take to read the last answers and to close its side. */
const LINGER_MS = 2000;
/** The size word in front of IDENTIFY's body. */
const SIZE_BYTES = 4;

const EMPTY = Buffer.alloc(0);

const MAGIC = 0;
const LINE = 1;
const SIZE = 2;
const BODY = 3;

/** The methods of a Bun socket that a connection uses. */
export interface ClientSocket {
  /** @returns how many bytes were accepted; 0 or less if none, until the next drain */
  write(bytes: Uint8Array): number;
  /** Ends the writing side. */
  end(): void;
  /** Cuts the connection now. */
  terminate(): void;
  pause(): void;
  resume(): void;
}

/**
 * One broker's connection: decodes its bytes into commands, and answers them in order.
 * https://nsq.io/components/nsqlookupd.html, nsqlookupd/lookup_protocol_v1.go
 */
export class Connection implements Session, ClientConnection {
  node: RegisteredNode | undefined;

  private mode = MAGIC;
  private readonly inbox = new Inbox();
  private bodyBytes = 0;
  /** The responses of this turn. */
  private responses: Buffer[] = [];
  /** Bytes that the kernel has not accepted yet. While there are any, no command is executed. */
  private unsent: Buffer = EMPTY;
  /** Whether commands wait for the next turn. */
  private scheduled = false;
  private reading = true;
  private inputEnded = false;
  /** Nothing more is read. The connection ends when its last responses are sent. */
  private closing = false;
  private closed = false;
  private lingerTimer: Timer | undefined;

  constructor(
    readonly lookup: Lookup,
    private readonly socket: ClientSocket,
    readonly remoteAddress: string,
  ) {}

  /** Bytes from the client. The buffer must not be changed afterwards. */
  receive(data: Buffer): void {
    if (this.closing) return;
    this.inbox.push(data);
    if (!this.busy) this.processCommands();
  }

  /** The client has ended its side. Its commands are answered, then the connection ends. */
  onInputEnd(): void {
    this.inputEnded = true;
    if (!this.busy && !this.closing) this.processCommands();
  }

  /** The kernel accepts bytes again. */
  onDrain(): void {
    if (this.closed) return;
    this.flush();
    if (this.unsent.length === 0 && !this.closing && !this.scheduled) this.processCommands();
  }

  /** The socket is closed. */
  onSocketClosed(): void {
    this.closed = true;
    this.closing = true;
    clearTimeout(this.lingerTimer);
    this.unregisterNode();
  }

  /** Ends the connection when its last responses are sent. */
  closeGracefully(): void {
    this.beginClose();
    this.flush();
  }

  abort(): void {
    this.socket.terminate();
  }

  private get busy(): boolean {
    return this.scheduled || this.unsent.length > 0;
  }

  private processCommands(): void {
    let steps = 0;
    while (!this.closing && this.processNext()) {
      if (++steps < COMMANDS_PER_TURN) continue;
      this.scheduled = true;
      setImmediate(() => this.resume());
      break;
    }
    if (!this.closing && !this.scheduled) {
      this.inbox.compact();
      if (this.inputEnded) this.finishInput();
    }
    this.flush();
  }

  private resume(): void {
    this.scheduled = false;
    if (!this.closing && !this.busy) this.processCommands();
  }

  /** Executes the next command, or a part of one. @returns false if more bytes are needed */
  private processNext(): boolean {
    const { inbox } = this;
    switch (this.mode) {
      case MAGIC:
        if (inbox.length < MAGIC_V1.length) return false;
        this.acceptMagic(inbox.readBytes(MAGIC_V1.length).toString("latin1"));
        return true;
      case LINE: {
        const line = inbox.readLine();
        if ((line?.length ?? inbox.length) >= MAX_LINE_BYTES) {
          this.lookup.logger.error(`[${this.remoteAddress}] - line longer than ${MAX_LINE_BYTES} bytes`, {
            part: "tcp",
            client: this.remoteAddress,
          });
          this.beginClose();
          return false;
        }
        if (line === undefined) return false;
        this.execute(trimSpace(line).split(" "));
        return true;
      }
      case SIZE: {
        if (inbox.length < SIZE_BYTES) return false;
        this.bodyBytes = inbox.readInt32();
        const error = checkBodySize(this.bodyBytes);
        if (error !== undefined) this.respond(error);
        this.mode = BODY;
        return true;
      }
      default:
        if (inbox.length < this.bodyBytes) return false;
        this.mode = LINE;
        this.respond(acceptIdentity(this, inbox.readBytes(this.bodyBytes)));
        return true;
    }
  }

  private acceptMagic(magic: string): void {
    const { logger } = this.lookup;
    logger.info(`CLIENT(${this.remoteAddress}): desired protocol magic '${magic}'`, { part: "tcp", client: this.remoteAddress });
    if (magic !== MAGIC_V1) {
      logger.error(`client(${this.remoteAddress}) bad protocol magic '${magic}'`, { part: "tcp", client: this.remoteAddress });
      this.responses.push(encodeResponse("E_BAD_PROTOCOL"));
      this.beginClose();
    }
    this.mode = LINE;
  }

  private execute(words: string[]): void {
    const command = findCommand(words[0]);
    if (command === undefined) return this.respond(fatal("E_INVALID", `invalid command ${words[0]}`));
    const answer = command(this, words);
    if (answer === "body") this.mode = SIZE;
    else this.respond(answer);
  }

  /** The client sends no more, and all its complete commands are answered. */
  private finishInput(): void {
    if (this.mode === SIZE) this.respond(fatal("E_BAD_BODY", "IDENTIFY failed to read body size"));
    else if (this.mode === BODY) this.respond(fatal("E_BAD_BODY", "IDENTIFY failed to read body"));
    this.beginClose();
  }

  private respond(answer: Buffer | ProtocolError): void {
    if (!("code" in answer)) {
      this.responses.push(answer);
      return;
    }
    const text = `${answer.code} ${answer.text}`;
    this.lookup.logger.error(`[${this.remoteAddress}] - ${text}`, { part: "tcp", client: this.remoteAddress });
    this.responses.push(encodeResponse(Buffer.from(text, "latin1")));
    if (answer.fatal) this.beginClose();
  }

  /** Sends the responses. Continues to read only if the kernel has accepted all of them. */
  private flush(): void {
    if (this.closed) return;
    if (this.responses.length > 0) {
      const { responses } = this;
      this.responses = [];
      this.unsent = this.unsent.length === 0 && responses.length === 1 ? responses[0] : Buffer.concat([this.unsent, ...responses]);
    }
    if (this.unsent.length > 0) this.unsent = this.unsent.subarray(Math.max(0, this.socket.write(this.unsent)));
    if (this.closing) {
      if (this.unsent.length === 0) this.socket.end();
      return;
    }
    if (this.reading !== this.busy) return;
    this.reading = !this.busy;
    if (this.reading) this.socket.resume();
    else this.socket.pause();
  }

  private beginClose(): void {
    if (this.closing) return;
    this.closing = true;
    this.unregisterNode();
    this.lingerTimer = setTimeout(() => this.socket.terminate(), LINGER_MS);
  }

  /** Removes the broker's registrations, so that clients are not sent to a broker that has gone. */
  private unregisterNode(): void {
    const { node } = this;
    if (node === undefined) return;
    this.node = undefined;
    const count = this.lookup.registry.removeNode(node);
    // nsqlookupd logs a line for each. Thousands of lines would block the other clients.
    this.lookup.logger.info(`DB: client(${this.remoteAddress}) UNREGISTER all, ${count} topics and channels`, {
      part: "tcp",
      client: this.remoteAddress,
    });
    this.unregisterInSlices(node);
  }

  private unregisterInSlices(node: RegisteredNode): void {
    if (!this.lookup.registry.unregisterSome(node, UNREGISTERED_PER_TURN)) setImmediate(() => this.unregisterInSlices(node));
  }
}
