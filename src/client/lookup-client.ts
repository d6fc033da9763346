import { asError, ClientError, HttpError } from "./errors.ts";
import { getJson, type HttpOptions } from "./http.ts";

const MAX_PARTITIONS = 1024;

/** A broker as a lookup server knows it. */
export interface LookupNode {
  broadcast_address: string;
  hostname: string;
  remote_address: string;
  tcp_port: number;
  http_port: number;
  version: string;
  /** Only in nodes(). */
  topics?: string[];
  tombstones?: boolean[];
}

/** Where the partitions of a topic are. */
export interface TopicPartitions {
  /** How many the topic has; 0 if nobody has it, or the lookup server knows no partitions. */
  readonly partitions: number;
  /** The addresses of the brokers that have them, by their numbers. */
  readonly leaders: ReadonlyMap<number, string>;
  /** The addresses of all brokers that have the topic. */
  readonly brokers: readonly string[];
}

/** Asks one lookup server over HTTP. All calls @throws ClientError LOOKUP_FAILED, or the signal's reason. */
export class LookupClient {
  /** @param address `host:port` of its HTTP listener, or a URL */
  constructor(
    readonly address: string,
    private readonly options: HttpOptions = {},
  ) {}

  /** The brokers that have a topic, and its channels. A topic that nobody has is no error. */
  async lookup(topic: string, signal?: AbortSignal): Promise<{ channels: string[]; producers: LookupNode[] }> {
    try {
      const answer = await this.get(`/lookup?topic=${encodeURIComponent(topic)}`, signal);
      return { channels: list<string>(answer.channels), producers: list<LookupNode>(answer.producers) };
    } catch (error) {
      const { cause } = error as ClientError;
      if (cause instanceof HttpError && cause.status === 404) return { channels: [], producers: [] };
      throw error;
    }
  }

  /** Where the partitions of a topic are, for publishing. A topic that nobody has is no error. */
  async partitions(topic: string, signal?: AbortSignal): Promise<TopicPartitions> {
    try {
      const answer = await this.get(`/lookup?topic=${encodeURIComponent(topic)}&access=w&metainfo=true`, signal);
      const { partition_num: partitions } = fieldsOf(answer.meta);
      const leaders = Object.entries(fieldsOf(answer.partitions)).map(
        ([index, node]) => [Number(index), nodeAddress(node as LookupNode)] as const,
      );
      const brokers = list<LookupNode>(answer.producers).map(nodeAddress);
      return { partitions: partitionCount(partitions), leaders: new Map(leaders), brokers };
    } catch (error) {
      const { cause } = error as ClientError;
      if (cause instanceof HttpError && cause.status === 404) return { partitions: 0, leaders: new Map(), brokers: [] };
      throw error;
    }
  }

  /** All brokers. */
  async nodes(signal?: AbortSignal): Promise<LookupNode[]> {
    return list<LookupNode>((await this.get("/nodes", signal)).producers);
  }

  async topics(signal?: AbortSignal): Promise<string[]> {
    return list<string>((await this.get("/topics", signal)).topics);
  }

  async channels(topic: string, signal?: AbortSignal): Promise<string[]> {
    return list<string>((await this.get(`/channels?topic=${encodeURIComponent(topic)}`, signal)).channels);
  }

  private async get(path: string, signal?: AbortSignal): Promise<Record<string, unknown>> {
    const [call] = path.split("?", 1);
    const context = { broker: this.address, command: `GET ${call}` };
    try {
      const answer = await getJson(this.address, path, this.options, signal);
      // Lookup servers before 1.0 wrap their answers.
      const inner = answer.data;
      return typeof inner === "object" && inner !== null ? (inner as Record<string, unknown>) : answer;
    } catch (thrown) {
      if (signal?.aborted) throw signal.reason;
      // The context is in both errors.
      const reason = thrown instanceof ClientError ? thrown.text : asError(thrown).message;
      throw new ClientError("LOOKUP_FAILED", reason, { ...context, cause: thrown });
    }
  }
}

/** The address of a broker for TCP connections. */
export function nodeAddress({ broadcast_address, tcp_port }: LookupNode): string {
  return broadcast_address.includes(":") ? `[${broadcast_address}]:${tcp_port}` : `${broadcast_address}:${tcp_port}`;
}

function list<Item>(value: unknown): Item[] {
  return Array.isArray(value) ? (value as Item[]) : [];
}

function fieldsOf(value: unknown): Record<string, unknown> {
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};
}

/** A number of partitions, if it can be one. */
function partitionCount(value: unknown): number {
  return typeof value === "number" && value >= 0 && value <= MAX_PARTITIONS ? Math.floor(value) : 0;
}
