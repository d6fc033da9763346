import { isValidName } from "../../frame/names.ts";
import type { Query } from "../../http/server/query.ts";
import { Refusal } from "../../http/server/reply.ts";
import type { Admin } from "../admin.ts";
import { type MatchKind, type MessageMatcher, messageMatcher } from "../matching/message-matcher.ts";
import type { MessageState } from "../message-api.ts";
import { listOf } from "../upstream/fields.ts";
import { AllFailed } from "../upstream/gather.ts";
import { httpAddress } from "../upstream/producer.ts";
import { MOST_PARTITIONS } from "../watch/index-ranges.ts";
import type { Place, Selection } from "./broker-messages.ts";

const STATES: readonly string[] = ["log", "waiting", "in_flight", "deferred"] satisfies MessageState[];
const MATCHES: readonly string[] = ["text", "regexp", "json", "key", "header"] satisfies MatchKind[];
const MAX_SEARCH_CHARACTERS = 1000;
/** In front of an encoded place, which no log position begins with. */
const NEXT = "next:";
const MAX_NEXT_CHARACTERS = 64 * 1024;
/** What brokers give as the place of the next page, and log positions. */
const FROM = /^[\w:.+ -]{1,100}$/;

/** Members of a request that say which messages it is about. Empty: not given. */
export interface SearchWords {
  topic: string;
  channel: string;
  broker: string;
  partition: string;
  state: string;
  from: string;
  match: string;
  q: string;
}

export interface Search {
  selection: Selection;
  places: Place[];
  /** Undefined: all messages. */
  matcher: MessageMatcher | undefined;
  /** It began at the end, so it never comes to one. */
  isTail: boolean;
  /** Brokers that are not asked, with why. */
  unavailable: { broker: string; message: string }[];
}

export function searchWords(query: Query): SearchWords {
  const text = (name: string) => query.get(name) ?? "";
  return {
    topic: text("topic"),
    channel: text("channel"),
    broker: text("broker"),
    partition: text("partition"),
    state: text("state"),
    from: text("from"),
    match: text("match"),
    q: text("q"),
  };
}

/** Finds the brokers to ask. @throws Refusal 400, 404, 502; MatchError for a search that cannot be understood */
export async function prepareSearch(admin: Pick<Admin, "discovery">, words: SearchWords): Promise<Search> {
  const selection = selectionOf(words);
  const matcher = matcherOf(words);
  const { brokers, unavailable } = await brokersWith(admin, selection.topic, words.broker);
  const { from } = words;
  const partition = partitionOf(words);
  if (!from.startsWith(NEXT)) {
    if (from !== "" && !FROM.test(from)) throw new Refusal(400, "INVALID_ARG_FROM");
    const places = brokers.map((broker) => ({ broker, partition, from: from === "" ? undefined : from, skip: 0 }));
    return { selection, matcher, places, isTail: from === "end", unavailable };
  }
  const next = decodeNext(from, selection);
  const gone = next.places.filter(({ broker }) => !brokers.includes(broker));
  const told = new Set(unavailable.map(({ broker }) => broker));
  for (const { broker } of gone) if (!told.has(broker)) unavailable.push({ broker, message: "it has the topic no longer" });
  return { selection, matcher, places: next.places.filter((place) => !gone.includes(place)), isTail: next.isTail, unavailable };
}

/** The brokers that have a topic; one of them, if it is given. @throws Refusal 404, 502 */
export async function brokersWith({ discovery }: Pick<Admin, "discovery">, topic: string, broker: string) {
  try {
    const { value, failures } = await discovery.producersOf(topic);
    const known = value.map(httpAddress);
    const brokers = broker === "" ? known : known.filter((address) => address === broker);
    const concerned = failures.filter(({ server }) => broker === "" || server === broker);
    const unavailable = concerned.map(({ server, why }) => ({ broker: server, message: why }));
    if (brokers.length === 0 && unavailable.length === 0) {
      throw new Refusal(404, known.length === 0 ? "TOPIC_NOT_FOUND" : "BROKER_NOT_FOUND");
    }
    return { brokers, unavailable };
  } catch (error) {
    if (error instanceof AllFailed) throw new Refusal(502, `UPSTREAM_ERROR: ${error.message}`);
    throw error;
  }
}

/** The `next` of a page. */
export function encodeNext({ topic, channel, state }: Selection, places: readonly Place[], isTail: boolean): string {
  const next = {
    t: topic,
    c: channel,
    s: state,
    e: isTail,
    b: places.map(({ broker, partition, from, skip }) => [broker, from ?? null, skip, ...(partition === undefined ? [] : [partition])]),
  };
  return NEXT + Buffer.from(JSON.stringify(next)).toString("base64url");
}

/** What it names is a browser's word: brokers are looked up before they are asked. @throws Refusal 400 INVALID_ARG_FROM */
function decodeNext(text: string, { topic, channel, state }: Selection): { places: Place[]; isTail: boolean } {
  const invalid = new Refusal(400, "INVALID_ARG_FROM");
  if (text.length > MAX_NEXT_CHARACTERS) throw invalid;
  let next: Record<string, unknown>;
  try {
    next = JSON.parse(Buffer.from(text.slice(NEXT.length), "base64url").toString());
  } catch {
    throw invalid;
  }
  if (typeof next !== "object" || next === null || next.t !== topic || next.c !== channel || next.s !== state) throw invalid;
  const places = listOf(next, "b").map((place): Place => {
    const [broker, from, skip, partition] = Array.isArray(place) ? place : [];
    const isFrom = from === null || (typeof from === "string" && FROM.test(from));
    if (typeof broker !== "string" || !isFrom || !Number.isInteger(skip) || skip < 0 || skip > 1000) throw invalid;
    if (partition !== undefined && !isPartition(partition)) throw invalid;
    return { broker, partition, from: from ?? undefined, skip };
  });
  if (new Set(places.map(placeKey)).size < places.length) throw invalid;
  return { places, isTail: next.e === true };
}

/** Tells places of one search apart. */
export function placeKey({ broker, partition }: Place): string {
  return `${broker} ${partition ?? ""}`;
}

function isPartition(index: unknown): index is number {
  return typeof index === "number" && Number.isInteger(index) && index >= 0 && index < MOST_PARTITIONS;
}

/** @throws Refusal 400 INVALID_ARG_PARTITION */
function partitionOf({ partition }: SearchWords): number | undefined {
  if (partition === "") return undefined;
  if (!/^\d{1,4}$/.test(partition) || !isPartition(Number(partition))) throw new Refusal(400, "INVALID_ARG_PARTITION");
  return Number(partition);
}

/** @throws Refusal 400 */
function selectionOf({ topic, channel, state }: SearchWords): Selection {
  if (!isValidName(topic)) throw new Refusal(400, "INVALID_TOPIC");
  if (channel !== "" && !isValidName(channel)) throw new Refusal(400, "INVALID_CHANNEL");
  if (state !== "" && !STATES.includes(state)) throw new Refusal(400, "INVALID_ARG_STATE");
  if (state === "" || state === "log") return { topic, channel: "", state: "log" };
  if (channel === "") throw new Refusal(400, "MISSING_ARG_CHANNEL");
  return { topic, channel, state: state as MessageState };
}

/** @throws Refusal 400; MatchError */
function matcherOf({ match, q }: SearchWords): MessageMatcher | undefined {
  if (match !== "" && !MATCHES.includes(match)) throw new Refusal(400, "INVALID_ARG_MATCH");
  if (q.length > MAX_SEARCH_CHARACTERS) throw new Refusal(400, "INVALID_ARG_Q");
  return q === "" ? undefined : messageMatcher(match === "" ? "text" : (match as MatchKind), q);
}
