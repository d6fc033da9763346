import { encodeJson } from "../../base/go/json.ts";

const NSQ_CONTENT_TYPE = { "X-NSQ-Content-Type": "nsq; version=1.0" };
const TEXT = { "Content-Type": "text/plain; charset=utf-8" };
const JSON_TYPE = { "Content-Type": "application/json; charset=utf-8" };
const CLOSE = { Connection: "close" };

// Made once, because /pub and /mpub answer with these.
const TEXT_INIT = { headers: { ...TEXT, ...NSQ_CONTENT_TYPE } };
const JSON_INIT = { headers: { ...JSON_TYPE, ...NSQ_CONTENT_TYPE } };
const EMPTY_INIT = { headers: NSQ_CONTENT_TYPE };

/**
 * Thrown by a handler that cannot carry out its call. The answer is `{"message": code}` with the status. The codes are nsqd's
 * (nsqd/http.go).
 */
export class Refusal extends Error {
  override name = "Refusal";

  constructor(
    readonly status: number,
    readonly code: string,
    /** Whether to close the connection after the answer, because too much of the request is unread. */
    readonly closesConnection = false,
  ) {
    super(code);
  }
}

/**
 * The answer if nsqd's handler returns a string or bytes: text; without a content type if it is empty.
 *
 * @param body complete, or in pieces that are generated as they are sent
 */
export function text(body: string | AsyncGenerator<string>): Response {
  return body === "" ? empty() : new Response(body, TEXT_INIT);
}

/** The answer if nsqd's handler returns another value: JSON. */
export function json(value: unknown): Response {
  return encodedJson(encodeJson(value));
}

/** Answers with JSON that is encoded already. @param body complete, or in pieces that are generated as they are sent */
export function encodedJson(body: string | Uint8Array<ArrayBuffer> | AsyncGenerator<string>, status = 200): Response {
  return new Response(body, status === 200 ? JSON_INIT : { ...JSON_INIT, status });
}

export function empty(): Response {
  return new Response(null, EMPTY_INIT);
}

/** The error of all calls except /ping. */
export function failure(status: number, code: string, headers: Record<string, string> = {}): Response {
  return new Response(encodeJson({ message: code }), { status, headers: { ...headers, ...JSON_INIT.headers } });
}

export function refused(refusal: Refusal): Response {
  return failure(refusal.status, refusal.code, refusal.closesConnection ? CLOSE : {});
}

/** The answer of calls that do not use nsqd's content types. */
export function plain(status: number, body: string): Response {
  return new Response(body, { status, headers: TEXT });
}

/** The answer of Go's net/http to a request that it cannot parse. */
export function badRequest(): Response {
  return new Response("400 Bad Request", { status: 400, headers: { ...TEXT, ...CLOSE } });
}

/** Redirects as Go's http.Redirect() does: with a page for GET, without a body for other methods. @param location escaped path and query */
export function redirect(method: string, location: string): Response {
  if (method !== "GET") return new Response(null, { status: 307, headers: { Location: location } });
  return new Response(`<a href="${escapeHtml(location)}">Moved Permanently</a>.\n\n`, {
    status: 301,
    headers: { "Content-Type": "text/html; charset=utf-8", Location: location },
  });
}

/** Go's answer to OPTIONS. */
export function allowed(methods: string): Response {
  return new Response(null, { headers: { Allow: methods } });
}

function escapeHtml(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&#34;").replaceAll("'", "&#39;");
}
