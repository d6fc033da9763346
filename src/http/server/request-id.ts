/** An id that a client or a proxy in front may give a request. It gets into log lines and an answer's header. */
const SANE = /^[\x21-\x7e]{1,128}$/;
const HEADER = "x-request-id";

/** What log lines of an HTTP server are about, if about no request. */
export const HTTP = { part: "http" };

/** Ids that were made here, so that all log lines about a request have the same one. */
const made = new WeakMap<Request, string>();

/** The X-Request-Id that a request came with; undefined for none, and for one that is too long or has odd characters. */
function givenRequestId({ headers }: Request): string | undefined {
  const id = headers.get(HEADER);
  return id !== null && SANE.test(id) ? id : undefined;
}

/** The id of a request: what it came with, or one that is made here. */
export function requestIdOf(request: Request): string {
  const known = givenRequestId(request) ?? made.get(request);
  if (known !== undefined) return known;
  const id = crypto.randomUUID();
  made.set(request, id);
  return id;
}

/** Adds the id that a request came with to its answer. */
export function returnRequestId(request: Request, response: Response): void {
  const id = givenRequestId(request);
  if (id !== undefined) response.headers.set(HEADER, id);
}
