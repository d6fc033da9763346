const BAD_ESCAPE = /%(?![0-9a-fA-F]{2})/;
const ESCAPES = /%([0-9a-fA-F]{2})/g;

/** The first value of each key. */
export type Query = Map<string, string>;

/**
 * Parses a query as Go's url.ParseQuery does: `+` is a space, and a semicolon or a bad escape is an error.
 *
 * @param raw what stands behind the question mark
 * @returns the query, or why Go would refuse it
 */
export function parseQuery(raw: string): Query | string {
  const query: Query = new Map();
  if (raw.length === 0) return query;
  const plain = !raw.includes("%") && !raw.includes("+");
  for (const pair of raw.split("&")) {
    if (pair.length === 0) continue;
    if (pair.includes(";")) return "invalid semicolon separator in query";
    const equals = pair.indexOf("=");
    let key: string | undefined = equals < 0 ? pair : pair.slice(0, equals);
    let value: string | undefined = equals < 0 ? "" : pair.slice(equals + 1);
    if (!plain) {
      key = unescapeUrl(key.replaceAll("+", " "));
      value = unescapeUrl(value.replaceAll("+", " "));
      if (key === undefined || value === undefined) return `invalid URL escape in "${pair}"`;
    }
    if (!query.has(key)) query.set(key, value);
  }
  return query;
}

/** Takes percent-escapes out, as bytes of UTF-8. @returns undefined if one is malformed */
export function unescapeUrl(text: string): string | undefined {
  if (!text.includes("%")) return text;
  if (BAD_ESCAPE.test(text)) return undefined;
  // What is not an escape is ASCII here: Bun escapes the rest of a request's target itself.
  const bytes = text.replace(ESCAPES, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
  return Buffer.from(bytes, "latin1").toString();
}
