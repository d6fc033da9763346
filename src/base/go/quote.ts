const ESCAPES: Record<string, string> = {
  "\x07": "\\a",
  "\b": "\\b",
  "\f": "\\f",
  "\n": "\\n",
  "\r": "\\r",
  "\t": "\\t",
  "\v": "\\v",
  '"': '\\"',
  "\\": "\\\\",
};

const PRINTABLE = /^[\p{L}\p{M}\p{N}\p{P}\p{S} ]$/u;

/**
 * Quotes bytes as Go's `%q` does. nsqd quotes names in its error texts that way.
 *
 * @param latin1 one character per byte
 * @returns the quoted text in UTF-8, one character per byte as well
 */
export function goQuote(latin1: string): string {
  const bytes = Buffer.from(latin1, "latin1");
  let quoted = '"';
  for (let at = 0; at < bytes.length; ) {
    const length = sequenceLength(bytes, at);
    if (length === 0) {
      quoted += `\\x${hex(bytes[at], 2)}`;
      at++;
      continue;
    }
    const character = bytes.toString("utf8", at, at + length);
    const code = character.codePointAt(0) ?? 0;
    if (ESCAPES[character] !== undefined) quoted += ESCAPES[character];
    else if (code >= 0x20 && code !== 0x7f && PRINTABLE.test(character)) quoted += bytes.toString("latin1", at, at + length);
    else if (code < 0x20 || code === 0x7f) quoted += `\\x${hex(code, 2)}`;
    else if (code > 0xffff) quoted += `\\U${hex(code, 8)}`;
    else quoted += `\\u${hex(code, 4)}`;
    at += length;
  }
  return `${quoted}"`;
}

/** The length in bytes of the UTF-8 sequence at `at`; 0 if the bytes there are none. */
function sequenceLength(bytes: Buffer, at: number): number {
  const first = bytes[at];
  const length =
    first < 0x80 ? 1 : first >= 0xc2 && first < 0xe0 ? 2 : first >= 0xe0 && first < 0xf0 ? 3 : first >= 0xf0 && first < 0xf5 ? 4 : 0;
  if (length === 0 || at + length > bytes.length) return 0;
  if (length === 1) return 1;
  // Decoding turns overlong forms and surrogates into replacement characters, so it checks for both.
  const decoded = bytes.toString("utf8", at, at + length);
  return [...decoded].length === 1 && (decoded !== "\ufffd" || bytes.toString("hex", at, at + 3) === "efbfbd") ? length : 0;
}

function hex(value: number, width: number): string {
  return value.toString(16).padStart(width, "0");
}
