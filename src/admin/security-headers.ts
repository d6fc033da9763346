/**
 * What each answer of the console has unless it says otherwise. The page's files and the description of the API have a policy of their own;
 * anything else is data, which a browser that opens it must not run, frame, keep, or hand to another site.
 */
const HEADERS: Readonly<Record<string, string>> = {
  "Cache-Control": "no-store",
  "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
  "Cross-Origin-Resource-Policy": "same-origin",
  "Referrer-Policy": "no-referrer",
  "X-Content-Type-Options": "nosniff",
};

/** Browsers that have come by TLS once come no other way for a year. */
const STRICT_TRANSPORT_SECURITY = "max-age=31536000";

/** Adds the headers that every answer of the console has. @param isSecure whether it goes out by TLS */
export function addSecurityHeaders({ headers }: Response, isSecure: boolean): void {
  for (const name in HEADERS) if (!headers.has(name)) headers.set(name, HEADERS[name]!);
  if (isSecure) headers.set("Strict-Transport-Security", STRICT_TRANSPORT_SECURITY);
}
