/** The longest tracestate that is kept. Receivers must take as much, and may drop what is longer. */
export const MAX_TRACESTATE_BYTES = 512;
/** A list with more members is not valid. */
const MOST_MEMBERS = 32;
/** Members longer than this go first where a list is too long. */
const LONG_MEMBER_BYTES = 128;
/**
 * `key=value`. The key is of level 2 of the recommendation, which allows what level 1 does; the value is printable ASCII without comma
 * and equals sign, and does not end with a space.
 */
const MEMBER = /^([a-z0-9][a-z0-9_\-*/@]{0,255})=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]$/;
/** Optional white space around a member. */
const OUTER_SPACE = /^[ \t]+|[ \t]+$/g;

/**
 * Parses the value of a tracestate header, or of several that were joined by commas. https://www.w3.org/TR/trace-context/#tracestate-header
 *
 * @returns its members, joined by commas, in at most MAX_TRACESTATE_BYTES of ASCII; undefined if it is not valid, or has none. Of a
 * longer one whole members are left out: those of more than LONG_MEMBER_BYTES, and then the last ones, as the recommendation says.
 */
export function parseTracestate(text: string): string | undefined {
  const members: string[] = [];
  const keys = new Set<string>();
  let length = -1;
  for (const part of text.split(",")) {
    const member = part.replace(OUTER_SPACE, "");
    if (member === "") continue;
    const key = MEMBER.exec(member)?.[1];
    if (key === undefined || keys.has(key) || members.length === MOST_MEMBERS) return undefined;
    keys.add(key);
    members.push(member);
    length += member.length + 1;
  }
  for (let at = members.length - 1; at >= 0 && length > MAX_TRACESTATE_BYTES; at--) {
    if (members[at].length > LONG_MEMBER_BYTES) length -= 1 + members.splice(at, 1)[0].length;
  }
  while (length > MAX_TRACESTATE_BYTES) length -= 1 + (members.pop()?.length ?? 0);
  return members.length === 0 ? undefined : members.join(",");
}
