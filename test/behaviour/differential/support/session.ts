import { type Frame, RawClient } from "../../../support/raw-client.ts";
import type { Running, Server } from "../../../support/server.ts";
import { ByteSocket } from "./byte-socket.ts";
import { exchange, requestBytes, type WireResponse } from "./http-wire.ts";

/** How long an answer may take before its absence goes into the transcript. */
const ANSWER_TIMEOUT_MS = 8000;
/** Timers round, and the two processes read their clocks at different moments. */
const EARLY_MS = 3;
/** The command no broker knows: its error shows that the connection was still served, and it ends it. */
const PROBE = "PROBE\n";

/** Values that a JSON document may hold. */
export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

/** What a stats scenario reads; all else is compared as text. */
export interface TopicStats {
  depth: number;
  message_count: number;
  channels: {
    channel_name: string;
    depth: number;
    in_flight_count: number;
    deferred_count: number;
    message_count: number;
    requeue_count: number;
    timeout_count: number;
    client_count: number;
  }[];
}

export interface ConsumerOptions {
  channel?: string;
  topic?: string;
  /** Sent after SUB; without it the consumer receives nothing. */
  rdy?: number;
  /** Fields of an IDENTIFY before SUB; its client_id is the label. Without it none is sent. */
  identify?: { [field: string]: Json };
}

/**
 * One scenario being played against one broker. It writes down everything the broker shows, with what cannot
 * be equal in two processes (message ids, ports, times) replaced by what must be equal (first id, recent time).
 */
export class Session<Own extends Running = Server> {
  readonly transcript: string[] = [];
  private readonly ids = new Map<string, string>();
  protected readonly opened: { terminate(): void }[] = [];

  constructor(
    public server: Own,
    /** A valid topic name that no other scenario uses. */
    readonly topic: string,
    private readonly startAgain?: () => Promise<Own>,
  ) {}

  get program(): string {
    return this.server.program;
  }

  /** Stops the broker in good order and starts it anew on the same data. */
  async restart(): Promise<void> {
    if (this.startAgain === undefined) throw new Error("only a scenario with a broker of its own may restart it");
    this.note(`stopped with exit code ${await this.server.stop()}`);
    this.server = await this.startAgain();
    this.note("started again");
  }

  note(line: string): void {
    this.transcript.push(this.named(line));
  }

  /** A text with the stable names in it. */
  protected named(line: string): string {
    let text = line;
    for (const [id, label] of this.ids) text = text.replaceAll(id, label);
    return text;
  }

  /** The stable name of a message id (or of what else differs in two processes): `<id1>` for the first one seen, and so on. */
  nameId(id: string): void {
    if (!this.ids.has(id)) this.ids.set(id, `<id${this.ids.size + 1}>`);
  }

  /** A V2 connection whose frames go into the transcript under `label`. */
  async peer(label: string, magic?: string): Promise<Peer> {
    const client = await RawClient.connect(this.server.tcpPort, magic === undefined ? {} : { magic });
    this.opened.push(client);
    return new Peer(this, label, client);
  }

  /** A peer that is subscribed, its OKs already in the transcript. */
  async consumer(label: string, options: ConsumerOptions = {}): Promise<Peer> {
    const peer = await this.peer(label);
    if (options.identify !== undefined) {
      peer.send("IDENTIFY", JSON.stringify({ client_id: label, ...options.identify }));
      await peer.frames(1);
    }
    peer.send(`SUB ${options.topic ?? this.topic} ${options.channel ?? "ch"}`);
    await peer.frames(1);
    if (options.rdy !== undefined) peer.send(`RDY ${options.rdy}`);
    return peer;
  }

  /** A connection that shows bytes. */
  async bytes(): Promise<ByteSocket> {
    const socket = await ByteSocket.connect(this.server.tcpPort);
    this.opened.push({ terminate: () => socket.destroy() });
    return socket;
  }

  /** Publishes bodies through a connection of its own, in order; the answers go into the transcript. */
  async publish(...bodies: string[]): Promise<void> {
    const peer = await this.peer("publisher");
    for (const body of bodies) {
      peer.send(`PUB ${this.topic}`, body);
      await peer.frames(1);
    }
    await peer.end();
  }

  /** One HTTP call; request line, status, headers and body go into the transcript. */
  async http(method: string, target: string, body?: string | Uint8Array, headers: string[] = []): Promise<WireResponse | undefined> {
    return this.rawHttp(requestBytes(method, target, body, headers), `${method} ${target}${headers.map((line) => ` [${line}]`).join("")}`);
  }

  /** One HTTP call of exactly these bytes. */
  async rawHttp(request: Uint8Array, title: string): Promise<WireResponse | undefined> {
    const response = await exchange(this.server.httpPort, request, ANSWER_TIMEOUT_MS);
    this.note(`http> ${title}`);
    this.noteResponse(response);
    return response;
  }

  noteResponse(response: WireResponse | undefined): void {
    if (response === undefined) return this.note("http< (no response)");
    for (const line of response.interim) this.note(`http< ${line}`);
    this.note(`http< ${response.statusLine}`);
    const headers = response.headers.map(([name, value]) => [name.toLowerCase(), value] as const);
    // The order and the case of header names mean nothing (RFC 9110, 5.3); a date is not equal twice.
    for (const [name, value] of headers.sort((a, b) => (a[0] < b[0] ? -1 : 1))) {
      this.note(`http<   ${name}: ${name === "date" ? describeDate(value) : value}`);
    }
    if (response.body.length > 0) this.note(`http<   ${showBytes(response.body)}`);
  }

  /** The whole JSON of /stats, unrecorded. */
  async rawStats(query = ""): Promise<{ [key: string]: Json }> {
    const response = await exchange(this.server.httpPort, requestBytes("GET", `/stats?format=json${query}`), ANSWER_TIMEOUT_MS);
    if (response === undefined) throw new Error("no response to /stats");
    return JSON.parse(response.body.toString()) as { [key: string]: Json };
  }

  /** This scenario's topic as /stats shows it, unrecorded; undefined if it does not exist. */
  async topicStats(topic = this.topic): Promise<TopicStats | undefined> {
    const stats = await this.rawStats(`&topic=${encodeURIComponent(topic)}&include_mem=false`);
    return (stats.topics as unknown as TopicStats[] | null)?.[0];
  }

  /**
   * Waits until this scenario's topic satisfies `settled` and two looks in a row are equal, then records its stats.
   * What is recorded is the last look, satisfied or not: a broker that never gets there shows where it stayed.
   */
  async stats(settled: (topic: TopicStats) => boolean, topic = this.topic): Promise<void> {
    const deadline = Date.now() + ANSWER_TIMEOUT_MS;
    let last: TopicStats | undefined;
    for (;;) {
      const stats = await this.topicStats(topic);
      const late = Date.now() > deadline;
      if (late || (stats !== undefined && settled(stats) && Bun.deepEquals(stats, last))) {
        if (late) this.note("stats: expected state not reached");
        return this.noteJson("stats", (stats ?? null) as unknown as Json);
      }
      last = stats;
      await Bun.sleep(20);
    }
  }

  /** A JSON document, one line per line of its indented form, volatile values described. */
  noteJson(title: string, value: Json): void {
    for (const line of JSON.stringify(describeVolatile(value, this.server), null, 1).split("\n")) this.note(`${title}: ${line}`);
  }

  /**
   * Records whether `action` ended when it was due and not before, and the time it took only if it was early.
   *
   * How late it is says more about the machine here. nsqd looks for due messages of a channel that is younger than its refresh (5 s)
   * late; bunsq is held to some ms by a simulated clock, in test/broker/topics/channel/ and test/broker/tcp/deadlines.test.ts.
   *
   * @param sinceMs performance.now() of a moment before the broker could start its own clock
   */
  async due(what: string, afterMs: number, sinceMs: number, action: () => Promise<unknown>): Promise<void> {
    await action();
    const tookMs = Math.round(performance.now() - sinceMs);
    this.note(`${what}: ${tookMs >= afterMs - EARLY_MS ? `when due, ${afterMs} ms` : `after ${tookMs} ms, due at ${afterMs}`}`);
  }

  dispose(): void {
    for (const connection of this.opened) connection.terminate();
  }
}

/** A V2 client whose every frame is written down. */
export class Peer {
  constructor(
    private readonly session: Pick<Session, "note" | "nameId" | "program" | "transcript">,
    readonly label: string,
    readonly client: RawClient,
  ) {}

  /** A command line with `\n`, and a sized body if given. */
  send(line: string, body?: string | Uint8Array): void {
    this.session.note(`${this.label}> ${line}${body === undefined ? "" : ` + ${showBytes(Buffer.from(body))}`}`);
    this.client.command(line, body);
  }

  /** Bytes as they are. */
  raw(bytes: string | Uint8Array): void {
    this.session.note(`${this.label}> raw ${showBytes(typeof bytes === "string" ? Buffer.from(bytes, "latin1") : Buffer.from(bytes))}`);
    this.client.write(bytes);
  }

  /** Takes and records the next `count` frames; records instead that the connection closed or nothing came. */
  async frames(count: number, timeoutMs = ANSWER_TIMEOUT_MS): Promise<Frame[]> {
    const frames: Frame[] = [];
    while (frames.length < count) {
      try {
        frames.push(this.record(await this.client.next(timeoutMs)));
      } catch (error) {
        this.session.note(`${this.label}< (${this.client.closed ? "closed" : "nothing"})`);
        if (!this.client.closed && !/no frame within/.test(String(error))) throw error;
        break;
      }
    }
    return frames;
  }

  /** The next frame, which the scenario needs: throws if none comes. */
  async frame(timeoutMs?: number): Promise<Frame> {
    const [frame] = await this.frames(1, timeoutMs);
    if (frame === undefined) throw new Error(`${this.session.program}: a frame was needed; so far:\n${this.session.transcript.join("\n")}`);
    return frame;
  }

  /** Takes `count` frames and records them ordered by their text: for when several may overtake each other. */
  async framesInAnyOrder(count: number): Promise<Frame[]> {
    const frames: Frame[] = [];
    while (frames.length < count && !this.client.closed) {
      const frame = await this.client.next(ANSWER_TIMEOUT_MS).catch(() => undefined);
      if (frame === undefined) break;
      frames.push(frame);
    }
    frames.sort((a, b) => (a.text < b.text ? -1 : 1));
    for (const frame of frames) this.record(frame);
    if (frames.length < count) this.session.note(`${this.label}< (only ${frames.length} of ${count})`);
    return frames;
  }

  /** Records every frame of the next `forMs`: used to show that none comes. nsqd may hold one back for 250 ms to send it with others. */
  async quiet(forMs = 400): Promise<void> {
    const deadline = Date.now() + forMs;
    while (Date.now() < deadline && !this.client.closed) {
      const frame = await this.client.next(Math.max(1, deadline - Date.now())).catch(() => undefined);
      if (frame === undefined) break;
      this.record(frame);
    }
    this.session.note(`${this.label}< (${this.client.closed ? "closed" : "quiet"})`);
  }

  /** Returns once a subscribed connection's commands so far have been handled: a FIN of no message is always answered. */
  async settle(): Promise<void> {
    this.client.command("FIN 0000000000000000");
    const frame = await this.client.next(ANSWER_TIMEOUT_MS);
    if (frame.type !== "error") this.session.note(`${this.label}< unexpected ${frame.type} ${showBytes(frame.data)}`);
  }

  /** Sends a command that no broker knows, and records everything up to the end of the connection. */
  async end(): Promise<void> {
    if (!this.client.closed) this.client.write(PROBE);
    await this.untilClosed();
  }

  /** Records everything up to the end of the connection. */
  async untilClosed(timeoutMs = ANSWER_TIMEOUT_MS): Promise<void> {
    const closed = await this.client.untilClosed(timeoutMs).then(
      () => true,
      () => false,
    );
    for (let frame = this.client.frames.shift(); frame !== undefined; frame = this.client.frames.shift()) this.record(frame);
    this.session.note(`${this.label}< (${closed ? "closed" : "still open"})`);
    this.client.terminate();
  }

  /** One train of bytes with the unknown command behind it, and everything that comes back. */
  async play(bytes: string | Uint8Array): Promise<void> {
    const train = typeof bytes === "string" ? Buffer.from(bytes, "latin1") : Buffer.from(bytes);
    this.session.note(`${this.label}> raw ${showBytes(train)}`);
    this.client.write(Buffer.concat([train, Buffer.from(PROBE)]));
    await this.untilClosed();
  }

  private record(frame: Frame): Frame {
    if (frame.type === "message") {
      this.session.nameId(frame.id);
      const wellFormed = /^[0-9a-f]{16}$/.test(frame.id) ? "" : ` malformed id ${frame.id}`;
      const ageMs = Math.abs(Date.now() - Number(frame.timestampNs / 1_000_000n));
      const dated = ageMs < 60_000 ? "" : ` timestamp off by ${ageMs} ms`;
      this.session.note(`${this.label}< message ${frame.id} attempts ${frame.attempts}${wellFormed}${dated} ${showBytes(frame.data)}`);
    } else {
      this.session.note(`${this.label}< ${frame.type} ${showFrameText(frame.data)}`);
    }
    return frame;
  }
}

/** Bytes as a readable line: text escaped, length and digest when long. */
export function showBytes(bytes: Buffer): string {
  const text = JSON.stringify(bytes.toString("latin1"));
  if (bytes.length <= 400) return text;
  return `${JSON.stringify(bytes.toString("latin1", 0, 60))}… ${bytes.length} bytes, crc ${Bun.hash.crc32(bytes).toString(16)}`;
}

/** The field with bunsq's own release, which nsqd's answers do not have. */
export const OWN_FIELD = "bunsq_version";

/** A frame's text with the broker's own version put out of sight. */
export function showFrameText(data: Buffer): string {
  return showBytes(Buffer.from(data.toString("latin1").replace(/"version":"[^"]+"/, '"version":"<version>"'), "latin1"));
}

function describeDate(value: string): string {
  return Math.abs(Date.parse(value) - Date.now()) < 60_000 && /^\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT$/.test(value) ? "<now>" : value;
}

/** Replaces what differs between any two processes by a description of what it must be. */
function describeVolatile(value: Json, server: Running): Json {
  if (Array.isArray(value)) return value.map((item) => describeVolatile(item, server));
  if (value === null || typeof value !== "object") return value;
  const fields = Object.entries(value).filter(([key]) => key !== OWN_FIELD);
  return Object.fromEntries(fields.map(([key, item]) => [key, describeField(key, item, server)]));
}

function describeField(key: string, value: Json, server: Running): Json {
  // nsqd keeps clients in a map, so their order differs from call to call.
  if ((key === "clients" || key === "producers") && Array.isArray(value)) {
    const described = value.map((client) => describeVolatile(client, server));
    return described.sort((a, b) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1));
  }
  if (key === "remote_address") return typeof value === "string" && /^127\.0\.0\.1:\d+$/.test(value) ? "<address>" : value;
  if (key === "connect_ts" || key === "start_time") {
    return typeof value === "number" && Number.isInteger(value) && Math.abs(value * 1000 - Date.now()) < 120_000 ? "<recent>" : value;
  }
  if (key === "version") return typeof value === "string" && (/^\d+\.\d+\.\d+/.test(value) ? "<version>" : value);
  if (key === "tcp_port") return value === server.tcpPort ? "<tcp port>" : value;
  if (key === "http_port") return value === server.httpPort ? "<http port>" : value;
  if (key === "memory" && value !== null && typeof value === "object" && !Array.isArray(value)) {
    return Object.fromEntries(Object.entries(value).map(([name, number]) => [name, Number.isInteger(number) ? "<integer>" : number]));
  }
  return describeVolatile(value, server);
}
