import { asError, ClientError, HttpError } from "./errors.ts";

const DEFAULT_TIMEOUT_MS = 5000;

/** How HTTP calls are made. */
export interface HttpOptions {
  /** How long a call may take, ms. Default 5,000. */
  timeoutMs?: number;
  headers?: Readonly<Record<string, string>>;
  /** Makes the request, for instance with a certificate, for which each runtime has a way of its own. Default: fetch(). */
  fetch?: (url: string, init: RequestInit) => Promise<Response>;
}

/** One call. */
export interface HttpRequest {
  method: "GET" | "POST" | "PUT";
  /** Path and query. */
  path: string;
  body?: string | Uint8Array | undefined;
}

/**
 * Makes an HTTP call. @returns the answer's text
 *
 * @param address `host:port`, or a URL
 * @throws HttpError for an answer of 400 and more; ClientError TIMEOUT or CONNECT_FAILED; the signal's reason
 */
export async function call(address: string, request: HttpRequest, options: HttpOptions, signal?: AbortSignal): Promise<string> {
  const { method, path, body } = request;
  const base = /^https?:\/\//.test(address) ? address.replace(/\/+$/, "") : `http://${address}`;
  const [what] = path.split("?", 1);
  const context = { broker: address, command: `${method} ${what}` };
  const timeoutMs = options.timeoutMs ?? DEFAULT_TIMEOUT_MS;
  const timeout = AbortSignal.timeout(timeoutMs);
  const controller = new AbortController();
  const abort = () => controller.abort();
  timeout.addEventListener("abort", abort, { once: true });
  signal?.throwIfAborted();
  signal?.addEventListener("abort", abort, { once: true });
  let status: number;
  let text: string;
  try {
    const response = await (options.fetch ?? fetch)(base + path, {
      method,
      signal: controller.signal,
      headers: { Accept: "application/vnd.nsq; version=1.0", ...options.headers },
      // The types of Node and of browsers differ in which bytes a body may have.
      ...(body === undefined ? {} : { body: body as string }),
    });
    status = response.status;
    text = await response.text();
  } catch (cause) {
    if (signal?.aborted) throw signal.reason;
    if (timeout.aborted) throw new ClientError("TIMEOUT", `no answer within ${timeoutMs} ms`, { ...context, cause });
    const reason = asError(cause);
    throw new ClientError("CONNECT_FAILED", reason.cause instanceof Error ? reason.cause.message : reason.message, { ...context, cause });
  } finally {
    timeout.removeEventListener("abort", abort);
    signal?.removeEventListener("abort", abort);
  }
  if (status >= 400) throw new HttpError(status, errorCode(text), context);
  return text;
}

/** @throws as call(); ClientError PROTOCOL for an answer that is no JSON object */
export async function getJson(address: string, path: string, options: HttpOptions, signal?: AbortSignal): Promise<Record<string, unknown>> {
  return parseObject(address, await call(address, { method: "GET", path }, options, signal));
}

/** @throws ClientError PROTOCOL */
export function parseObject(address: string, text: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === "object" && value !== null) return value as Record<string, unknown>;
  } catch {
    // It is reported below.
  }
  throw new ClientError("PROTOCOL", `the answer is not a JSON object: ${text.slice(0, 100)}`, { broker: address });
}

/** The code in `{"message":"CODE"}`; the text itself without one. */
function errorCode(text: string): string {
  try {
    const { message } = JSON.parse(text) as { message?: unknown };
    if (typeof message === "string") return message;
  } catch {
    // Not JSON.
  }
  return text.slice(0, 200).trim();
}
