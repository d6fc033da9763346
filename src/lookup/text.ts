/** White space beyond ASCII (Unicode's White_Space), encoded in UTF-8, one character per byte. */
const WIDE_SPACES = new Set(
  [
    "\u0085",
    "\u00a0",
    "\u1680",
    ..."\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a",
    "\u2028",
    "\u2029",
    "\u202f",
    "\u205f",
    "\u3000",
  ].map((space) => Buffer.from(space).toString("latin1")),
);

/**
 * Trims as Go's strings.TrimSpace() does, which nsqlookupd applies to command lines.
 *
 * @param latin1 one character per byte; the bytes may be UTF-8 or not
 */
export function trimSpace(latin1: string): string {
  let start = 0;
  let end = latin1.length;
  for (let length = spaceAt(latin1, start); length > 0 && start < end; length = spaceAt(latin1, start)) start += length;
  for (let length = spaceBefore(latin1, end); length > 0 && end > start; length = spaceBefore(latin1, end)) end -= length;
  return latin1.slice(start, end);
}

/** The length in bytes of the white space that begins at `at`; 0 if there is none. */
function spaceAt(text: string, at: number): number {
  const code = text.charCodeAt(at);
  if (code < 0x80) return isAsciiSpace(code) ? 1 : 0;
  for (const length of [2, 3]) if (WIDE_SPACES.has(text.slice(at, at + length))) return length;
  return 0;
}

/** The length in bytes of the white space that ends at `end`; 0 if there is none. */
function spaceBefore(text: string, end: number): number {
  const code = text.charCodeAt(end - 1);
  if (code < 0x80) return isAsciiSpace(code) ? 1 : 0;
  for (const length of [2, 3]) if (end >= length && WIDE_SPACES.has(text.slice(end - length, end))) return length;
  return 0;
}

function isAsciiSpace(code: number): boolean {
  return code === 0x20 || (code >= 0x09 && code <= 0x0d);
}
