const NSQ_CONTENT_TYPE = { "X-NSQ-Content-Type": "nsq; version=1.0" };
const TEXT = { "Content-Type": "text/plain; charset=utf-8" };
const JSON_TYPE = { "Content-Type": "application/json; charset=utf-8" };
const CLOSE = { Connection: "close" };

// Made once: /pub and /mpub answer with these.
const TEXT_INIT = { headers: { ...TEXT, ...NSQ_CONTENT_TYPE } };
const JSON_INIT = { headers: { ...JSON_TYPE, ...NSQ_CONTENT_TYPE } };
const EMPTY_INIT = { headers: NSQ_CONTENT_TYPE };

/** Go's encoding/json escapes these inside strings, so that JSON can stand in HTML and in JavaScript. */
const ESCAPED_BY_GO = /[<>&\u2028\u2029]/g;

/**
 * The answer to a call that cannot be carried out, thrown by its handler: `{"message": code}` with the status.
 * The codes are nsqd's (nsqd/http.go).
 */
export class Refusal extends Error {
  override name = "Refusal";

  constructor(
    readonly status: number,
    readonly code: string,
    /** Hang up behind the answer: too much of the request is still unread. */
    readonly hangUp = false,
  ) {
    super(code);
  }
}

/** What a handler of nsqd's gives as a string or bytes: text, without a type if there is none of it. */
export function text(body: string): Response {
  return body === "" ? empty() : new Response(body, TEXT_INIT);
}

/** What a handler of nsqd's gives as anything else. */
export function json(value: unknown): Response {
  return encodedJson(encodeJson(value));
}

/** The same for what has been encoded before. @param body whole, or in pieces that are asked for as they are sent */
export function encodedJson(body: string | Uint8Array<ArrayBuffer> | AsyncGenerator<string>, status = 200): Response {
  return new Response(body, status === 200 ? JSON_INIT : { ...JSON_INIT, status });
}

export function empty(): Response {
  return new Response(null, EMPTY_INIT);
}

/** nsqd's errors, of all calls but /ping. */
export function failure(status: number, code: string, headers: Record<string, string> = {}): Response {
  return new Response(encodeJson({ message: code }), { status, headers: { ...headers, ...JSON_INIT.headers } });
}

export function refused(refusal: Refusal): Response {
  return failure(refusal.status, refusal.code, refusal.hangUp ? CLOSE : {});
}

/** The answer of calls that know nothing of nsqd's content types. */
export function plain(status: number, body: string): Response {
  return new Response(body, { status, headers: TEXT });
}

/** What Go's net/http answers itself to a request that it cannot read. */
export function badRequest(): Response {
  return new Response("400 Bad Request", { status: 400, headers: { ...TEXT, ...CLOSE } });
}

/** Go's http.Redirect(): a page for GET, nothing for other methods. @param location path and query, escaped */
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

/** JSON as Go writes it. */
export function encodeJson(value: unknown): string {
  return JSON.stringify(value).replace(ESCAPED_BY_GO, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

function escapeHtml(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&#34;").replaceAll("'", "&#39;");
}
