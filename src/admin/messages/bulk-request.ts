import { isValidName } from "../../frame/names.ts";
import { Refusal } from "../../http/server/reply.ts";
import type { MessagesRequest } from "../message-api.ts";
import { type Fields, fieldsOf } from "../upstream/fields.ts";
import type { SearchWords } from "./search-request.ts";

const ACTIONS: readonly string[] = ["finish", "requeue", "copy", "move", "publish"] satisfies MessagesRequest["action"][];
/** Messages of one request. */
const MAX_MESSAGES = 10_000;
const MAX_DELAY_MS = 100 * 365 * 86_400_000;

/** A request for many messages that was checked. Names that it does not have are empty. */
export interface BulkRequest {
  action: MessagesRequest["action"];
  topic: string;
  channel: string;
  broker: string;
  /** Undefined: `words` say which. */
  ids: string[] | undefined;
  words: SearchWords;
  limit: number;
  delayMs: number;
  toTopic: string;
  /** publish */
  body: Buffer;
  /** publish: the arguments `key` and `ext` of the broker's call. */
  header: Record<string, string>;
  preview: boolean;
}

/** @throws Refusal 400 */
export function bulkRequestIn(body: unknown): BulkRequest {
  const fields = fieldsOf(body);
  const text = (name: string, of: Fields = fields) => textIn(of, name);
  const action = text("action");
  if (!ACTIONS.includes(action)) throw new Refusal(400, "INVALID_ACTION");
  const [topic, channel, broker, toTopic] = [text("topic"), text("channel"), text("broker"), text("to_topic")];
  if (!isValidName(topic)) throw new Refusal(400, "INVALID_TOPIC");
  const needsChannel = action === "finish" || action === "requeue" || action === "move";
  if (channel === "" ? needsChannel : !isValidName(channel)) throw new Refusal(400, "INVALID_CHANNEL");
  const preview = fields.preview === true;
  if (!preview && (action === "copy" || action === "move") && !isValidName(toTopic)) throw new Refusal(400, "INVALID_TO_TOPIC");
  if (!preview && action === "move" && toTopic === topic) throw new Refusal(400, "INVALID_TO_TOPIC");
  const delayMs = fields.delay_ms ?? 0;
  if (typeof delayMs !== "number" || !(delayMs >= 0 && delayMs <= MAX_DELAY_MS)) throw new Refusal(400, "INVALID_DELAY");
  const { ids, words, limit } = action === "publish" ? NOTHING : messagesIn(fields, topic, channel, broker);
  return {
    action: action as MessagesRequest["action"],
    topic,
    channel,
    broker,
    ids,
    words,
    limit,
    delayMs: Math.round(delayMs),
    toTopic,
    body: action === "publish" ? bodyIn(text("body")) : Buffer.alloc(0),
    header: action === "publish" ? headerIn(fields) : {},
    preview,
  };
}

const NO_WORDS: SearchWords = { topic: "", channel: "", broker: "", partition: "", state: "", from: "", match: "", q: "" };
const NOTHING = { ids: undefined, words: NO_WORDS, limit: 0 };

/** @throws Refusal 400 INVALID_IDS, INVALID_SELECT */
function messagesIn(fields: Fields, topic: string, channel: string, broker: string): Pick<BulkRequest, "ids" | "words" | "limit"> {
  const { ids, select } = fields;
  if (ids !== undefined) {
    const areIds = Array.isArray(ids) && ids.length > 0 && ids.length <= MAX_MESSAGES;
    if (!areIds || select !== undefined) throw new Refusal(400, "INVALID_IDS");
    const texts = ids.filter((id): id is string => typeof id === "string" && /^[0-9a-f]{16}$/.test(id));
    if (texts.length < ids.length) throw new Refusal(400, "INVALID_IDS");
    return { ids: [...new Set(texts)], words: NO_WORDS, limit: texts.length };
  }
  const asked = fieldsOf(select);
  const { limit } = asked;
  const isLimit = typeof limit === "number" && Number.isInteger(limit) && limit > 0 && limit <= MAX_MESSAGES;
  if (!isLimit) throw new Refusal(400, "INVALID_SELECT");
  const text = (name: string) => textIn(asked, name);
  const { partition } = asked;
  const words = {
    ...{ topic, channel, broker, partition: typeof partition === "number" ? String(partition) : "" },
    ...{ state: text("state"), from: text("from"), match: text("match"), q: text("q") },
  };
  return { ids: undefined, words, limit };
}

/** @throws Refusal 400 INVALID_MESSAGE */
function bodyIn(base64: string): Buffer {
  const body = Buffer.from(base64, "base64");
  // A broker refuses an empty body.
  if (body.length === 0 || !/^[A-Za-z0-9+/]+={0,2}$/.test(base64)) throw new Refusal(400, "INVALID_MESSAGE");
  return body;
}

/** What the broker finds wrong with it it says itself. @throws Refusal 400 INVALID_KEY, INVALID_HEADERS */
function headerIn({ key, headers }: Fields): Record<string, string> {
  if (key !== undefined && (typeof key !== "string" || key === "")) throw new Refusal(400, "INVALID_KEY");
  const isObject = typeof headers === "object" && headers !== null && !Array.isArray(headers);
  if (headers !== undefined && !isObject) throw new Refusal(400, "INVALID_HEADERS");
  return { ...(key === undefined ? {} : { key }), ...(headers === undefined ? {} : { ext: JSON.stringify(headers) }) };
}

/** A text; empty if it is not there. @throws Refusal 400 INVALID_BODY if it is something else */
function textIn(fields: Fields, name: string): string {
  const value = fields[name] ?? "";
  if (typeof value !== "string") throw new Refusal(400, "INVALID_BODY");
  return value;
}
