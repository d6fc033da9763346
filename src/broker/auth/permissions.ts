import { fieldsOf, type Json, listOf, parseDocument } from "../../base/go/json.ts";
import { Pattern, type PatternBudget } from "../../base/go/regexp/matcher.ts";
import { PatternError } from "../../base/go/regexp/parser.ts";

/** All patterns of one answer, as instructions: some ten thousand names written out, and checked in a few milliseconds. */
const MAX_STEPS = 200_000;

const QUOTED_CHARACTERS = 200;

type Act = "publish" | "subscribe";
const ACTS: readonly string[] = ["publish", "subscribe"];

/** One line of permissions: what may be done with the topics and channels of these names. */
interface Authorization {
  topic: Pattern;
  channels: Pattern[];
  acts: string[];
}

/** Why an auth server's answer is none. */
export class BadAnswer extends Error {
  override name = "BadAnswer";
}

/** What an auth server says that a client is and may do (https://nsq.io/components/nsqd.html#auth). */
export class Permissions {
  /**
   * Reads a server's answer as nsqd does (internal/auth/authorizations.go).
   *
   * @throws BadAnswer for what nsqd refuses, and for patterns beyond MAX_STEPS
   */
  static read(text: string): Permissions {
    const document = parseDocument(text);
    if (document === undefined) throw new BadAnswer("the answer is no JSON");
    const said = fieldsOf(document, { ttl: 0, identity: "", identity_url: "" });
    const list = listOf(document, "authorizations");
    if (said === undefined || list === undefined) throw new BadAnswer("the answer is not of the form of permissions");
    const budget: PatternBudget = { steps: MAX_STEPS };
    const authorizations = list.map((entry) => readAuthorization(entry, budget));
    if (said.ttl <= 0) throw new BadAnswer(`invalid TTL ${said.ttl} (must be >0)`);
    return new Permissions(said.identity, said.identity_url, Number(said.ttl), authorizations);
  }

  private constructor(
    readonly identity: string,
    readonly identityUrl: string,
    readonly ttlS: number,
    private readonly authorizations: readonly Authorization[],
  ) {}

  /** How many lines there are; a client without any has no permission at all. */
  get count(): number {
    return this.authorizations.length;
  }

  /** @param channel to subscribe to; empty for publishing, which needs a line with a channel pattern that matches no channel */
  allows(topic: string, channel: string): boolean {
    const act: Act = channel === "" ? "publish" : "subscribe";
    return this.authorizations.some(
      (line) => line.acts.includes(act) && line.topic.matches(topic) && line.channels.some((pattern) => pattern.matches(channel)),
    );
  }
}

function readAuthorization(entry: Json, budget: PatternBudget): Authorization {
  const said = fieldsOf(entry, { topic: "" });
  const channels = stringsOf(entry, "channels");
  const acts = stringsOf(entry, "permissions");
  if (said === undefined || channels === undefined || acts === undefined) {
    throw new BadAnswer("the answer is not of the form of permissions");
  }
  for (const act of acts) if (!ACTS.includes(act)) throw new BadAnswer(`unknown permission ${act}`);
  return {
    topic: compile("topic", said.topic, budget),
    channels: channels.map((channel) => compile("channel", channel, budget)),
    acts,
  };
}

function stringsOf(entry: Json, name: string): string[] | undefined {
  const list = listOf(entry, name);
  if (list === undefined || list.some((item) => item !== null && typeof item !== "string")) return undefined;
  return list.map((item) => (item === null ? "" : (item as string).toWellFormed()));
}

/** A pattern in the log, not in all its length. */
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
