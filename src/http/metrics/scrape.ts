import { failure } from "../server/reply.ts";
import { type MetricFormat, MetricText } from "./metric-text.ts";

/** A slice ends with the step that reaches one of these. */
const SLICE_CHARACTERS = 32 * 1024;
const SLICE_STEPS = 256;
const SLICE_MS = 0.7;
/** Long answers that are sent at the same time. */
const MAX_SCRAPES = 4;

const CONTENT_TYPES: Record<MetricFormat, string> = {
  text: "text/plain; version=0.0.4; charset=utf-8",
  openmetrics: "application/openmetrics-text; version=1.0.0; charset=utf-8",
};

/** Writes metrics step by step. After each step others may be served. */
export type MetricSteps = (text: MetricText) => Iterator<void>;

/** Answers GET /metrics, with a bound on how many long answers there are at a time. */
export class Scrapes {
  /** Long answers that are being sent. */
  active = 0;

  /**
   * Answers a request in the format that it accepts. A long answer is written in slices of less than 2 ms, between which
   * other requests are served; only one slice is in memory, and the next is written when the client has taken it.
   */
  answer(request: Request, steps: MetricSteps): Response {
    const format = acceptedFormat(request.headers.get("accept"));
    const text = new MetricText(format);
    const rest = steps(text);
    const init = { headers: { "Content-Type": CONTENT_TYPES[format] } };
    if (writeSlice(text, rest)) return new Response(text.take(), init);
    if (this.active >= MAX_SCRAPES) return failure(503, "TOO_MANY_REQUESTS");
    this.active++;
    let isActive = true;
    const ended = (): void => {
      if (isActive) this.active--;
      isActive = false;
    };
    // A client that disconnects before the first slice is taken never starts the generator.
    request.signal.addEventListener("abort", ended, { once: true });
    return new Response(slices(text, rest, ended), init);
  }
}

async function* slices(text: MetricText, steps: Iterator<void>, ended: () => void): AsyncGenerator<string> {
  try {
    for (let isLast = false; ; isLast = writeSlice(text, steps)) {
      const slice = text.take();
      if (slice !== "") yield slice;
      if (isLast) return;
      await new Promise((resolve) => setImmediate(resolve));
    }
  } finally {
    ended();
  }
}

/** @returns whether everything is written */
function writeSlice(text: MetricText, steps: Iterator<void>): boolean {
  const endMs = performance.now() + SLICE_MS;
  for (let left = SLICE_STEPS; left > 0 && text.length < SLICE_CHARACTERS && performance.now() < endMs; left--) {
    if (steps.next().done !== true) continue;
    text.end();
    return true;
  }
  return false;
}

/** OpenMetrics if a client wants it at least as much as the text format and names it. */
function acceptedFormat(accept: string | null): MetricFormat {
  const open = weightOf(accept, "application/openmetrics-text");
  return open > 0 && open >= weightOf(accept, "text/plain") ? "openmetrics" : "text";
}

/** The weight that an Accept header gives to a type by its name; 0: none. */
function weightOf(accept: string | null, type: string): number {
  let weight = 0;
  for (const range of (accept ?? "").split(",")) {
    const [name = "", ...parameters] = range.split(";").map((part) => part.trim().toLowerCase());
    if (name !== type) continue;
    const version = parameters.find((parameter) => parameter.startsWith("version="))?.slice("version=".length);
    if (type === "application/openmetrics-text" && version !== undefined && !/^"?1\.0\./.test(version)) continue;
    const q = parameters.find((parameter) => parameter.startsWith("q="))?.slice("q=".length);
    weight = Math.max(weight, q === undefined ? 1 : Number(q) || 0);
  }
  return weight;
}
