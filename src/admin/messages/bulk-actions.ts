import { Refusal } from "../../http/server/reply.ts";
import { isUnknownCall, reasonOf } from "../actions/server-results.ts";
import type { Admin } from "../admin.ts";
import type { MessagesResult } from "../message-api.ts";
import { fieldsOf, listOf, numberOf, textOf } from "../upstream/fields.ts";
import { httpAddress } from "../upstream/producer.ts";
import { queryOf, UpstreamError } from "../upstream/upstream.ts";
import type { BulkRequest } from "./bulk-request.ts";
import { type SearchBounds, searchMessages } from "./message-search.ts";
import { brokersWith, prepareSearch } from "./search-request.ts";

/** What a search for messages to act on looks at. The page waits 30 s for an answer. */
const BOUNDS: Omit<SearchBounds, "found"> = { scanned: 200_000, bytes: 256 * 1024 * 1024, pages: 1000, ms: 10_000 };
/** Ids of one call to a broker. */
const PIECE = 500;
/** Failures that are told. The others are counted: they are what neither was done nor failed. */
const MOST_FAILURES = 100;
/** What a broker answers for messages for which the call had no time left. */
const NOT_TRIED = "NOT_TRIED";
/** What a broker answers to a publish whose key's partition another one has. */
const ELSEWHERE = "PARTITION_NOT_HERE";
const NO_HEADERS = "this server knows no keys and headers, as Go's nsqd";

type Failures = MessagesResult["failed"];

/** The messages that a request is about, by their brokers. */
interface Chosen {
  ids: Map<string, string[]>;
  count: number;
  more: boolean;
  /** Brokers whose messages cannot be chosen. */
  failed: Failures;
}

/** Does something with many messages, or counts them. @throws Refusal; MatchError */
export class BulkActions {
  constructor(private readonly parts: Pick<Admin, "upstream" | "discovery">) {}

  async carryOut(request: BulkRequest): Promise<MessagesResult> {
    if (request.action === "publish") return this.publish(request);
    const { ids, count, more, failed } = await this.choose(request);
    if (request.preview) return { count, more, done: 0, failed };
    const path = pathOf(request);
    const parts = await Promise.all([...ids].map(([broker, some]) => this.actAt(broker, path, some)));
    const all = [...failed, ...parts.flatMap((part) => part.failed)];
    return { count, more, done: parts.reduce((sum, { done }) => sum + done, 0), failed: all.slice(0, MOST_FAILURES) };
  }

  private async choose(request: BulkRequest): Promise<Chosen> {
    const ids = new Map<string, string[]>();
    if (request.ids !== undefined) {
      const { brokers, unavailable } = await brokersWith(this.parts, request.topic, request.broker);
      const failed = unavailable.map(({ broker, message }) => ({ id: "", broker, message }));
      const [only] = brokers;
      if (only === undefined) return { ids, count: request.ids.length, more: false, failed };
      // An id means something to its own broker alone.
      if (brokers.length > 1) throw new Refusal(400, "MISSING_BROKER");
      return { ids: ids.set(only, request.ids), count: request.ids.length, more: false, failed };
    }
    const search = await prepareSearch(this.parts, request.words);
    const bounds = { ...BOUNDS, found: request.limit };
    let count = 0;
    const result = await searchMessages(this.parts.upstream, search.selection, search.places, search.matcher, bounds, ({ row }) => {
      // A deferred publish has no id until it is due.
      if (row.id === null) return;
      count++;
      const some = ids.get(row.broker);
      if (some === undefined) ids.set(row.broker, [row.id]);
      else some.push(row.id);
    });
    const failed = search.unavailable.map(({ broker, message }) => ({ id: "", broker, message }));
    const told = result.failures.filter(({ code }) => code !== "CHANNEL_NOT_FOUND" && code !== "PARTITION_NOT_FOUND");
    failed.push(...told.map((error) => ({ id: "", broker: error.server, message: reasonOf(error) })));
    for (const [broker, message] of result.leftOut) failed.push({ id: "", broker, message });
    return { ids, count, more: !result.isAtEnd || result.leftOut.size > 0, failed };
  }

  /** Sends a broker the ids in pieces. */
  private async actAt(broker: string, path: string, ids: readonly string[]): Promise<{ done: number; failed: Failures }> {
    let done = 0;
    const failed: Failures = [];
    let waiting = [...ids];
    while (waiting.length > 0) {
      const piece = waiting.slice(0, PIECE);
      try {
        const answer = fieldsOf(JSON.parse((await this.parts.upstream.post(broker, path, JSON.stringify({ ids: piece }))).toString()));
        const refused = listOf(answer, "failed").map((each) => ({
          id: textOf(fieldsOf(each), "id"),
          message: textOf(fieldsOf(each), "message"),
        }));
        const untried = refused.filter(({ message }) => message === NOT_TRIED).map(({ id }) => id);
        if (untried.length >= piece.length) throw new UpstreamError(broker, { method: "POST", path }, "it tried none of the messages");
        done += numberOf(answer, "done");
        failed.push(...refused.filter(({ message }) => message !== NOT_TRIED).map((each) => ({ ...each, broker })));
        waiting = [...untried, ...waiting.slice(PIECE)];
      } catch (error) {
        if (!(error instanceof UpstreamError || error instanceof SyntaxError)) throw error;
        const message = error instanceof UpstreamError ? reasonOf(error) : "its answer is not JSON";
        failed.push(...waiting.map((id) => ({ id, broker, message })));
        return { done, failed };
      }
    }
    return { done, failed };
  }

  /**
   * Publishes to one broker: the one that is given, or the first of those with the topic, else of all, that answers. A broker that has
   * not the partition of the message's key, or is one of Go's and knows no keys, is passed over.
   */
  private async publish({ topic, broker, delayMs, body, header, preview }: BulkRequest): Promise<MessagesResult> {
    if (preview) return { count: 1, more: false, done: 0, failed: [] };
    const path = `/pub${queryOf({ topic, ...header, ...(delayMs === 0 ? {} : { defer: String(delayMs) }) })}`;
    const hasHeader = Object.keys(header).length > 0;
    let failure: Failures[number] | undefined;
    for (const target of await this.brokersToPublishAt(topic, broker)) {
      // A lookup server lists a broker for a while after it has gone.
      if (broker === "" && !(await this.answers(target))) continue;
      const message = await this.publishAt(target, path, body, hasHeader);
      if (message === undefined) return { count: 1, more: false, done: 1, failed: [] };
      failure = { id: "", broker: target, message };
      if (message !== ELSEWHERE && message !== NO_HEADERS) break;
    }
    if (failure === undefined) throw new Refusal(404, "BROKER_NOT_FOUND");
    return { count: 1, more: false, done: 0, failed: [failure] };
  }

  private async answers(broker: string): Promise<boolean> {
    try {
      await this.parts.upstream.ping(broker);
      return true;
    } catch (error) {
      if (!(error instanceof UpstreamError)) throw error;
      return false;
    }
  }

  /** @returns why it was not published; undefined: it was */
  private async publishAt(broker: string, path: string, body: Uint8Array, hasHeader: boolean): Promise<string | undefined> {
    const { upstream } = this.parts;
    try {
      // Go's nsqd would publish it without.
      if (hasHeader && fieldsOf(await upstream.getJson(broker, "/info")).bunsq_version === undefined) return NO_HEADERS;
      await upstream.post(broker, path, new Uint8Array(body));
      return undefined;
    } catch (error) {
      if (!(error instanceof UpstreamError)) throw error;
      return isUnknownCall(error.status, error.code) ? error.why : reasonOf(error);
    }
  }

  /** @throws Refusal 404; AllFailed */
  private async brokersToPublishAt(topic: string, broker: string): Promise<string[]> {
    const known = (await this.parts.discovery.producers()).value;
    if (broker !== "") {
      if (!known.some((producer) => httpAddress(producer) === broker)) throw new Refusal(404, "BROKER_NOT_FOUND");
      return [broker];
    }
    const having = known.filter(({ topics }) => topics.some((one) => one.topic === topic && !one.tombstoned));
    return (having.length > 0 ? having : known).map(httpAddress);
  }
}

/** The broker's call for an action. */
function pathOf({ action, topic, channel, toTopic, delayMs }: BulkRequest): string {
  const defer = delayMs === 0 ? {} : { defer: String(delayMs) };
  if (action === "copy") return `/messages/copy${queryOf({ topic, to: toTopic, ...defer })}`;
  if (action === "move") return `/messages/move${queryOf({ topic, channel, to: toTopic })}`;
  return `/messages/${action}${queryOf({ topic, channel, ...(action === "requeue" ? defer : {}) })}`;
}
