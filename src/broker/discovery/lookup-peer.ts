import type { Socket } from "node:net";
import { readFields } from "../../base/go/json.ts";
import { lazy } from "../../base/lazy.ts";
import type { Logger } from "../../base/logger.ts";
import { type Address, formatAddress } from "../../net/address.ts";

const MAGIC_V1 = "  V1";
/** What a lookup says of itself takes 150 bytes, its other answers less. */
const MAX_ANSWER_BYTES = 64 * 1024;
/** Commands that are sent ahead of their answers: a lookup far away is not waited for with each, and what is unsent stays small. */
const MAX_AWAITED = 512;
/** Of more changes than this a slow lookup is told by registering everything anew. */
const MAX_QUEUED = 4096;
/** A lookup that stays out of reach is told of in the log this often. */
const COMPLAINT_INTERVAL_MS = 60_000;

const EMPTY = Buffer.alloc(0);
/** What a lookup need not say. */
const NOTHING_SAID = { tcp_port: 0, http_port: 0, version: "", broadcast_address: "" };

/** When a peer gives up and tries again, ms. */
export interface PeerTiming {
  /** To connect, and between answers while any is awaited; nsqd's second. */
  timeoutMs: number;
  pingIntervalMs: number;
  /** The first wait before connecting anew; it doubles each time in vain. */
  firstWaitMs: number;
  /** Small enough that consumers find their topics again within 5 s of a lookup's return: the longest wait, the time to connect and a poll of theirs. */
  longestWaitMs: number;
}

const TIMING: PeerTiming = { timeoutMs: 1000, pingIntervalMs: 15_000, firstWaitMs: 100, longestWaitMs: 2000 };

/** What a lookup is told of this broker: IDENTIFY's body. */
export interface Identity {
  version: string;
  tcp_port: number;
  http_port: number;
  hostname: string;
  broadcast_address: string;
}

/** What a peer tells the lookup, as of when it is asked. */
export interface Registrant {
  identity(): Identity;
  /** REGISTER commands for all that there is; what changes while they are taken may be among them or not. */
  registrations(): Iterator<string>;
}

/**
 * The connection to one lookup: keeps it, and keeps the lookup informed. Whatever goes wrong ends the connection, and
 * with it all that the lookup knew; after a wait it connects again and registers everything, so both always agree.
 * Nothing here is waited for by anybody.
 * https://nsq.io/components/nsqlookupd.html, nsqd/lookup.go, nsqd/lookup_peer.go
 */
export class LookupPeer {
  /** Where its HTTP side is, as it said last; a lookup that is out of reach here may still answer there. */
  httpAddress: Address | undefined;
  /** Settled once the first attempt has come to something, good or bad. */
  readonly tried: Promise<void>;
  /** All was registered, and changes are told as they come. */
  registered = false;

  private socket: Socket | undefined;
  private identified = false;
  private closed = false;
  private unread: Buffer = EMPTY;
  /** REGISTER commands of a new connection that were not sent yet. */
  private registrations: Iterator<string> | undefined;
  /** Commands behind those. */
  private queue: string[] = [];
  /** Commands whose answers are to come, in order. */
  private awaited: string[] = [];
  private attemptsInVain = 0;
  private pumpScheduled = false;
  private waitTimer: Timer | undefined;
  private watchTimer: Timer | undefined;
  private pingTimer: Timer | undefined;
  private lastComplaint = "";
  private lastComplaintMs = Number.NEGATIVE_INFINITY;
  private readonly settleTried: () => void;
  private readonly timing: PeerTiming;

  /** @param httpAddress where to ask it instead of where it says */
  constructor(
    private readonly address: Address,
    private readonly registrant: Registrant,
    private readonly logger: Logger,
    private readonly ownHttpAddress?: Address,
    timing: Partial<PeerTiming> = {},
  ) {
    this.timing = { ...TIMING, ...timing };
    const { promise, resolve } = Promise.withResolvers<void>();
    this.tried = promise;
    this.settleTried = resolve;
    logger.info(`LOOKUP(${this.name}): adding peer`);
    this.connect();
  }

  /** `host:port`, as in the log. */
  get name(): string {
    return formatAddress(this.address.hostname, this.address.port);
  }

  /** A topic or channel came or went. Without a connection there is nothing to do: the next one begins with registering all. */
  tell(command: string): void {
    if (!this.identified) return;
    this.logger.info(`LOOKUPD(${this.name}): ${command}`);
    if (this.queue.length >= MAX_QUEUED) this.fail(`more than ${MAX_QUEUED} changes behind; registering everything anew`);
    else this.send(command);
  }

  /** Hangs up for good. */
  close(): void {
    if (this.closed) return;
    this.logger.info(`LOOKUP(${this.name}): removing peer`);
    this.closed = true;
    this.disconnect();
    clearTimeout(this.waitTimer);
    this.settleTried();
  }

  private connect(): void {
    this.logger.debug(`LOOKUP connecting to ${this.name}`);
    // Bun.connect() cannot be given up before the kernel does so itself, after two minutes.
    const socket = lazy.net.connect({ host: this.address.hostname, port: this.address.port, noDelay: true, keepAlive: true });
    this.socket = socket;
    this.watch("connect");
    socket.on("connect", () => this.identify(socket));
    socket.on("data", (data: Buffer) => {
      if (this.socket === socket) this.receive(data);
    });
    socket.on("error", (error) => {
      if (this.socket === socket) this.fail(error.message);
    });
    socket.on("close", () => {
      if (this.socket === socket) this.fail("hung up");
    });
  }

  private identify(socket: Socket): void {
    if (this.socket !== socket) return;
    const body = Buffer.from(JSON.stringify(this.registrant.identity()));
    const size = Buffer.alloc(4);
    size.writeInt32BE(body.length);
    socket.write(Buffer.concat([Buffer.from(`${MAGIC_V1}IDENTIFY\n`), size, body]));
    this.awaited.push("IDENTIFY");
    this.watch("IDENTIFY");
  }

  private receive(data: Buffer): void {
    let bytes = this.unread.length === 0 ? data : Buffer.concat([this.unread, data]);
    while (bytes.length >= 4) {
      const size = bytes.readInt32BE(0);
      if (size < 0 || size > MAX_ANSWER_BYTES) return this.fail(`its answer claims to have ${size} bytes; is this a lookup?`);
      if (bytes.length < 4 + size) break;
      const command = this.awaited.shift();
      if (command === undefined) return this.fail("it answers what nobody asked");
      const socket = this.socket;
      this.answered(command, bytes.toString("utf8", 4, 4 + size));
      if (this.socket !== socket) return;
      bytes = bytes.subarray(4 + size);
    }
    this.unread = bytes.length === 0 ? EMPTY : Buffer.from(bytes);
    if (this.awaited.length > 0) this.watch(this.awaited[0]);
    else clearTimeout(this.watchTimer);
    // Not with each answer: commands go out in groups.
    if (this.awaited.length <= MAX_AWAITED / 2) this.pump();
  }

  private answered(command: string, answer: string): void {
    if (command === "IDENTIFY") return this.introduced(answer);
    if (answer.startsWith("E_")) this.logger.error(`LOOKUPD(${this.name}): ${command} - ${answer}`);
  }

  private introduced(answer: string): void {
    const said = readFields(answer, NOTHING_SAID);
    if (said === undefined) return this.fail(`IDENTIFY - ${answer}`);
    const { tcp_port, http_port, version, broadcast_address } = said;
    this.logger.info(
      `LOOKUPD(${this.name}): peer info {TCPPort:${tcp_port} HTTPPort:${http_port} Version:${version} BroadcastAddress:${broadcast_address}}`,
    );
    const port = Number(http_port);
    if (this.ownHttpAddress !== undefined) this.httpAddress = this.ownHttpAddress;
    else if (broadcast_address !== "" && port > 0 && port < 65_536) this.httpAddress = { hostname: broadcast_address, port };
    else this.logger.error(`LOOKUPD(${this.name}): no broadcast address`);
    this.identified = true;
    this.registrations = this.registrant.registrations();
    this.pingTimer = setInterval(() => this.ping(), this.timing.pingIntervalMs);
    this.settleTried();
    this.schedulePump();
  }

  private ping(): void {
    this.logger.debug(`LOOKUPD(${this.name}): sending heartbeat`);
    this.send("PING");
  }

  private send(command: string): void {
    this.queue.push(command);
    this.schedulePump();
  }

  /** What comes in one turn of the event loop goes out together. */
  private schedulePump(): void {
    if (this.pumpScheduled) return;
    this.pumpScheduled = true;
    setImmediate(() => {
      this.pumpScheduled = false;
      this.pump();
    });
  }

  /** Sends what there is to send, up to the number of answers that may be awaited. */
  private pump(): void {
    if (!this.identified || this.socket === undefined) return;
    const commands: string[] = [];
    while (this.awaited.length + commands.length < MAX_AWAITED) {
      const command = this.next();
      if (command === undefined) break;
      commands.push(command);
    }
    if (commands.length === 0) {
      if (this.awaited.length === 0 && !this.registered) this.settled();
      return;
    }
    if (this.awaited.length === 0) this.watch(commands[0]);
    this.awaited.push(...commands);
    this.socket.write(`${commands.join("\n")}\n`);
  }

  private next(): string | undefined {
    if (this.registrations !== undefined) {
      const { done, value } = this.registrations.next();
      if (done !== true) return value;
      this.registrations = undefined;
    }
    return this.queue.shift();
  }

  /** All is registered, and the lookup has answered. */
  private settled(): void {
    this.registered = true;
    this.attemptsInVain = 0;
    this.lastComplaint = "";
    this.logger.info(`LOOKUPD(${this.name}): registered`);
  }

  /**
   * Ends the connection if nothing is heard for the timeout. It passes in two halves, with a look at the sockets
   * between them: a stall of this process is not taken for the lookup's silence.
   */
  private watch(command: string): void {
    clearTimeout(this.watchTimer);
    const halfMs = this.timing.timeoutMs / 2;
    this.watchTimer = setTimeout(() => {
      this.watchTimer = setTimeout(() => this.fail(`${command} - no answer within ${this.timing.timeoutMs} ms`), halfMs);
    }, halfMs);
  }

  private fail(reason: string): void {
    if (this.closed || this.socket === undefined) return;
    this.complain(reason);
    this.disconnect();
    this.settleTried();
    const { firstWaitMs, longestWaitMs } = this.timing;
    const waitMs = Math.min(longestWaitMs, firstWaitMs * 2 ** this.attemptsInVain++);
    // Brokers that lost the same lookup must not all come back in the same moment.
    this.waitTimer = setTimeout(() => this.connect(), waitMs * (0.5 + Math.random() / 2));
  }

  /** One line when it begins, and one now and then while it lasts. */
  private complain(reason: string): void {
    const nowMs = performance.now();
    if (reason === this.lastComplaint && nowMs - this.lastComplaintMs < COMPLAINT_INTERVAL_MS) return;
    this.lastComplaint = reason;
    this.lastComplaintMs = nowMs;
    this.logger.error(`LOOKUPD(${this.name}): ${reason}`);
  }

  private disconnect(): void {
    this.socket?.destroy();
    this.socket = undefined;
    this.identified = this.registered = false;
    this.unread = EMPTY;
    this.registrations = undefined;
    this.queue = [];
    this.awaited = [];
    clearTimeout(this.watchTimer);
    clearInterval(this.pingTimer);
  }
}
