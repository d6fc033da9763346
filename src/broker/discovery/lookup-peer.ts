import type { Socket } from "node:net";
import { readFields } from "../../base/go/json.ts";
import { lazy } from "../../base/lazy.ts";
import type { Logger } from "../../base/logger.ts";
import { type Address, formatAddress, withoutBrackets } from "../../net/address.ts";

const MAGIC_V1 = "  V1";
/** A lookup's answer to IDENTIFY has 150 bytes, its other answers fewer. */
const MAX_ANSWER_BYTES = 64 * 1024;
/** Commands that may be sent before their answers come, so that a distant lookup is not waited for with each, and little stays unsent. */
const MAX_AWAITED = 512;
/** If more changes wait for a slow lookup, the connection is closed, and the next one registers everything again. */
const MAX_QUEUED = 4096;
/** A failure that persists is logged this often. */
const REPEAT_LOG_INTERVAL_MS = 60_000;

/** What its log lines are about. */
export const DISCOVERY = { part: "discovery" };
const EMPTY = Buffer.alloc(0);
/** What counts for a lookup that does not tell it. */
const DEFAULTS = { tcp_port: 0, http_port: 0, version: "", broadcast_address: "", registers_partitions: false };

/** When a peer gives up and tries again, ms. */
export interface PeerTiming {
  /** For connecting, and for the next answer while any is awaited. nsqd waits a second, too. */
  timeoutMs: number;
  pingIntervalMs: number;
  /** The wait before the second attempt to connect. It doubles with each failure. */
  firstWaitMs: number;
  /** Small enough that consumers find their topics within 5 s of a lookup's return: this wait, the time to connect, and a poll. */
  longestWaitMs: number;
}

const TIMING: PeerTiming = { timeoutMs: 1000, pingIntervalMs: 15_000, firstWaitMs: 100, longestWaitMs: 2000 };

/** IDENTIFY's body: what a lookup is told about this broker. */
export interface Identity {
  version: string;
  tcp_port: number;
  http_port: number;
  hostname: string;
  broadcast_address: string;
  /** Asks whether the lookup wants to be told of partitions. NSQ's do not know the question. */
  registers_partitions: boolean;
  node_id: number;
}

/** The broker that is registered, as it is when these are called. */
export interface Registrant {
  identity(): Identity;
  /**
   * REGISTER commands for all topics and channels. One that comes or goes during the iteration may be among them or not.
   *
   * @param partitioned whether they name partitions
   */
  registrations(partitioned: boolean): Iterator<string>;
}

/**
 * Keeps a connection to one lookup, and the lookup up to date. Any failure ends the connection, and with it everything that
 * the lookup knew of this broker. After a wait the next connection registers everything again, so that both always agree.
 * Nothing else waits for a lookup.
 * https://nsq.io/components/nsqlookupd.html, nsqd/lookup.go, nsqd/lookup_peer.go
 */
export class LookupPeer {
  /** The HTTP address that the lookup told last. It may answer there even if its TCP side cannot be reached. */
  httpAddress: Address | undefined;
  /** Resolves once the first attempt to connect has succeeded or failed. */
  readonly firstAttempt: Promise<void>;
  /** Everything is registered, and changes are sent as they come. */
  registered = false;
  /** The lookup understands REGISTER and UNREGISTER that name partitions, and no others. */
  knowsPartitions = false;

  private socket: Socket | undefined;
  private identified = false;
  private closed = false;
  private unread: Buffer = EMPTY;
  /** The REGISTER commands of a new connection that are not sent yet. */
  private registrations: Iterator<string> | undefined;
  /** Commands that are sent after those. */
  private queue: string[] = [];
  /** Commands whose answers have not come yet, in order. */
  private awaited: string[] = [];
  private failedAttempts = 0;
  private pumpScheduled = false;
  private waitTimer: Timer | undefined;
  private timeoutTimer: Timer | undefined;
  private pingTimer: Timer | undefined;
  private lastFailure = "";
  private lastFailureMs = Number.NEGATIVE_INFINITY;
  private readonly endFirstAttempt: () => void;
  private readonly timing: PeerTiming;

  /** @param ownHttpAddress used instead of the HTTP address that the lookup tells */
  constructor(
    private readonly address: Address,
    private readonly registrant: Registrant,
    private readonly logger: Logger,
    private readonly ownHttpAddress?: Address,
    timing: Partial<PeerTiming> = {},
  ) {
    this.timing = { ...TIMING, ...timing };
    const { promise, resolve } = Promise.withResolvers<void>();
    this.firstAttempt = promise;
    this.endFirstAttempt = resolve;
    logger.info(`LOOKUP(${this.name}): adding peer`, DISCOVERY);
    this.connect();
  }

  /** `host:port`, for the log. */
  get name(): string {
    return formatAddress(this.address.hostname, this.address.port);
  }

  /** A topic or channel came or went. Without a connection nothing is to do: the next one registers everything. */
  queueChange(command: string): void {
    if (!this.identified) return;
    this.logger.info(`LOOKUPD(${this.name}): ${command}`, DISCOVERY);
    if (this.queue.length >= MAX_QUEUED) this.fail(`more than ${MAX_QUEUED} changes behind; registering everything again`);
    else this.send(command);
  }

  /** Closes the connection, and makes no other. */
  close(): void {
    if (this.closed) return;
    this.logger.info(`LOOKUP(${this.name}): removing peer`, DISCOVERY);
    this.closed = true;
    this.disconnect();
    clearTimeout(this.waitTimer);
    this.endFirstAttempt();
  }

  /**
   * Closes the connection as close() does, but in order. Resolves once the lookup has closed its side, which it does when it has
   * forgotten this broker; or after the timeout.
   */
  async leave(): Promise<void> {
    const { socket } = this;
    if (socket !== undefined && this.identified) {
      // From here on its events concern nobody, so it is read to its end.
      this.socket = undefined;
      const { promise, resolve } = Promise.withResolvers<void>();
      const timer = setTimeout(resolve, this.timing.timeoutMs);
      socket.once("close", () => resolve());
      socket.end();
      this.close();
      await promise;
      clearTimeout(timer);
      socket.destroy();
    } else {
      this.close();
    }
  }

  private connect(): void {
    this.logger.debug(`LOOKUP connecting to ${this.name}`, DISCOVERY);
    // Not Bun.connect(): it cannot be cancelled, and the kernel gives up only after two minutes.
    const socket = lazy.net.connect({ host: this.address.hostname, port: this.address.port, noDelay: true, keepAlive: true });
    this.socket = socket;
    this.startTimeout("connect");
    socket.on("connect", () => this.identify(socket));
    socket.on("data", (data: Buffer) => {
      if (this.socket === socket) this.receive(data);
    });
    socket.on("error", (error) => {
      if (this.socket === socket) this.fail(error.message);
    });
    socket.on("close", () => {
      if (this.socket === socket) this.fail("closed the connection");
    });
  }

  private identify(socket: Socket): void {
    if (this.socket !== socket) return;
    const body = Buffer.from(JSON.stringify(this.registrant.identity()));
    const size = Buffer.alloc(4);
    size.writeInt32BE(body.length);
    socket.write(Buffer.concat([Buffer.from(`${MAGIC_V1}IDENTIFY\n`), size, body]));
    this.awaited.push("IDENTIFY");
    this.startTimeout("IDENTIFY");
  }

  private receive(data: Buffer): void {
    let bytes = this.unread.length === 0 ? data : Buffer.concat([this.unread, data]);
    while (bytes.length >= 4) {
      const size = bytes.readInt32BE(0);
      if (size < 0 || size > MAX_ANSWER_BYTES) return this.fail(`its answer claims to have ${size} bytes; is this a lookup?`);
      if (bytes.length < 4 + size) break;
      const command = this.awaited.shift();
      if (command === undefined) return this.fail("it sent an answer that no command awaits");
      const socket = this.socket;
      this.onAnswer(command, bytes.toString("utf8", 4, 4 + size));
      if (this.socket !== socket) return;
      bytes = bytes.subarray(4 + size);
    }
    this.unread = bytes.length === 0 ? EMPTY : Buffer.from(bytes);
    if (this.awaited.length > 0) this.startTimeout(this.awaited[0]);
    else clearTimeout(this.timeoutTimer);
    // Not with each answer, so that commands are sent in groups.
    if (this.awaited.length <= MAX_AWAITED / 2) this.pump();
  }

  private onAnswer(command: string, answer: string): void {
    if (command === "IDENTIFY") return this.onIdentified(answer);
    if (answer.startsWith("E_")) this.logger.error(`LOOKUPD(${this.name}): ${command} - ${answer}`, DISCOVERY);
  }

  private onIdentified(answer: string): void {
    const fields = readFields(answer, DEFAULTS);
    if (fields === undefined) return this.fail(`IDENTIFY - ${answer}`);
    const { tcp_port, http_port, version, broadcast_address } = fields;
    this.logger.info(
      `LOOKUPD(${this.name}): peer info {TCPPort:${tcp_port} HTTPPort:${http_port} Version:${version} BroadcastAddress:${broadcast_address}}`,
      DISCOVERY,
    );
    const port = Number(http_port);
    if (this.ownHttpAddress !== undefined) this.httpAddress = this.ownHttpAddress;
    else if (broadcast_address !== "" && port > 0 && port < 65_536)
      this.httpAddress = { hostname: withoutBrackets(broadcast_address), port };
    else this.logger.error(`LOOKUPD(${this.name}): no broadcast address`, DISCOVERY);
    this.identified = true;
    this.knowsPartitions = fields.registers_partitions;
    this.registrations = this.registrant.registrations(this.knowsPartitions);
    this.pingTimer = setInterval(() => this.ping(), this.timing.pingIntervalMs);
    this.endFirstAttempt();
    this.schedulePump();
  }

  private ping(): void {
    this.logger.debug(`LOOKUPD(${this.name}): sending heartbeat`, DISCOVERY);
    this.send("PING");
  }

  private send(command: string): void {
    this.queue.push(command);
    this.schedulePump();
  }

  /** Commands of one turn of the event loop are sent together. */
  private schedulePump(): void {
    if (this.pumpScheduled) return;
    this.pumpScheduled = true;
    setImmediate(() => {
      this.pumpScheduled = false;
      this.pump();
    });
  }

  /** Sends the commands that wait, as far as their answers may be awaited. */
  private pump(): void {
    if (!this.identified || this.socket === undefined) return;
    const commands: string[] = [];
    while (this.awaited.length + commands.length < MAX_AWAITED) {
      const command = this.nextCommand();
      if (command === undefined) break;
      commands.push(command);
    }
    if (commands.length === 0) {
      if (this.awaited.length === 0 && !this.registered) this.onRegistered();
      return;
    }
    if (this.awaited.length === 0) this.startTimeout(commands[0]);
    this.awaited.push(...commands);
    this.socket.write(`${commands.join("\n")}\n`);
  }

  private nextCommand(): string | undefined {
    if (this.registrations !== undefined) {
      const { done, value } = this.registrations.next();
      if (done !== true) return value;
      this.registrations = undefined;
    }
    return this.queue.shift();
  }

  /** Everything is registered, and the lookup has answered all of it. */
  private onRegistered(): void {
    this.registered = true;
    this.failedAttempts = 0;
    this.lastFailure = "";
    this.logger.info(`LOOKUPD(${this.name}): registered`, DISCOVERY);
  }

  /**
   * Ends the connection if no answer comes within the timeout. The timeout has two halves, between which the sockets are
   * read, so that a stall of this process is not taken for silence of the lookup.
   */
  private startTimeout(command: string): void {
    clearTimeout(this.timeoutTimer);
    const halfMs = this.timing.timeoutMs / 2;
    this.timeoutTimer = setTimeout(() => {
      this.timeoutTimer = setTimeout(() => this.fail(`${command} - no answer within ${this.timing.timeoutMs} ms`), halfMs);
    }, halfMs);
  }

  private fail(reason: string): void {
    if (this.closed || this.socket === undefined) return;
    this.logFailure(reason);
    this.disconnect();
    this.endFirstAttempt();
    const { firstWaitMs, longestWaitMs } = this.timing;
    const waitMs = Math.min(longestWaitMs, firstWaitMs * 2 ** this.failedAttempts++);
    // Brokers that lost the same lookup must not all come back at the same moment.
    this.waitTimer = setTimeout(() => this.connect(), waitMs * (0.5 + Math.random() / 2));
  }

  /** Logs a failure when it begins, and again every REPEAT_LOG_INTERVAL_MS while it lasts. */
  private logFailure(reason: string): void {
    const nowMs = performance.now();
    if (reason === this.lastFailure && nowMs - this.lastFailureMs < REPEAT_LOG_INTERVAL_MS) return;
    this.lastFailure = reason;
    this.lastFailureMs = nowMs;
    this.logger.error(`LOOKUPD(${this.name}): ${reason}`, DISCOVERY);
  }

  private disconnect(): void {
    this.socket?.destroy();
    this.socket = undefined;
    this.identified = this.registered = false;
    this.unread = EMPTY;
    this.registrations = undefined;
    this.queue = [];
    this.awaited = [];
    clearTimeout(this.timeoutTimer);
    clearInterval(this.pingTimer);
  }
}
