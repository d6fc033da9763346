import { asError, ClientError, HttpError } from "./errors.ts";
import { getJson, type HttpOptions } from "./http.ts";

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
