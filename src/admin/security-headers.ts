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

/** Browsers that have come by TLS once come no other way for a year, whatever the port: one host name has one such rule. */
const STRICT_TRANSPORT_SECURITY = "max-age=31536000";

/** Adds the headers that every answer of the console has. @param isStrict whether browsers are to come by TLS only */
export function addSecurityHeaders({ headers }: Response, isStrict: boolean): void {
  for (const name in HEADERS) if (!headers.has(name)) headers.set(name, HEADERS[name]!);
  if (isStrict) headers.set("Strict-Transport-Security", STRICT_TRANSPORT_SECURITY);
}
