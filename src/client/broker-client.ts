import { call, getJson, type HttpOptions, parseObject } from "./http.ts";
import { type MessageFilter, wireFilter } from "./message-filter.ts";

/** A place in a topic's log: `beginning`, `end`, a sequence, a message's id, a time, or `ago:10m`. See docs/replay.md. */
export type LogPosition = string | number | Date;

/** A position that is in one partition. */
const MESSAGE_ID = /^[0-9a-f]{16}$/;

/** How bodies are written: as text, as the JSON value that they are, or in base64. */
export type PeekFormat = "text" | "json" | "base64";

/** A message that was looked at, and not consumed. */
export interface PeekedMessage {
  /** Null for a deferred publish, which has no id yet. */
  id: string | null;
  sequence: number | null;
  /** RFC 3339 with nanoseconds. */
  timestamp: string;
  size: number;
  body: unknown;
  /** Only for a body that could not be written as asked. */
  encoding?: "base64";
  /** What its header says; each is left out if it does not. */
  key?: string;
  tag?: string;
  /** A decimal number of 64 bits. */
  trace_id?: string;
  /** The JSON of its header, or its text if it is none. */
  headers?: unknown;
  /** Only of channels: in_flight, waiting, requeued or deferred. */
  state?: string;
  attempts?: number;
  /** Only of deferred messages: when they are delivered. */
  due?: string;
}

/** Some messages, and where the next ones begin. */
export interface MessagePage {
  messages: PeekedMessage[];
  /** The position of the next page; null at the end. */
  next: string | number | null;
  /** Only of topics: the sequences of the oldest message, and of the one that comes next. */
  beginning?: number;
  end?: number;
  /** Only of topics with several partitions: the one that these messages are of, and all that the broker has. */
  partition?: number;
  partitions?: number[];
}

export interface PageOptions {
  from?: LogPosition;
  /** Default: the first one that the broker has. */
  partition?: number;
  /** Default 100, at most 1,000. */
  limit?: number;
  format?: PeekFormat;
  signal?: AbortSignal;
}

/** What a channel is like. Only bunsq has these. */
export interface ChannelOptions {
  /** Where a new channel begins. */
  start?: LogPosition;
  order?: "none" | "key" | "partition";
  /** Messages that do not fit are finished without being delivered; null: all fit. */
  filter?: MessageFilter | WireFilter | null;
  /** A message that was delivered so often is published to `deadLetterTopic`, and finished. One needs the other. */
  maxAttempts?: number;
  deadLetterTopic?: string;
}

/** A filter as brokers have it (docs/order.md). */
export interface WireFilter {
  type: number;
  [member: string]: unknown;
}

/** How a channel delivers its messages. */
export interface ChannelSettings {
  topic_name: string;
  channel_name: string;
  order: "none" | "key" | "partition";
  filter: WireFilter | null;
  /** 0: without end. */
  max_attempts: number;
  dead_letter_topic: string;
  /** All messages are finished without being delivered; those that are marked as tests are. */
  skip: boolean;
  skip_zan_test: boolean;
  /** The most messages that each client has in flight whose address or id begins with the prefix. */
  client_limits: { prefix: string; ready: number }[];
  /** The most messages, and KiB, per second; 0: no limit. */
  rate_limit: number;
  rate_limit_kb: number;
}

/** How long a topic keeps messages that all channels have finished. */
export interface Retention {
  topic_name: string;
  /** A duration as Go writes it: `48h0m0s`; `0s` for no limit. */
  time: string;
  bytes: number;
  /** The topic has no limits of its own. */
  default: boolean;
  log: { beginning: number; end: number; bytes: number; oldest: string | null };
}

/** Where a channel is after a seek. */
export interface SeekResult {
  sequence: number;
  depth: number;
  discarded: { in_flight: number; requeued: number; deferred: number };
}

/** How far a drain is. */
export interface DrainProgress {
  state: "serving" | "draining" | "drained";
  /** Messages that consumers have and have not answered. */
  in_flight: number;
  consumers: number;
  /** All clients on TCP. */
  connections: number;
  elapsed_ms: number;
  /** The bound of the drain; 0 while there is none. */
  timeout_ms: number;
}

/** Values for a call's query. Those that are undefined are left out. */
type Query = Record<string, string | number | undefined>;

interface StatsOptions {
  topic?: string;
  channel?: string;
  partitions?: boolean;
  signal?: AbortSignal;
}

/**
 * Calls a broker over HTTP: nsqd's calls, and bunsq's own for replay and inspection.
 *
 * All calls @throws HttpError with the broker's code; ClientError TIMEOUT, CONNECT_FAILED, PROTOCOL; the signal's reason.
 */
export class BrokerClient {
  /** @param address `host:port` of its HTTP listener, or a URL */
  constructor(
    readonly address: string,
    private readonly options: HttpOptions = {},
  ) {}

  /** Whether the broker says that it is well. @throws HttpError with what is wrong */
  async ping(signal?: AbortSignal): Promise<void> {
    await call(this.address, { method: "GET", path: "/ping" }, this.options, signal);
  }

  info(signal?: AbortSignal): Promise<Record<string, unknown>> {
    return this.get("/info", {}, signal);
  }

  /** @param partitions false: without the figures of each partition, for which the sums are enough */
  stats({ topic, channel, partitions = true, signal }: StatsOptions = {}): Promise<Record<string, unknown>> {
    return this.get("/stats", { format: "json", topic, channel, include_partitions: partitions ? undefined : "false" }, signal);
  }

  /** @param partitions how many it has, also if it exists and has fewer; only bunsq has several. Default: one, or those that it has */
  createTopic(topic: string, { partitions, signal }: { partitions?: number; signal?: AbortSignal } = {}): Promise<void> {
    return this.post("/topic/create", { topic, partition_num: partitions }, signal);
  }

  deleteTopic(topic: string, signal?: AbortSignal): Promise<void> {
    // A topic of a cluster goes at all its brokers, which has to be said. NSQ's do not read it.
    return this.post("/topic/delete", { topic, partition: "**" }, signal);
  }

  emptyTopic(topic: string, signal?: AbortSignal): Promise<void> {
    return this.post("/topic/empty", { topic }, signal);
  }

  pauseTopic(topic: string, signal?: AbortSignal): Promise<void> {
    return this.post("/topic/pause", { topic }, signal);
  }

  unpauseTopic(topic: string, signal?: AbortSignal): Promise<void> {
    return this.post("/topic/unpause", { topic }, signal);
  }

  /** Makes a channel, or gives one that exists the settings. */
  createChannel(topic: string, channel: string, options: ChannelOptions & { signal?: AbortSignal } = {}): Promise<void> {
    const { start, signal } = options;
    return this.post("/channel/create", { topic, channel, start: positionText(start), ...settingsQuery(options) }, signal);
  }

  deleteChannel(topic: string, channel: string, signal?: AbortSignal): Promise<void> {
    return this.post("/channel/delete", { topic, channel }, signal);
  }

  emptyChannel(topic: string, channel: string, signal?: AbortSignal): Promise<void> {
    return this.post("/channel/empty", { topic, channel }, signal);
  }

  pauseChannel(topic: string, channel: string, signal?: AbortSignal): Promise<void> {
    return this.post("/channel/pause", { topic, channel }, signal);
  }

  unpauseChannel(topic: string, channel: string, signal?: AbortSignal): Promise<void> {
    return this.post("/channel/unpause", { topic, channel }, signal);
  }

  // ---- bunsq's own

  /** Moves a channel: from then on it has the messages from that position on, each as if for the first time. */
  seek(topic: string, channel: string, to: LogPosition, signal?: AbortSignal): Promise<SeekResult> {
    return this.postJson<SeekResult>("/channel/seek", { topic, channel, to: positionText(to) }, signal);
  }

  /** A page of a topic's log. */
  peek(topic: string, { from, limit, format, partition, signal }: PageOptions = {}): Promise<MessagePage> {
    return this.get<MessagePage>("/topic/messages", { topic, partition, from: positionText(from), limit, format }, signal);
  }

  /** A page of a channel's messages in a state. */
  peekChannel(
    topic: string,
    channel: string,
    state: "in_flight" | "waiting" | "deferred",
    { from, limit, format, partition, signal }: PageOptions = {},
  ): Promise<MessagePage> {
    const query = { topic, channel, partition, state, from: positionText(from), limit, format };
    return this.get<MessagePage>("/channel/messages", query, signal);
  }

  /**
   * The messages of a topic's log, from a position to its end as it was when the page was read. Consumes nothing. Of several partitions
   * each has its turn, unless `partition` names one, or `from` is an id, which is in one.
   */
  messages(topic: string, options: PageOptions = {}): AsyncGenerator<PeekedMessage, void> {
    return allMessages((page) => this.peek(topic, page), options);
  }

  /** The messages that a channel has in a state, as messages() those of a topic. */
  channelMessages(
    topic: string,
    channel: string,
    state: "in_flight" | "waiting" | "deferred",
    options: PageOptions = {},
  ): AsyncGenerator<PeekedMessage, void> {
    return allMessages((page) => this.peekChannel(topic, channel, state, page), options);
  }

  /** One message, and its status in each channel. */
  message(
    topic: string,
    id: string,
    { format, signal }: { format?: PeekFormat; signal?: AbortSignal } = {},
  ): Promise<PeekedMessage & { channels: Record<string, unknown>[] }> {
    return this.get("/message", { topic, id, format }, signal);
  }

  /** Finishes a message in a channel, whoever has it. */
  finishMessage(topic: string, channel: string, id: string, signal?: AbortSignal): Promise<void> {
    return this.post("/message/finish", { topic, channel, id }, signal);
  }

  /** Has a message delivered again, whoever has it. */
  requeueMessage(
    topic: string,
    channel: string,
    id: string,
    { deferMs, signal }: { deferMs?: number; signal?: AbortSignal } = {},
  ): Promise<void> {
    return this.post("/message/requeue", { topic, channel, id, defer: deferMs }, signal);
  }

  /**
   * Has the broker end once its consumers are done.
   *
   * @param timeout how long it waits for them at the most, a duration such as `30s`; by default its --drain-timeout
   */
  drain({ timeout, signal }: { timeout?: string; signal?: AbortSignal } = {}): Promise<DrainProgress> {
    return this.postJson<DrainProgress>("/drain", { timeout }, signal);
  }

  /** How far the drain is. */
  drainProgress(signal?: AbortSignal): Promise<DrainProgress> {
    return this.get<DrainProgress>("/drain", {}, signal);
  }

  retention(topic: string, signal?: AbortSignal): Promise<Retention> {
    return this.get<Retention>("/topic/retention", { topic }, signal);
  }

  /** @param limits a duration such as `48h`, bytes, or both; "default" for what the broker's flags say */
  setRetention(topic: string, limits: { time?: string; bytes?: number } | "default", signal?: AbortSignal): Promise<Retention> {
    const query: Query = limits === "default" ? { default: "true" } : { time: limits.time, bytes: limits.bytes };
    return this.postJson<Retention>("/topic/retention", { topic, ...query }, signal);
  }

  /** Gives a topic more partitions. It never gets fewer again, and keys move to others (docs/order.md). */
  expandTopic(topic: string, partitions: number, signal?: AbortSignal): Promise<void> {
    return this.post("/topic/partition/expand", { topic, partition_num: partitions }, signal);
  }

  /** How a channel delivers its messages. */
  channelSettings(topic: string, channel: string, signal?: AbortSignal): Promise<ChannelSettings> {
    return this.get<ChannelSettings>("/channel/settings", { topic, channel }, signal);
  }

  /** Changes how a channel delivers its messages. What is not given stays as it is. */
  setChannelSettings(
    topic: string,
    channel: string,
    settings: Omit<ChannelOptions, "start">,
    signal?: AbortSignal,
  ): Promise<ChannelSettings> {
    return this.postJson<ChannelSettings>("/channel/settings", { topic, channel, ...settingsQuery(settings) }, signal);
  }

  /** Drops all messages of a channel, and has each that comes from then on finished without being delivered. */
  skipChannel(topic: string, channel: string, signal?: AbortSignal): Promise<void> {
    return this.post("/channel/skip", { topic, channel }, signal);
  }

  unskipChannel(topic: string, channel: string, signal?: AbortSignal): Promise<void> {
    return this.post("/channel/unskip", { topic, channel }, signal);
  }

  /** Bounds what a channel delivers per second. What is not given stays as it is; 0: no limit. */
  limitRate(topic: string, channel: string, rate: { messages?: number; kilobytes?: number }, signal?: AbortSignal): Promise<void> {
    const query = { topic, channel, ratemessages: rate.messages, ratekilobytes: rate.kilobytes };
    return this.post("/channel/ratelimit", query, signal);
  }

  /**
   * Bounds how many messages each client of a channel has in flight.
   *
   * @param ready 0: no limit
   * @param prefix only of clients whose address or id begins so; of several that fit, the longest counts
   */
  limitClients(topic: string, channel: string, ready: number, prefix = "", signal?: AbortSignal): Promise<void> {
    return this.post("/channel/setclientlimit", { topic, channel, ready, client_prefix: prefix }, signal);
  }

  /** The shape is the broker's promise. */
  private get<Answer>(path: string, query: Query, signal: AbortSignal | undefined): Promise<Answer> {
    return getJson(this.address, withQuery(path, query), this.options, signal) as Promise<Answer>;
  }

  private async post(path: string, query: Query, signal: AbortSignal | undefined): Promise<void> {
    await call(this.address, { method: "POST", path: withQuery(path, query) }, this.options, signal);
  }

  private async postJson<Answer>(path: string, query: Query, signal: AbortSignal | undefined): Promise<Answer> {
    const request = { method: "POST", path: withQuery(path, query) } as const;
    return parseObject(this.address, await call(this.address, request, this.options, signal)) as Answer;
  }
}

/** All messages, page by page and partition by partition. */
async function* allMessages(read: (page: PageOptions) => Promise<MessagePage>, options: PageOptions): AsyncGenerator<PeekedMessage, void> {
  let { partition } = options;
  // Which others there are the first page tells.
  let others: number[] | undefined = partition !== undefined || MESSAGE_ID.test(String(options.from)) ? [] : undefined;
  do {
    let { from } = options;
    for (;;) {
      const page = await read({ ...options, ...(from === undefined ? {} : { from }), ...(partition === undefined ? {} : { partition }) });
      yield* page.messages;
      // The position of the next page is one of this partition.
      partition ??= page.partition;
      others ??= page.partitions?.filter((index) => index !== page.partition) ?? [];
      if (page.next === null || page.next === page.end || page.next === from) break;
      from = page.next;
    }
    partition = others?.shift();
  } while (partition !== undefined);
}

function settingsQuery({ order, filter, maxAttempts, deadLetterTopic }: ChannelOptions): Query {
  return {
    ordered: order,
    filter: filter === null ? "" : filter && JSON.stringify("type" in filter ? filter : wireFilter(filter)),
    max_attempts: maxAttempts,
    dead_letter_topic: deadLetterTopic,
  };
}

function withQuery(path: string, query: Query): string {
  const parameters = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) if (value !== undefined) parameters.set(name, String(value));
  const text = parameters.toString();
  return text === "" ? path : `${path}?${text}`;
}

function positionText(position: LogPosition | undefined): string | number | undefined {
  return position instanceof Date ? position.toISOString() : position;
}
