import { fieldsOf, type Json, listOf, parseDocument } from "../../base/go/json.ts";
import { Pattern, type PatternBudget } from "../../base/go/regexp/matcher.ts";
import { PatternError } from "../../base/go/regexp/parser.ts";

/** The limit for the patterns of one answer, in instructions: some ten thousand names, which are checked in a few milliseconds. */
const MAX_STEPS = 200_000;

/** A pattern is logged up to this length. */
const QUOTED_CHARACTERS = 200;

type Act = "publish" | "subscribe";
const ACTS: readonly string[] = ["publish", "subscribe"];

/** One entry of an answer: what may be done with the topics and channels of these names. */
interface Authorization {
  topic: Pattern;
  channels: Pattern[];
  acts: string[];
}

/** An auth server's answer cannot be used. */
export class BadAnswer extends Error {
  override name = "BadAnswer";
}

/** Who a client is and what it may do, by an auth server's answer (https://nsq.io/components/nsqd.html#auth). */
export class Permissions {
  /**
   * Parses a server's answer as nsqd does (internal/auth/authorizations.go).
   *
   * @throws BadAnswer for an answer that nsqd refuses, and for patterns beyond MAX_STEPS
   */
  static parse(text: string): Permissions {
    const document = parseDocument(text);
    if (document === undefined) throw new BadAnswer("the answer is not JSON");
    const fields = fieldsOf(document, { ttl: 0, identity: "", identity_url: "" });
    const list = listOf(document, "authorizations");
    if (fields === undefined || list === undefined) throw new BadAnswer("the answer does not have the form of permissions");
    const budget: PatternBudget = { steps: MAX_STEPS };
    const authorizations = list.map((entry) => parseAuthorization(entry, budget));
    if (fields.ttl <= 0) throw new BadAnswer(`invalid TTL ${fields.ttl} (must be >0)`);
    return new Permissions(fields.identity, fields.identity_url, Number(fields.ttl), authorizations);
  }

  private constructor(
    readonly identity: string,
    readonly identityUrl: string,
    readonly ttlS: number,
    private readonly authorizations: readonly Authorization[],
  ) {}

  /** The number of entries. A client without any has no permission at all. */
  get count(): number {
    return this.authorizations.length;
  }

  /** @param channel to subscribe to; empty for publishing, which needs an entry with a channel pattern that matches the empty name */
  allows(topic: string, channel: string): boolean {
    const act: Act = channel === "" ? "publish" : "subscribe";
    return this.authorizations.some(
      (line) => line.acts.includes(act) && line.topic.matches(topic) && line.channels.some((pattern) => pattern.matches(channel)),
    );
  }
}

function parseAuthorization(entry: Json, budget: PatternBudget): Authorization {
  const fields = fieldsOf(entry, { topic: "" });
  const channels = stringsOf(entry, "channels");
  const acts = stringsOf(entry, "permissions");
  if (fields === undefined || channels === undefined || acts === undefined) {
    throw new BadAnswer("the answer does not have the form of permissions");
  }
  for (const act of acts) if (!ACTS.includes(act)) throw new BadAnswer(`unknown permission ${act}`);
  return {
    topic: compile("topic", fields.topic, budget),
    channels: channels.map((channel) => compile("channel", channel, budget)),
    acts,
  };
}

function stringsOf(entry: Json, name: string): string[] | undefined {
  const list = listOf(entry, name);
  if (list === undefined || list.some((item) => item !== null && typeof item !== "string")) return undefined;
  return list.map((item) => (item === null ? "" : (item as string).toWellFormed()));
}

/** A pattern for the log, shortened. */
function quoted(source: string): string {
  return JSON.stringify(source.length <= QUOTED_CHARACTERS ? source : `${source.slice(0, QUOTED_CHARACTERS)}…`);
}

function compile(what: string, source: string, budget: PatternBudget): Pattern {
  try {
    return Pattern.compile(source, budget);
  } catch (error) {
    if (!(error instanceof PatternError)) throw error;
    throw new BadAnswer(`unable to compile ${what} ${quoted(source)}: ${error.message}`);
  }
}
