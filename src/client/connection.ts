import type { Timer } from "../base/clock.ts";
import { FRAME_TYPE_ERROR, FRAME_TYPE_MESSAGE, FRAME_TYPE_RESPONSE, MAGIC_V2 } from "../frame/frame.ts";
import { type ConnectionSettings, parseBroker } from "./connection-options.ts";
import { asError, BrokerError, ClientError } from "./errors.ts";
import type { Features } from "./events.ts";
import { parseFeatures } from "./features.ts";
import { FrameReader } from "./frame-reader.ts";
import type { CompressionLayer, LayerOutput } from "./layers.ts";
import { Outbox } from "./outbox.ts";
import type { ClientSocket, RemoteAddress, SocketEvents } from "./transport.ts";

const HEARTBEAT = "_heartbeat_";
/** Responses are short; those that every broker sends are recognized without decoding. */
const OK_BYTES = 2;
/** How long a broker may take to close its side. */
const MAX_ENDING_MS = 1000;

const decoder = new TextDecoder();

/** Who gets what a broker sends once the connection is open. */
export interface ConnectionOwner {
  /** A message's data is in [from, to) of the bytes. They are not used again, so views of them may be kept. */
  onMessage(connection: Connection, bytes: Uint8Array, from: number, to: number): void;
  /** @param text "OK", "CLOSE_WAIT" … */
  onResponse(connection: Connection, text: string): void;
  onErrorFrame(connection: Connection, error: BrokerError): void;
  /** The frames that came in one piece have been handed over. */
  onChunkEnd(connection: Connection): void;
  /** Called once. @param error undefined if this side closed it */
  onClosed(connection: Connection, error: ClientError | undefined): void;
}

/** One frame of a handshake. */
interface Answer {
  type: number;
  text: string;
}

/** A connection to a broker, from the socket's opening to its end: IDENTIFY, TLS, compression, AUTH, then commands. */
export class Connection implements SocketEvents, LayerOutput {
  features!: Features;
  /** The shortest round trip that the handshake has seen. */
  roundTripMs = Number.POSITIVE_INFINITY;
  readonly outbox = new Outbox();
  private readonly socket: ClientSocket;
  private readonly reader: FrameReader;
  private readonly address: RemoteAddress;
  private layer: CompressionLayer | undefined;
  private owner: ConnectionOwner | undefined;
  private isFlushPlanned = false;
  /** Frames are being handed over; what their receivers write is sent behind the last one. */
  private isReading = false;
  private isClosed = false;
  /** This side wants the connection to end. */
  private isEnding = false;
  private error: ClientError | undefined;
  private heardAtMs = 0;
  private silenceTimer: Timer | undefined;
  /** The step of the handshake that is under way. */
  private step: { resolve: (answer: Answer) => void; reject: (error: Error) => void } | undefined;
  /** Bytes that came behind a frame of the handshake, and the layer that they have passed. */
  private unread: Uint8Array | undefined;
  private unreadLayer: CompressionLayer | undefined;
  private endTimer: Timer | undefined;
  private command = "connect";

  /** Opens a connection. @throws ClientError; or the signal's reason */
  static async open(broker: string, settings: ConnectionSettings, signal?: AbortSignal): Promise<Connection> {
    signal?.throwIfAborted();
    const connection = new Connection(broker, settings);
    const timeout = settings.clock.callAfter(settings.connectTimeoutMs, () => {
      connection.fail(new ClientError("CONNECT_FAILED", `no connection within ${settings.connectTimeoutMs} ms`, { broker }));
    });
    const abort = () => connection.fail(new ClientError("CLOSED", "the connection is not wanted any more", { broker }));
    signal?.addEventListener("abort", abort, { once: true });
    try {
      await connection.shakeHands();
      // It may have ended behind the last answer, when there was nobody to tell.
      if (connection.error !== undefined) throw connection.error;
      return connection;
    } catch (error) {
      connection.destroy();
      throw error;
    } finally {
      settings.clock.cancel(timeout);
      signal?.removeEventListener("abort", abort);
    }
  }

  private constructor(
    readonly broker: string,
    private readonly settings: ConnectionSettings,
  ) {
    this.address = parseBroker(broker);
    this.reader = new FrameReader(this, settings.maxFrameBytes);
    this.socket = settings.transport.connect(this.address, this);
  }

  get isOpen(): boolean {
    return !this.isClosed;
  }

  /** How many bytes have been written and wait to be sent. */
  get waitingBytes(): number {
    return this.outbox.bytes + this.socket.waitingBytes;
  }

  /** Hands everything that comes from now on to its owner. */
  start(owner: ConnectionOwner): void {
    this.owner = owner;
    this.reader.isHalted = false;
    this.heardAtMs = this.settings.clock.steadyMs();
    this.watchSilence();
    this.readOn();
  }

  /** Sends what is in the outbox at the end of this turn of the event loop. */
  planFlush(): void {
    if (this.isFlushPlanned || this.isReading || this.isClosed) return;
    this.isFlushPlanned = true;
    this.settings.clock.callAfterTurn(() => {
      this.isFlushPlanned = false;
      this.flush();
    });
  }

  /** Sends what is in the outbox. */
  flush(): void {
    if (this.isClosed || this.outbox.isEmpty) return;
    this.outbox.flush(this);
  }

  /** The outbox's bytes, on their way to the socket. */
  write(bytes: Uint8Array): boolean {
    if (this.layer === undefined) return this.socket.write(bytes);
    this.layer.compress(bytes);
    return true;
  }

  /** Sends what was written, then closes. */
  end(): void {
    this.flush();
    this.isEnding = true;
    if (this.isClosed) return;
    if (this.layer === undefined) this.socket.end();
    else this.layer.whenIdle(() => this.socket.end());
    // A broker that does not close its side must not keep the process alive.
    this.endTimer ??= this.settings.clock.callAfter(MAX_ENDING_MS, () => this.destroy());
  }

  /** Closes now. */
  destroy(): void {
    this.isEnding = true;
    this.socket.destroy();
  }

  /** Ends the connection because of an error. */
  fail(error: ClientError): void {
    this.error ??= error;
    this.step?.reject(error);
    this.step = undefined;
    this.socket.destroy();
  }

  // ---- the handshake

  private async shakeHands(): Promise<void> {
    const { settings, broker } = this;
    await this.ask("connect", () => {});
    const sentAtMs = settings.clock.steadyMs();
    const text = await this.ask("IDENTIFY", () => {
      this.outbox.ascii(`${MAGIC_V2}IDENTIFY\n`).sized(JSON.stringify(settings.identity));
    });
    this.roundTripMs = settings.clock.steadyMs() - sentAtMs;
    try {
      this.features = parseFeatures(text);
    } catch (cause) {
      throw new ClientError("PROTOCOL", "the answer is not JSON", { broker, command: "IDENTIFY", cause });
    }
    if (settings.tls !== undefined) await this.startTls();
    if (this.features.snappy || this.features.deflate) await this.startCompression();
    if (settings.authSecret !== undefined && this.features.authRequired) {
      const secret = settings.authSecret;
      await this.ask("AUTH", () => void this.outbox.ascii("AUTH\n").sized(secret));
    }
  }

  private async startTls(): Promise<void> {
    const { broker, settings, address } = this;
    if (!this.features.tls) throw new ClientError("TLS_REFUSED", "the broker does not offer TLS", { broker, command: "IDENTIFY" });
    const tls = settings.tls ?? {};
    const serverName = tls.serverName ?? ("host" in address ? address.host : "localhost");
    await this.ask("TLS", () => {
      this.socket.startTls(tls, serverName);
    });
    await this.expectOk("TLS");
  }

  private async startCompression(): Promise<void> {
    const { snappy, deflateLevel } = this.features;
    try {
      // Most clients use neither.
      this.layer = snappy
        ? await (await import("./layers/snappy.ts")).snappyLayer(this)
        : await (await import("./layers/deflate.ts")).deflateLayer(deflateLevel, this);
    } catch (cause) {
      const text = "snappy needs the packages snappy and @node-rs/crc32: npm install snappy @node-rs/crc32";
      throw new ClientError("INVALID_OPTION", text, { broker: this.broker, cause });
    }
    await this.expectOk(snappy ? "snappy" : "deflate");
  }

  /** Waits for the OK that comes through a new layer. */
  private async expectOk(command: string): Promise<void> {
    const text = await this.ask(command, () => {});
    if (text !== "OK") throw new ClientError("PROTOCOL", `expected OK, not ${text.slice(0, 100)}`, { broker: this.broker, command });
  }

  /** Sends a command of the handshake. @returns the response. @throws ClientError */
  private async ask(command: string, send: () => void): Promise<string> {
    if (this.error !== undefined) throw this.error;
    this.command = command;
    const answer = await new Promise<Answer>((resolve, reject) => {
      this.step = { resolve, reject };
      send();
      this.flush();
      this.reader.isHalted = false;
      this.readOn();
    });
    const { broker } = this;
    if (answer.type === FRAME_TYPE_ERROR) throw brokerError(answer.text, broker, command);
    return answer.text;
  }

  private answer(answer: Answer): void {
    const { step } = this;
    this.step = undefined;
    step?.resolve(answer);
  }

  // ---- SocketEvents

  onOpen(): void {
    this.answer({ type: FRAME_TYPE_RESPONSE, text: "" });
  }

  onSecure(): void {
    this.answer({ type: FRAME_TYPE_RESPONSE, text: "" });
  }

  onData(bytes: Uint8Array): void {
    if (this.layer === undefined) this.read(bytes);
    else this.layer.decompress(bytes);
  }

  onDrain(): void {
    this.owner?.onChunkEnd(this);
  }

  onClose(error: Error | undefined): void {
    if (this.isClosed) return;
    this.isClosed = true;
    this.outbox.clear();
    this.layer?.close();
    for (const timer of [this.silenceTimer, this.endTimer]) if (timer !== undefined) this.settings.clock.cancel(timer);
    const { broker, command } = this;
    if (this.owner === undefined) {
      const code = command === "TLS" ? "TLS_FAILED" : "CONNECT_FAILED";
      const text = error?.message ?? "the broker closed the connection";
      this.error ??= new ClientError(code, text, { broker, command, cause: error });
      this.step?.reject(this.error);
      this.step = undefined;
      return;
    }
    if (!this.isEnding) {
      this.error ??= new ClientError("CONNECTION_LOST", error?.message ?? "the broker closed the connection", { broker, cause: error });
    }
    this.owner.onClosed(this, this.error);
  }

  // ---- LayerOutput

  onCompressed(bytes: Uint8Array): void {
    if (!this.isClosed) this.socket.write(bytes);
  }

  onDecompressed(bytes: Uint8Array): void {
    if (!this.isClosed) this.read(bytes);
  }

  onError(error: Error): void {
    this.fail(new ClientError("PROTOCOL", error.message, { broker: this.broker, cause: error }));
  }

  // ---- frames

  private read(bytes: Uint8Array): void {
    this.heardAtMs = this.settings.clock.steadyMs();
    if (this.unread !== undefined || this.reader.isHalted) {
      this.unread = this.unread === undefined ? bytes : concat(this.unread, bytes);
      this.unreadLayer = this.layer;
      return;
    }
    this.isReading = true;
    try {
      const used = this.reader.feed(bytes);
      if (used < bytes.length) this.unread = bytes.subarray(used);
      this.unreadLayer = this.layer;
    } catch (error) {
      return this.fail(new ClientError("PROTOCOL", asError(error).message, { broker: this.broker, cause: error }));
    } finally {
      this.isReading = false;
    }
    this.owner?.onChunkEnd(this);
    this.flush();
  }

  /** Reads what waited for the next step of the handshake, through the layer that is there by now. */
  private readOn(): void {
    const { unread } = this;
    this.unread = undefined;
    if (unread === undefined) return;
    if (this.unreadLayer === this.layer) this.read(unread);
    else this.onData(unread);
  }

  onFrame(type: number, bytes: Uint8Array, from: number, to: number): void {
    const { owner } = this;
    if (owner === undefined) {
      const text = decoder.decode(bytes.subarray(from, to));
      if (text === HEARTBEAT) return this.beat();
      this.reader.isHalted = true;
      return this.answer({ type, text });
    }
    if (type === FRAME_TYPE_MESSAGE) owner.onMessage(this, bytes, from, to);
    else if (type === FRAME_TYPE_ERROR) owner.onErrorFrame(this, brokerError(decoder.decode(bytes.subarray(from, to)), this.broker));
    else if (to - from === OK_BYTES) owner.onResponse(this, "OK");
    else {
      const text = decoder.decode(bytes.subarray(from, to));
      if (text === HEARTBEAT) this.beat();
      else owner.onResponse(this, text);
    }
  }

  private beat(): void {
    this.outbox.ascii("NOP\n");
    this.planFlush();
  }

  private watchSilence(): void {
    const { clock, heartbeatMs } = this.settings;
    this.silenceTimer = clock.callAfter(heartbeatMs, () => {
      const silentMs = clock.steadyMs() - this.heardAtMs;
      if (silentMs < 2 * heartbeatMs) return this.watchSilence();
      this.fail(new ClientError("HEARTBEAT_MISSED", `nothing was heard for ${Math.round(silentMs)} ms`, { broker: this.broker }));
    });
  }
}

/** An error frame's text is a code and an explanation. */
function brokerError(text: string, broker: string, command?: string): BrokerError {
  const [code = text] = text.split(" ", 1);
  return new BrokerError(code, text, { broker, command });
}

function concat(one: Uint8Array, other: Uint8Array): Uint8Array {
  const both = new Uint8Array(one.length + other.length);
  both.set(one);
  both.set(other, one.length);
  return both;
}
