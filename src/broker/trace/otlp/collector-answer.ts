/** What a collector's answer to a request means. */
export interface CollectorAnswer {
  /** What went wrong, for the log; undefined: nothing did. */
  readonly failure: string | undefined;
  /** Whether the request may succeed when it is sent again. */
  readonly mayRetry: boolean;
  /** How long the collector asks to be left alone, ms; undefined: it does not say. */
  readonly retryAfterMs: number | undefined;
  /** How many spans it has refused for good; Infinity: all of them. */
  readonly rejected: number;
}

/** Answers after which the same request may succeed later (https://opentelemetry.io/docs/specs/otlp/#retryable-response-codes). */
const RETRYABLE = new Set([429, 502, 503, 504]);
/** What is beyond is not read. */
const MAX_BODY_BYTES = 64 * 1024;
/** Characters of what the collector says that are logged. */
const MAX_MESSAGE = 200;

/**
 * Judges an answer (https://opentelemetry.io/docs/specs/otlp/#otlphttp-response). One that is a success and says nothing that can be
 * read has accepted all spans.
 *
 * @param wallMs the time, for a Retry-After that is a date
 */
export async function judgeAnswer(response: Response, wallMs: number): Promise<CollectorAnswer> {
  const said = parse(await beginningOf(response));
  if (!response.ok) {
    const message = messageOf(said.message);
    const failure = `it answered ${response.status}${message === "" ? "" : ` ${message}`}`;
    if (!RETRYABLE.has(response.status)) return { failure, mayRetry: false, retryAfterMs: undefined, rejected: Number.POSITIVE_INFINITY };
    return { failure, mayRetry: true, retryAfterMs: retryAfter(response.headers.get("retry-after"), wallMs), rejected: 0 };
  }
  const partial = asObject(said.partialSuccess);
  // 64-bit numbers are text in OTLP's JSON, and receivers take both.
  const rejected = Math.max(0, Math.floor(Number(partial.rejectedSpans ?? 0))) || 0;
  const message = messageOf(partial.errorMessage);
  const failure = rejected > 0 || message !== "" ? `it refused ${rejected} of them: ${message || "it does not say why"}` : undefined;
  return { failure, mayRetry: false, retryAfterMs: undefined, rejected };
}

/** Reads up to MAX_BODY_BYTES of the body. */
async function beginningOf(response: Response): Promise<string> {
  if (response.body === null) return "";
  const pieces: Uint8Array[] = [];
  let bytes = 0;
  // Leaving the loop cancels the rest.
  for await (const piece of response.body) {
    pieces.push(piece);
    bytes += piece.length;
    if (bytes > MAX_BODY_BYTES) return "";
  }
  return Buffer.concat(pieces).toString("utf8");
}

function parse(body: string): Record<string, unknown> {
  try {
    return asObject(JSON.parse(body));
  } catch {
    return {};
  }
}

function asObject(value: unknown): Record<string, unknown> {
  return typeof value === "object" && value !== null ? { ...value } : {};
}

/** A text of the collector's, in quotes, so that it stays on one line of the log; empty for none. */
function messageOf(value: unknown): string {
  return typeof value === "string" && value !== "" ? JSON.stringify(value.slice(0, MAX_MESSAGE)) : "";
}

/** The value of Retry-After in ms: seconds, or a date. */
function retryAfter(value: string | null, wallMs: number): number | undefined {
  if (value === null) return undefined;
  const ms = /^\d{1,9}$/.test(value) ? Number(value) * 1000 : Date.parse(value) - wallMs;
  return Number.isNaN(ms) ? undefined : Math.max(0, ms);
}
