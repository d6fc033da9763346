/**
 * Sets of characters, as patterns have them. A set is a list of 0 and 1, one for each character of the alphabet of names.
 */

/** ASCII, and the two other characters that fold to ASCII: ſ (to s) and K (to k). */
const ALPHABET = [...Array.from({ length: 128 }, (_, code) => String.fromCharCode(code)), "\u017f", "\u212a"];
const LONG_S = 128;
const KELVIN = 129;

/** 1 for each character of the alphabet that is in the set. */
export type CharacterSet = Uint8Array;

export function setOf(holdsRune: (rune: string) => boolean): CharacterSet {
  return Uint8Array.from(ALPHABET, (rune) => (holdsRune(rune) ? 1 : 0));
}

export function matching(pattern: RegExp): CharacterSet {
  return setOf((rune) => pattern.test(rune));
}

export function single(rune: string): CharacterSet {
  const set = new Uint8Array(ALPHABET.length);
  const at = ALPHABET.indexOf(rune);
  if (at >= 0) set[at] = 1;
  return set;
}

export function inverted(set: CharacterSet): CharacterSet {
  return set.map((held) => 1 - held);
}

export function include(set: CharacterSet, more: CharacterSet): void {
  more.forEach((held, i) => {
    if (held === 1) set[i] = 1;
  });
}

/** Adds the other case of each letter. */
export function folded(set: CharacterSet): CharacterSet {
  const all = set.slice();
  for (let upper = 0x41; upper <= 0x5a; upper++) {
    const beyond = upper === 0x53 ? LONG_S : upper === 0x4b ? KELVIN : upper;
    if (set[upper] === 1 || set[upper + 0x20] === 1 || set[beyond] === 1) all[upper] = all[upper + 0x20] = all[beyond] = 1;
  }
  return all;
}

/** The set of a general category or script, from the engine's tables. @returns undefined if there is none of this name */
export function unicodeSet(name: string): CharacterSet | undefined {
  if (name === "Any") return EVERYTHING;
  if (!/^[A-Za-z_]+$/.test(name)) return undefined;
  for (const property of ["General_Category", "Script"]) {
    try {
      const pattern = new RegExp(`^\\p{${property}=${name}}$`, "u");
      return matching(pattern);
    } catch {
      // There is no such category. It may be a script.
    }
  }
  return undefined;
}

export const NOTHING = setOf(() => false);
export const EVERYTHING = setOf(() => true);

/** The characters of words, between which \b matches. */
export const WORDS = matching(/^\w$/);

// These are turned into sets when a pattern uses them. Most brokers never see such a pattern.
export const PERL_CLASSES = new Map([
  ["d", /^\d$/],
  ["s", /^[\t\n\f\r ]$/],
  ["w", /^\w$/],
]);

export const POSIX_CLASSES = new Map(
  Object.entries({
    alnum: /^[0-9A-Za-z]$/,
    alpha: /^[A-Za-z]$/,
    ascii: /^[\0-\x7f]$/,
    blank: /^[\t ]$/,
    // biome-ignore lint/suspicious/noControlCharactersInRegex: the class consists of them
    cntrl: /^[\0-\x1f\x7f]$/,
    digit: /^[0-9]$/,
    graph: /^[!-~]$/,
    lower: /^[a-z]$/,
    print: /^[ -~]$/,
    punct: /^[!-/:-@[-`{-~]$/,
    space: /^[\t-\r ]$/,
    upper: /^[A-Z]$/,
    word: /^[0-9A-Za-z_]$/,
    xdigit: /^[0-9A-Fa-f]$/,
  }),
);
