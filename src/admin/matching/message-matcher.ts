import { Regexp, type RegexpMatch } from "../../base/regexp.ts";
import { RegexpError } from "../../base/regexp-parser.ts";
import type { MessageRow } from "../message-api.ts";
import { JsonPath, JsonPathError } from "./json-path.ts";

/** What is looked for where: the first three in bodies, a whole key, or a part of what a message has beside its body. */
export type MatchKind = "text" | "regexp" | "json" | "key" | "header";

/** Bodies beyond this are not searched by regular expression or JSON path. */
const MAX_BODY_BYTES = 1024 * 1024;
/** Characters after which the clock is looked at. The worst expression takes some µs for each. */
const PIECE = 1024;
/** A body that takes longer is taken for one that does not fit. */
const MAX_BODY_MS = 1000;

/** Lets others have their turn while something takes long. */
export interface Pace {
  /** To be called every millisecond or so. @returns a promise if it is time to wait for others */
  pause(): Promise<void> | undefined;
}

/** A message that is looked at. */
export interface MatchedMessage {
  readonly body: Buffer;
  readonly row: Pick<MessageRow, "key" | "tag" | "trace_id" | "headers">;
}

/** Tells whether messages fit a search. */
export type MessageMatcher = (message: MatchedMessage, pace: Pace) => boolean | Promise<boolean>;

/** A search that cannot be understood. The message says why. */
export class MatchError extends Error {
  override name = "MatchError";
}

/** @throws MatchError */
export function messageMatcher(kind: MatchKind, text: string): MessageMatcher {
  if (kind === "key") return ({ row }) => row.key === text;
  if (kind === "header") return ({ row }) => headerTexts(row).some((part) => part.includes(text));
  if (kind === "text") return ({ body }) => body.includes(text);
  try {
    if (kind === "json") return jsonMatcher(new JsonPath(text));
    const regexp = new Regexp(text);
    return ({ body }, pace) => body.length <= MAX_BODY_BYTES && finish(regexp.begin(body.toString()), pace);
  } catch (error) {
    if (error instanceof RegexpError || error instanceof JsonPathError) throw new MatchError(error.message);
    throw error;
  }
}

/** Key, tag and trace id, and the JSON of the header without spaces. */
function headerTexts({ key = "", tag = "", trace_id: traceId = "", headers }: MatchedMessage["row"]): string[] {
  return [key, tag, traceId, headers === undefined ? "" : typeof headers === "string" ? headers : JSON.stringify(headers)];
}

function jsonMatcher(path: JsonPath): MessageMatcher {
  return ({ body }) => {
    if (body.length > MAX_BODY_BYTES) return false;
    try {
      return path.fits(JSON.parse(body.toString()));
    } catch {
      // A body that is not JSON fits no path.
      return false;
    }
  };
}

async function finish(match: RegexpMatch, pace: Pace): Promise<boolean> {
  const beganMs = performance.now();
  for (;;) {
    const found = match.step(PIECE);
    if (found !== undefined) return found;
    if (performance.now() - beganMs > MAX_BODY_MS) return false;
    await pace.pause();
  }
}
