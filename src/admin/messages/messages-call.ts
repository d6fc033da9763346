import { encodeJson } from "../../base/go/json.ts";
import { encodedJson, json, Refusal } from "../../http/server/reply.ts";
import type { AdminCall } from "../call.ts";
import { MatchError } from "../matching/message-matcher.ts";
import type { LifeEvent, MessageDetail, MessagePage, MessageRow } from "../message-api.ts";
import { type Fields, fieldsOf, listOf, numberOf, textOf } from "../upstream/fields.ts";
import { queryOf, UpstreamError } from "../upstream/upstream.ts";
import { messageOf, stateOf, whyUnavailable } from "./broker-messages.ts";
import { type SearchBounds, type SearchResult, searchMessages } from "./message-search.ts";
import { brokersWith, encodeNext, prepareSearch, type Search, searchWords } from "./search-request.ts";

const DEFAULT_LIMIT = 100;
const MAX_LIMIT = 1000;
/** What one call looks at. */
const BOUNDS: Omit<SearchBounds, "found"> = { scanned: 10_000, bytes: 16 * 1024 * 1024, pages: 64, ms: 2000 };
const LIFE_KINDS: readonly string[] = [
  "published",
  "deferred",
  "delivered",
  "touched",
  "requeued",
  "timed_out",
  "finished",
  "moved",
  "discarded",
] satisfies LifeEvent["kind"][];

/** GET /api/v1/messages?topic=…: messages of a topic or channel (console-api.ts: MessagePage). */
export async function listMessages(call: AdminCall): Promise<Response> {
  const limit = call.query.get("limit") ?? String(DEFAULT_LIMIT);
  if (!/^\d{1,9}$/.test(limit) || Number(limit) === 0) throw new Refusal(400, "INVALID_ARG_LIMIT");
  try {
    const search = await prepareSearch(call.admin, searchWords(call.query));
    return json(pageOf(search, await findPage(call.admin, search, Math.min(Number(limit), MAX_LIMIT))));
  } catch (error) {
    return explained(error);
  }
}

/** What a search has found within the bounds of one call. */
export interface FoundPage {
  messages: MessageRow[];
  scanned: number;
  result: SearchResult;
  /** Brokers that did not answer to this search. */
  unavailable: { broker: string; message: string }[];
}

/** Makes one step of a search. @throws Refusal 404, or 400 if no broker can begin at the place */
export async function findPage({ upstream }: Pick<AdminCall["admin"], "upstream">, search: Search, limit: number): Promise<FoundPage> {
  const { selection, places, matcher } = search;
  const messages: MessageRow[] = [];
  const result = await searchMessages(upstream, selection, places, matcher, { ...BOUNDS, found: limit }, ({ row }) => messages.push(row));
  const { failures, sources, scanned } = result;
  if (sources.length === 0 && search.unavailable.length === 0) refuseIfAll(failures);
  // A broker may have the topic without the channel, or without the partition.
  const told = failures.filter(({ code }) => code !== "CHANNEL_NOT_FOUND" && code !== "PARTITION_NOT_FOUND");
  const reasons = new Map(told.map((error) => [error.server, whyUnavailable(error)]));
  for (const [broker, message] of result.leftOut) reasons.set(broker, message);
  return { messages, scanned, result, unavailable: [...reasons].map(([broker, message]) => ({ broker, message })) };
}

function pageOf({ selection, isTail, ...search }: Search, { messages, scanned, result, unavailable: failed }: FoundPage): MessagePage {
  const { sources, places, isAtEnd } = result;
  const unavailable = [...search.unavailable, ...failed];
  const [only] = sources;
  return {
    messages,
    next: isAtEnd && !(isTail && sources.length > 0) ? null : encodeNext(selection, places, isTail),
    scanned,
    ...(sources.length === 1 && only?.beginning !== undefined ? { beginning: only.beginning } : {}),
    ...(sources.length === 1 && only?.end !== undefined ? { end: only.end } : {}),
    ...(unavailable.length === 0 ? {} : { unavailable }),
  };
}

/** Refuses with what all brokers have refused with. */
function refuseIfAll(failures: readonly UpstreamError[]): void {
  for (const [status, code] of [
    [404, "CHANNEL_NOT_FOUND"],
    [404, "PARTITION_NOT_FOUND"],
    [404, "TOPIC_NOT_FOUND"],
    [400, "INVALID_ARG_FROM"],
  ] as const) {
    if (failures.length > 0 && failures.every((failure) => failure.code === code)) throw new Refusal(status, code);
  }
}

/** The answer to a search that cannot be understood: what is wrong with it. Throws other errors. */
export function explained(error: unknown): Response {
  if (!(error instanceof MatchError)) throw error;
  return encodedJson(encodeJson({ message: "INVALID_ARG_Q", detail: error.message }), 400);
}

/** GET /api/v1/message?topic=&id=[&broker=]: one message, whole, with its state in each channel and its life. */
export async function oneMessage(call: AdminCall): Promise<Response> {
  const { topic, broker } = searchWords(call.query);
  const id = call.query.get("id") ?? "";
  if (!/^[0-9a-f]{16}$/.test(id)) throw new Refusal(400, "INVALID_ARG_ID");
  const { brokers } = await brokersWith(call.admin, topic, broker);
  const failures: UpstreamError[] = [];
  const found = await Promise.all(
    brokers.map(async (address) => {
      try {
        return await detailAt(call, address, topic, id);
      } catch (error) {
        if (!(error instanceof UpstreamError)) throw error;
        failures.push(error);
        return undefined;
      }
    }),
  );
  const detail = found.find((one) => one !== undefined);
  if (detail !== undefined) return json(detail);
  // INVALID_ARG_ID: another topic's, or another broker's.
  const serious = failures.find(({ code }) => code !== "MESSAGE_NOT_FOUND" && code !== "INVALID_ARG_ID");
  if (serious === undefined) throw new Refusal(404, "MESSAGE_NOT_FOUND");
  throw new Refusal(502, `UPSTREAM_ERROR: ${serious.server}: ${whyUnavailable(serious)}`);
}

async function detailAt({ admin }: AdminCall, broker: string, topic: string, id: string): Promise<MessageDetail> {
  const fields = fieldsOf(await admin.upstream.getJson(broker, `/message${queryOf({ topic, id, format: "base64" })}`));
  const partition = typeof fields.partition === "number" ? fields.partition : undefined;
  const { row, body } = messageOf(fields, broker, topic, "", partition);
  const facts = { broker, topic, id: row.id, sequence: row.sequence, timestamp: row.timestamp, size: row.size };
  const states = listOf(fields, "channels").map((each): MessageRow => {
    const channel = fieldsOf(each);
    return { ...facts, body: "", body_bytes: 0, channel: textOf(channel, "channel_name"), ...stateOf(channel) };
  });
  const life = await lifeAt(admin, broker, topic, id);
  return { ...row, body: body.toString("base64"), body_bytes: body.length, channels: states, life };
}

/** What was recorded of a message; nothing if the broker records nothing. */
async function lifeAt({ upstream }: AdminCall["admin"], broker: string, topic: string, id: string): Promise<LifeEvent[]> {
  try {
    const fields = fieldsOf(await upstream.getJson(broker, `/message/trace${queryOf({ topic, id })}`));
    return listOf(fields, "events").flatMap((event) => lifeEventOf(fieldsOf(event)) ?? []);
  } catch (error) {
    if (error instanceof UpstreamError) return [];
    throw error;
  }
}

function lifeEventOf(fields: Fields): LifeEvent | undefined {
  const kind = textOf(fields, "kind");
  if (!LIFE_KINDS.includes(kind)) return undefined;
  const text = (name: string) => (typeof fields[name] === "string" ? fields[name] : null);
  const number = (name: string) => (typeof fields[name] === "number" ? fields[name] : null);
  return {
    time: numberOf(fields, "time"),
    kind: kind as LifeEvent["kind"],
    channel: text("channel"),
    attempts: number("attempts"),
    by: text("by"),
    delay_ms: number("delay_ms"),
    detail: text("detail"),
  };
}
