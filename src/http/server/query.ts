const NOT_PLAIN = /[%+;]/;
const BAD_ESCAPE = /%(?![0-9a-fA-F]{2})[^=]{0,2}/;
const ESCAPES = /%([0-9a-fA-F]{2})/g;

/** A parsed query. Only the first value of a key counts. */
export interface Query {
  get(key: string): string | undefined;
}

/**
 * Parses a query as Go's url.ParseQuery does: `+` is a space, and a semicolon or a bad escape is an error.
 *
 * @param raw the text behind the question mark
 * @returns the query, or the reason why Go would refuse it
 */
export function parseQuery(raw: string): Query | string {
  if (!NOT_PLAIN.test(raw)) return new PlainQuery(raw);
  const query = new Map<string, string>();
  for (const pair of raw.split("&")) {
    if (pair.includes(";")) return "invalid semicolon separator in query";
    if (pair.length === 0) continue;
    const equals = pair.indexOf("=");
    const key = unescapeUrl((equals < 0 ? pair : pair.slice(0, equals)).replaceAll("+", " "));
    const value = unescapeUrl((equals < 0 ? "" : pair.slice(equals + 1)).replaceAll("+", " "));
    if (key === undefined || value === undefined) return `invalid URL escape "${BAD_ESCAPE.exec(pair)?.[0]}"`;
    if (!query.has(key)) query.set(key, value);
  }
  return query;
}

/** A query without escapes, as nearly all are. It is searched at each question, which costs a publish less than a Map. */
class PlainQuery implements Query {
  constructor(private readonly raw: string) {}

  get(key: string): string | undefined {
    const { raw } = this;
    for (let start = 0; start < raw.length; ) {
      const ampersand = raw.indexOf("&", start);
      const end = ampersand < 0 ? raw.length : ampersand;
      if (raw.startsWith(key, start)) {
        const keyEnd = start + key.length;
        if (keyEnd === end && end > start) return "";
        if (keyEnd < end && raw.charAt(keyEnd) === "=") return raw.slice(keyEnd + 1, end);
      }
      start = end + 1;
    }
    return undefined;
  }
}

/** Decodes percent-escapes, which are bytes of UTF-8. @returns undefined if one is malformed */
export function unescapeUrl(text: string): string | undefined {
  if (!text.includes("%")) return text;
  if (BAD_ESCAPE.test(text)) return undefined;
  // All other characters are ASCII, because Bun escapes the others in a request's target itself.
  const bytes = text.replace(ESCAPES, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
  return Buffer.from(bytes, "latin1").toString();
}
