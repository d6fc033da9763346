/** Methods that change nothing. */
const READING = new Set(["GET", "HEAD", "OPTIONS"]);

/**
 * Whether a browser sends a request that changes something on behalf of a page of another origin: any page that a user of the
 * broker's network opens could publish or delete topics otherwise, since such requests need no consent of the server. Only
 * browsers send these headers; NSQ's clients and tools have neither.
 *
 * https://developer.mozilla.org/docs/Web/HTTP/Reference/Headers/Sec-Fetch-Site
 */
export function isForeignWrite(request: Request, scheme: "http" | "https"): boolean {
  if (READING.has(request.method)) return false;
  const site = request.headers.get("sec-fetch-site");
  // A proxy between browser and server may have changed Host, but this header is the browser's own word.
  if (site === "same-origin" || site === "none") return false;
  if (site === "cross-site") return true;
  const origin = request.headers.get("origin");
  if (origin === null) return false;
  const host = request.headers.get("host");
  return host === null || hostOf(origin) !== hostOf(`${scheme}://${host}`);
}

/** Whether a request names a host that it may name. A page whose name was made to point here (DNS rebinding) names its own. */
export function namesAllowedHost(request: Request, allowed: ReadonlySet<string>): boolean {
  if (allowed.size === 0) return true;
  const host = request.headers.get("host");
  return host !== null && allowed.has(withoutPort(host));
}

/** Host names as namesAllowedHost() compares them. */
export function hostSet(names: readonly string[]): ReadonlySet<string> {
  return new Set(names.map(withoutPort));
}

function withoutPort(host: string): string {
  return host
    .toLowerCase()
    .replace(/(?<=^\[[^\]]*\]|^[^:]*):\d*$/, "")
    .replace(/\.$/, "");
}

/** Name and port of an origin, without the default port; undefined for what is none, as `null` of a sandboxed page. */
function hostOf(origin: string): string | undefined {
  return URL.canParse(origin) ? new URL(origin).host : undefined;
}
