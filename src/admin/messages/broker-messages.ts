import { reasonOf } from "../actions/server-results.ts";
import type { MessageRow, MessageState } from "../message-api.ts";
import { type Fields, fieldsOf, listOf, numberOf, textOf } from "../upstream/fields.ts";
import { queryOf, type Upstream, UpstreamError } from "../upstream/upstream.ts";

/** How much of a body a list shows. A multiple of 3, so that its base64 can be cut. */
const SHOWN_BYTES = 3072;

const MESSAGE_ID = /^[0-9a-f]{16}$/;

/** Which messages: a topic's log, or those of a channel in a state. */
export interface Selection {
  topic: string;
  /** Empty for `log`. */
  channel: string;
  state: MessageState;
}

/** Where a search goes on at a broker. */
export interface Place {
  broker: string;
  /** Undefined: the only one, or the broker's first one and then all others. */
  partition: number | undefined;
  /** The broker's `from`; undefined: at the beginning. */
  from: string | undefined;
  /** Messages of that page that were looked at already. */
  skip: number;
}

/** A message, with its whole body. */
export interface FoundMessage {
  row: MessageRow;
  body: Buffer;
}

/** The messages of one broker, page by page. */
export class BrokerMessages {
  private page: readonly FoundMessage[] = [];
  private at = 0;
  private next: string | undefined;
  private isLast = false;
  /** Why its messages cannot be shown; undefined: they can. */
  failure: UpstreamError | undefined;
  beginning: number | undefined;
  end: number | undefined;
  /** The partitions that the broker has beside the one of the first page, which no place named. Empty once they are taken. */
  others: readonly number[] = [];
  private partition: number | undefined;

  /** @param limit messages of a page */
  constructor(
    private readonly upstream: Upstream,
    private readonly selection: Selection,
    readonly start: Place,
    private readonly limit: number,
  ) {
    this.next = start.from;
    this.partition = start.partition;
  }

  get broker(): string {
    return this.start.broker;
  }

  /** The next message that was loaded; undefined if there is none, or load() must be called. */
  get head(): FoundMessage | undefined {
    return this.page[this.at];
  }

  /** Whether there may be more behind what was loaded. */
  get mayLoad(): boolean {
    return this.head === undefined && !this.isLast && this.failure === undefined;
  }

  /** Whether nothing is left. */
  get isAtEnd(): boolean {
    return this.head === undefined && this.isLast;
  }

  /** Where a later search goes on. */
  get place(): Place {
    const { head, broker, partition, selection } = this;
    const sequence = head?.row.sequence;
    if (head === undefined || this.failure !== undefined) return { broker, partition, from: this.next, skip: 0 };
    // Deferred messages are not in the order of their sequences.
    if (selection.state !== "deferred" && sequence !== null) return { broker, partition, from: String(sequence), skip: 0 };
    return { broker, partition, from: this.pageFrom, skip: this.at };
  }

  private pageFrom: string | undefined;

  /** The broker's word for which partition the first page is of. A message's id is in one of them, so the others are left out then. */
  private takePartition(partition: number, all: readonly unknown[]): void {
    if (this.partition !== undefined) return;
    this.partition = partition;
    if (MESSAGE_ID.test(this.start.from ?? "")) return;
    this.others = all.filter((index) => typeof index === "number" && index !== partition) as number[];
  }

  shift(): void {
    this.at++;
  }

  /** Loads the next page, which may be empty. Sets `failure` if that fails. */
  async load(): Promise<void> {
    const { topic, channel, state } = this.selection;
    const isFirst = this.pageFrom === undefined && this.page.length === 0 && this.next === this.start.from;
    const from = this.next;
    const of = this.partition === undefined ? {} : { partition: String(this.partition) };
    const query = { topic, ...of, ...(from === undefined ? {} : { from }), limit: String(this.limit), format: "base64" };
    const path = state === "log" ? `/topic/messages${queryOf(query)}` : `/channel/messages${queryOf({ ...query, channel, state })}`;
    let fields: Fields;
    try {
      fields = fieldsOf(await this.upstream.getJson(this.broker, path));
    } catch (error) {
      if (!(error instanceof UpstreamError)) throw error;
      this.failure = error;
      return;
    }
    this.pageFrom = from;
    if (typeof fields.partition === "number") this.takePartition(fields.partition, listOf(fields, "partitions"));
    this.page = listOf(fields, "messages").map((message) => messageOf(fieldsOf(message), this.broker, topic, channel, this.partition));
    this.at = isFirst ? Math.min(this.start.skip, this.page.length) : 0;
    const next = fields.next;
    this.isLast = typeof next !== "number" && typeof next !== "string";
    if (!this.isLast) this.next = String(next);
    if (state !== "log") return;
    this.beginning = numberOf(fields, "beginning");
    this.end = numberOf(fields, "end");
    if (typeof next === "number" && next >= this.end) this.isLast = true;
  }
}

/** Why a broker's messages cannot be shown, for people. */
export function whyUnavailable(error: UpstreamError): string {
  const reason = reasonOf(error);
  return reason.startsWith("this server cannot") ? "this broker cannot show its messages: it does not know the call, as Go's nsqd" : reason;
}

/** A message as a broker tells it. */
export function messageOf(fields: Fields, broker: string, topic: string, channel: string, partition?: number): FoundMessage {
  const base64 = textOf(fields, "body");
  const body = fields.encoding === "base64" ? Buffer.from(base64, "base64") : Buffer.from(base64);
  const shown = body.subarray(0, SHOWN_BYTES);
  const row: MessageRow = {
    broker,
    topic,
    ...(channel === "" ? {} : { channel }),
    id: typeof fields.id === "string" ? fields.id : null,
    sequence: typeof fields.sequence === "number" ? fields.sequence : null,
    timestamp: textOf(fields, "timestamp"),
    size: numberOf(fields, "size"),
    body: shown.toString("base64"),
    body_bytes: shown.length,
    ...headerOf(fields),
    ...(partition === undefined ? {} : { partition }),
    ...stateOf(fields),
  };
  return { row, body };
}

/** What a message's header says. */
function headerOf(fields: Fields): Partial<MessageRow> {
  const header: Partial<MessageRow> = {};
  for (const name of ["key", "tag", "trace_id"] as const) if (typeof fields[name] === "string") header[name] = fields[name];
  if (fields.headers !== undefined) header.headers = fields.headers;
  return header;
}

/** What a message is in a channel. */
export function stateOf(fields: Fields): Partial<MessageRow> {
  const state: Partial<MessageRow> = {};
  for (const name of ["state", "since", "timeout_at", "due", "last_delivered"] as const) {
    if (typeof fields[name] === "string") state[name] = fields[name];
  }
  if (typeof fields.attempts === "number") state.attempts = fields.attempts;
  if (fields.client === null) state.client = null;
  else if (fields.client !== undefined) {
    const text = (name: string) => textOf(fieldsOf(fields.client), name);
    state.client = {
      client_id: text("client_id"),
      hostname: text("hostname"),
      remote_address: text("remote_address"),
      user_agent: text("user_agent"),
    };
  }
  return state;
}
