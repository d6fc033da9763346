import { type Frame, RawClient } from "../../../support/raw-client.ts";
import { until } from "../../../support/server.ts";
import { traced, withHeader } from "./player.ts";
import type { Peer, YouzanLookup } from "./youzan-lookup.ts";

// What Youzan's client libraries do with a topic whose partitions are at several brokers, written from its protocol: a producer publishes
// each key to the broker of its partition, and a consumer has a connection for each partition. Both ask the lookup server again when a
// connection ends or is told that the partition is not there.

const IDENTITY = { client_id: "flow", hostname: "flow", user_agent: "flow/1", feature_negotiation: true, heartbeat_interval: 30_000 };
/** Answers after which a client asks where the partition is now. */
const MOVED = /^E_(FAILED_ON_NOT_LEADER|FAILED_ON_NOT_WRITABLE|TOPIC_NOT_EXIST) /;
const RETRY_MS = 20;
/** Longer than any test. */
const LIFETIME_MS = 600_000;

async function connect({ tcp_port }: Peer, wishes: object): Promise<RawClient> {
  const client = await RawClient.connect(tcp_port);
  const answer = JSON.parse(await client.call("IDENTIFY", JSON.stringify({ ...IDENTITY, ...wishes })));
  if (answer.max_rdy_count !== 2500) throw new Error(`IDENTIFY was answered with ${JSON.stringify(answer)}`);
  return client;
}

/** Where a message is, as the answer to a traced publish says. */
export interface Place {
  id: bigint;
  offset: bigint;
  rawSize: number;
}

/** A connection to a broker on which publishes wait for their answers in turn. */
class PublishingConnection {
  private readonly waiting: PromiseWithResolvers<Frame>[] = [];

  private constructor(private readonly client: RawClient) {
    client.onFrame = (frame) => this.waiting.shift()?.resolve(frame);
  }

  static async open(peer: Peer): Promise<PublishingConnection> {
    const connection = new PublishingConnection(await connect(peer, { multiplexing: true }));
    void connection.client.untilClosed(LIFETIME_MS).then(() => connection.fail());
    return connection;
  }

  get closed(): boolean {
    return this.client.closed;
  }

  publish(line: string, body: Buffer): Promise<Frame> {
    if (this.closed) throw new Error("the connection is closed");
    const answer = Promise.withResolvers<Frame>();
    this.waiting.push(answer);
    this.client.command(line, body);
    return answer.promise;
  }

  close(): void {
    this.client.close();
  }

  private fail(): void {
    for (const { reject } of this.waiting.splice(0)) reject(new Error("the connection ended"));
  }
}

/** Publishes in the order of keys. */
export class OrderedProducer implements Disposable {
  /** Publishes that failed, each of which was made again. */
  repeated = 0;
  private answer: ReturnType<YouzanLookup["find"]> | undefined;
  private readonly connections = new Map<number, Promise<PublishingConnection>>();

  constructor(
    private readonly lookup: YouzanLookup,
    private readonly topic: string,
  ) {}

  /** Publishes with an id for traces and, if there is one, a JSON header, until a broker has taken it. */
  async publish(key: string, body: string, traceId: bigint, header: object | undefined): Promise<Place> {
    for (;;) {
      try {
        const { data, type, text } = await this.publishOnce(key, body, traceId, header);
        if (type === "response") {
          return { id: data.readBigUInt64BE(2), offset: data.readBigUInt64BE(18), rawSize: data.readUInt32BE(26) };
        }
        if (!MOVED.test(text)) throw new TypeError(text);
      } catch (error) {
        if (error instanceof TypeError) throw error;
      }
      this.repeated++;
      this.answer = undefined;
      await Bun.sleep(RETRY_MS);
    }
  }

  private async publishOnce(key: string, body: string, traceId: bigint, header: object | undefined): Promise<Frame> {
    this.answer ??= this.lookup.find(this.topic, "w");
    const { meta, partitions } = await this.answer;
    const index = Bun.hash.murmur32v3(key, 0) % meta.partition_num;
    const peer = partitions[index];
    if (peer === undefined) throw new Error(`partition ${index} has no broker`);
    const connection = await this.connection(peer);
    if (header === undefined) return connection.publish(`PUB_TRACE ${this.topic} ${index}`, traced(traceId, body));
    return connection.publish(
      `PUB_EXT ${this.topic} ${index}`,
      withHeader(JSON.stringify({ "##trace_id": `${traceId}`, ...header }), body),
    );
  }

  private async connection(peer: Peer): Promise<PublishingConnection> {
    const opened = this.connections.get(peer.tcp_port) ?? PublishingConnection.open(peer);
    this.connections.set(peer.tcp_port, opened);
    try {
      const connection = await opened;
      if (!connection.closed) return connection;
    } catch {
      // It is tried again.
    }
    if (this.connections.get(peer.tcp_port) === opened) this.connections.delete(peer.tcp_port);
    throw new Error("the connection failed");
  }

  [Symbol.dispose](): void {
    for (const connection of this.connections.values())
      connection.then(
        (one) => one.close(),
        () => {},
      );
  }
}

/** A message, as an ordered consumer with headers gets it. */
export interface Received {
  partition: number;
  /** The first half of the id. */
  id: bigint;
  traceId: bigint;
  attempts: number;
  /** Undefined: it has none. */
  header: Record<string, unknown> | undefined;
  offset: bigint;
  rawSize: number;
  body: string;
}

/** @param bytes a frame without its size word, of SUB_ORDERED by a client with extend_support */
function readMessage(bytes: Buffer, partition: number): Received {
  const version = bytes[30];
  if (version !== 0 && version !== 4) throw new Error(`a message has version ${version}`);
  const headerBytes = version === 4 ? bytes.readUInt16BE(31) : 0;
  const headerAt = version === 4 ? 33 : 31;
  const at = headerAt + headerBytes;
  return {
    partition,
    attempts: bytes.readUInt16BE(12),
    id: bytes.readBigUInt64BE(14),
    traceId: bytes.readBigUInt64BE(22),
    header: version === 4 ? JSON.parse(bytes.toString("utf8", headerAt, at)) : undefined,
    offset: bytes.readBigUInt64BE(at),
    rawSize: bytes.readUInt32BE(at + 8),
    body: bytes.toString("utf8", at + 12),
  };
}

/** Has a SUB_ORDERED connection for each partition of a topic, and finishes what comes. */
export class OrderedConsumer implements AsyncDisposable {
  /** The most messages of a partition that were in flight at a time. */
  mostInFlight = 0;
  /** What brokers said that they should not. */
  readonly faults: string[] = [];
  private readonly clients = new Map<number, RawClient>();
  private readonly loops: Promise<void>[] = [];
  private stopped = false;

  constructor(
    private readonly lookup: YouzanLookup,
    private readonly topic: string,
    private readonly channel: string,
    private readonly onMessage: (message: Received) => void,
  ) {}

  /** @returns when all partitions are subscribed to */
  async start(): Promise<void> {
    const { meta } = await this.lookup.find(this.topic, "r");
    for (let index = 0; index < meta.partition_num; index++) this.loops.push(this.consume(index));
    await until("all partitions are subscribed to", () => this.clients.size === meta.partition_num || this.faults.length > 0);
  }

  private async consume(index: number): Promise<void> {
    while (!this.stopped) {
      try {
        const { partitions } = await this.lookup.find(this.topic, "r");
        const peer = partitions[index];
        if (peer !== undefined) await this.consumeFrom(peer, index);
      } catch (error) {
        // A broker that is away is looked for again.
        if (!/connect|closed/i.test((error as Error).message)) this.faults.push((error as Error).message);
      }
      if (!this.stopped) await Bun.sleep(RETRY_MS);
    }
  }

  private async consumeFrom(peer: Peer, index: number): Promise<void> {
    const client = await connect(peer, { extend_support: true, output_buffer_timeout: 10 });
    client.command(`SUB_ORDERED ${this.topic} ${this.channel} ${index}`);
    const { text } = await client.next();
    if (MOVED.test(text)) return;
    if (text !== "OK") {
      this.faults.push(`SUB_ORDERED was answered with ${text}`);
      return;
    }
    this.clients.set(index, client);
    const unfinished: Received[] = [];
    client.onFrame = ({ type, bytes, text: refusal }) => {
      if (type !== "message") return this.faults.push(`partition ${index} answered ${refusal}`);
      unfinished.push(readMessage(bytes, index));
      this.mostInFlight = Math.max(this.mostInFlight, unfinished.length);
      // Not at once: a broker that does not wait for FIN would have sent more by then.
      queueMicrotask(() => this.finish(client, bytes, unfinished));
    };
    client.command("RDY 100");
    await client.untilClosed(LIFETIME_MS);
  }

  private finish(client: RawClient, bytes: Buffer, unfinished: Received[]): void {
    const message = unfinished.shift();
    if (message === undefined || client.closed) return;
    this.onMessage(message);
    client.write(Buffer.concat([Buffer.from("FIN "), bytes.subarray(14, 30), Buffer.from("\n")]));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.stopped = true;
    for (const client of this.clients.values()) client.close();
    await Promise.all(this.loops);
  }
}
