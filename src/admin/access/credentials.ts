const SESSION_COOKIE = "bunsq_session";
/** What is longer is no credential. */
const MOST_LENGTH = 8_192;
const IPV6_NETWORK_PARTS = 4;

/** Name and password of a request's basic authentication. */
export function basicAccount(headers: Headers): { name: string; password: string } | undefined {
  const [, account] = /^Basic (\S+)$/.exec(headers.get("authorization") ?? "") ?? [];
  if (account === undefined || account.length > MOST_LENGTH) return undefined;
  const text = Buffer.from(account, "base64").toString();
  const colon = text.indexOf(":");
  return colon < 0 ? undefined : { name: text.slice(0, colon), password: text.slice(colon + 1) };
}

/** The token of `Authorization: Bearer …`. */
export function bearerToken(headers: Headers): string | undefined {
  return /^Bearer (\S+)$/i.exec(headers.get("authorization") ?? "")?.[1];
}

/** The session's id in a request's cookies; empty: it has none. */
export function sessionIdOf(headers: Headers): string {
  const cookies = headers.get("cookie");
  if (cookies === null || cookies.length > MOST_LENGTH) return "";
  return new Bun.CookieMap(cookies).get(SESSION_COOKIE) ?? "";
}

/** The value of Set-Cookie. @param id empty: the browser is to forget it */
export function sessionCookie(id: string, path: string, secure: boolean): string {
  const options = { path, secure, httpOnly: true, sameSite: "strict" as const, ...(id === "" ? { maxAge: 0 } : {}) };
  return new Bun.Cookie(SESSION_COOKIE, id, options).serialize();
}

/** Whose attempts count together: an IPv4 address, or the network of an IPv6 address, all of which one client may have. */
export function addressOf(client: string | undefined): string {
  const host = (client ?? "").replace(/:\d+$/, "").replace(/^\[|\]$/g, "");
  if (!host.includes(":") || host.includes(".")) return host;
  const [head = ""] = host.split("::");
  return head.split(":").slice(0, IPV6_NETWORK_PARTS).join(":");
}

export function sha256(text: string): string {
  return new Bun.CryptoHasher("sha256").update(text).digest("hex");
}
