import { failure } from "../server/reply.ts";
import { inSlices } from "../server/slices.ts";
import { type MetricFormat, MetricText } from "./metric-text.ts";

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

  /** Answers a request in the format that it accepts, in slices. */
  answer(request: Request, steps: MetricSteps): Response {
    const format = acceptedFormat(request.headers.get("accept"));
    const text = new MetricText(format);
    const init = { headers: { "Content-Type": CONTENT_TYPES[format] } };
    let isActive = false;
    const ended = (): void => {
      if (isActive) this.active--;
      isActive = false;
    };
    const body = inSlices(text, steps(text), ended);
    if (body instanceof Uint8Array) return new Response(body, init);
    if (this.active >= MAX_SCRAPES) return failure(503, "TOO_MANY_REQUESTS");
    this.active++;
    isActive = true;
    // A client that disconnects before the first slice is taken never starts the generator.
    request.signal.addEventListener("abort", ended, { once: true });
    return new Response(body, init);
  }
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
