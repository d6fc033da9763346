import { json, Refusal } from "../../http/server/reply.ts";
import type { AdminCall } from "../call.ts";
import { requestUrl, type UrlRequest } from "../upstream/url-request.ts";

const MOST_ANSWER_BYTES = 16 * 1024 * 1024;
/** The headers of a chart's request that graphite gets. Others may be meant for the console alone. */
const PASSED_ON = ["accept", "accept-language", "if-modified-since", "if-none-match"];
/** The headers of graphite's answer that are passed on. */
const PASSED_BACK = ["content-type", "cache-control", "etag", "last-modified", "expires"];

/** GET /api/graphite?metric=rate&target=: the value that graphite has for the last interval of statsd, per second. */
export async function graphiteRate(call: AdminCall): Promise<Response> {
  const { query } = call;
  if (query.get("metric") !== "rate") throw new Refusal(400, "INVALID_ARG_METRIC");
  const target = query.get("target");
  if (target === undefined) throw new Refusal(400, "INVALID_ARG_TARGET");
  const { options, logger } = call.admin;
  const intervalS = Math.floor(options.statsdIntervalMs / 1000);
  const search = new URLSearchParams({ format: "json", from: `-${2 * intervalS}sec`, target, until: `-${intervalS}sec` });
  try {
    const url = new URL(`${options.graphiteUrl}/render?${search}`);
    logger.info(`GRAPHITE: ${url.pathname}${url.search}`);
    const { status, statusText, body } = await ask(call, { url, method: "GET" });
    if (status !== 200) throw new Error(`got response ${statusText}`);
    const value = firstValue(JSON.parse(body.toString()));
    if (value === undefined) throw new Error("the answer has no data points");
    return json({ rate: value < 0 ? "N/A" : (value / intervalS).toFixed(2) });
  } catch (error) {
    logger.error(`graphite request failed - ${(error as Error).message}`);
    throw new Refusal(500, "INTERNAL_ERROR");
  }
}

/** GET /render, with --proxy-graphite: graphite's chart, for browsers that cannot reach graphite. */
export async function graphiteChart(call: AdminCall): Promise<Response> {
  const { options, logger } = call.admin;
  const url = new URL("/render", options.graphiteUrl);
  const queryStart = call.request.url.indexOf("?");
  url.search = queryStart < 0 ? "" : call.request.url.slice(queryStart);
  try {
    const headers = pick(PASSED_ON, (name) => call.request.headers.get(name) ?? undefined);
    const answer = await ask(call, { url, method: "GET", headers });
    return new Response(answer.status === 304 ? null : Uint8Array.from(answer.body), {
      status: answer.status,
      headers: pick(PASSED_BACK, (name) => answer.headers.get(name)),
    });
  } catch (error) {
    logger.error(`graphite request failed - ${(error as Error).message}`);
    throw new Refusal(502, `UPSTREAM_ERROR: ${(error as Error).message}`);
  }
}

function ask({ admin }: AdminCall, request: Omit<UrlRequest, "tls">) {
  const { httpClientConnectTimeoutMs: connectTimeoutMs, httpClientRequestTimeoutMs: requestTimeoutMs } = admin.options;
  return requestUrl({ ...request, tls: admin.upstream.tls }, { connectTimeoutMs, requestTimeoutMs, responseBytes: MOST_ANSWER_BYTES });
}

/** The first value of graphite's first series; undefined if there is none. */
function firstValue(series: unknown): number | undefined {
  const [first] = Array.isArray(series) ? (series as { datapoints?: [value: unknown][] }[]) : [];
  const value = first?.datapoints?.[0]?.[0];
  return typeof value === "number" ? value : undefined;
}

function pick(names: readonly string[], read: (name: string) => string | undefined): Record<string, string> {
  return Object.fromEntries(
    names.flatMap((name) => {
      const value = read(name);
      return value === undefined ? [] : [[name, value]];
    }),
  );
}
