import { POSIX_CLASSES } from "./go/regexp/character-set.ts";
import { PatternScanner } from "./pattern-scanner.ts";

/** A regular expression that is not one, or has what cannot be matched in linear time: look-around and back-references. */
export class RegexpError extends Error {
  override name = "RegexpError";
}

/** Ranges of UTF-16 code units: from, to (inclusive), from, to, … */
export type Ranges = readonly number[];

export type Assertion = "begin" | "end" | "word" | "no word";

/** A parsed expression. */
export type Node =
  | { kind: "set"; ranges: Ranges }
  | { kind: "assert"; assert: Assertion }
  | { kind: "all"; parts: Node[] }
  | { kind: "any"; parts: Node[] }
  /** A `max` of -1 means any number of times. */
  | { kind: "repeat"; part: Node; min: number; max: number };

const LAST = 0xffff;
const MAX_REPEAT = 1000;
const MAX_DEPTH = 100;

const DIGITS: Ranges = [0x30, 0x39];
export const WORDS: Ranges = [0x30, 0x39, 0x41, 0x5a, 0x5f, 0x5f, 0x61, 0x7a];
const SPACES: Ranges = [0x09, 0x0d, 0x20, 0x20, 0xa0, 0xa0, 0x2028, 0x2029, 0xfeff, 0xfeff];
const CLASSES = new Map([
  ["d", DIGITS],
  ["w", WORDS],
  ["s", SPACES],
]);
const CONTROLS = new Map([
  ["n", "\n"],
  ["r", "\r"],
  ["t", "\t"],
  ["f", "\f"],
  ["v", "\v"],
  ["0", "\0"],
]);
const REPETITION = /\{(\d{1,4})(?:(,)(\d{1,4})?)?\}/y;
const FLAGS = /\(\?i\)/y;
const GROUP = /\(\?(?::|P?<\w+>)/y;
const POSIX_CLASS = /\[:(\^?)(\w*):\]/y;
const HEX = /x([0-9a-f]{2})|u([0-9a-f]{4})/iy;

/**
 * Parses what JavaScript's and Go's regular expressions have alike: characters, `.`, classes, groups, alternatives, repetitions, `^`,
 * `$`, `\b` and `(?i)` at the beginning; and Go's `[[:alpha:]]`. Captures and greediness make no difference to whether something
 * matches.
 *
 * @throws RegexpError
 */
export function parseRegexp(source: string): Node {
  return new RegexpParser(source).parse();
}

class RegexpParser extends PatternScanner {
  private depth = 0;
  private readonly fold: boolean;

  constructor(source: string) {
    super(source);
    this.fold = this.acceptForm(FLAGS) !== undefined;
  }

  parse(): Node {
    const node = this.alternatives();
    if (this.at < this.source.length) throw new RegexpError("there is a ) too many");
    return node;
  }

  private alternatives(): Node {
    if (++this.depth > MAX_DEPTH) throw new RegexpError("groups are nested too deeply");
    const parts = [this.sequence()];
    while (this.accept("|")) parts.push(this.sequence());
    this.depth--;
    return parts.length === 1 && parts[0] !== undefined ? parts[0] : { kind: "any", parts };
  }

  private sequence(): Node {
    const parts: Node[] = [];
    while (this.at < this.source.length && !this.isAt("|") && !this.isAt(")")) parts.push(this.repeated(this.atom()));
    return { kind: "all", parts };
  }

  private repeated(part: Node): Node {
    const bounds = this.repetition();
    if (bounds === undefined) return part;
    const [min, max] = bounds;
    if (min > MAX_REPEAT || max > MAX_REPEAT || (max >= 0 && min > max))
      throw new RegexpError("a repeat count is too large, or out of order");
    this.accept("?");
    if (this.isAt("*") || this.isAt("+") || this.isAt("?")) throw new RegexpError("there is nothing to repeat");
    return { kind: "repeat", part, min, max };
  }

  private repetition(): [min: number, max: number] | undefined {
    if (this.accept("*")) return [0, -1];
    if (this.accept("+")) return [1, -1];
    if (this.accept("?")) return [0, 1];
    const match = this.acceptForm(REPETITION);
    if (match === undefined) return undefined;
    const min = Number(match[1]);
    return [min, match[2] === undefined ? min : match[3] === undefined ? -1 : Number(match[3])];
  }

  private atom(): Node {
    if (this.isAt("(")) return this.group();
    const character = this.next();
    switch (character) {
      case "*":
      case "+":
      case "?":
        throw new RegexpError("there is nothing to repeat");
      case ".":
        return { kind: "set", ranges: inverted([0x0a, 0x0a]) };
      case "^":
        return { kind: "assert", assert: "begin" };
      case "$":
        return { kind: "assert", assert: "end" };
      case "[":
        return { kind: "set", ranges: this.bracket() };
      case "\\":
        return this.escaped();
      default:
        return this.literal(character);
    }
  }

  private group(): Node {
    if (this.acceptForm(GROUP) === undefined) {
      this.at++;
      if (this.isAt("?")) throw new RegexpError("look-around and flags within the expression are not supported");
    }
    const node = this.alternatives();
    if (!this.accept(")")) throw new RegexpError("a ) is missing");
    return node;
  }

  private literal(character: string): Node {
    const code = character.charCodeAt(0);
    return { kind: "set", ranges: this.folded([code, code]) };
  }

  private escaped(): Node {
    if (this.accept("b")) return { kind: "assert", assert: "word" };
    if (this.accept("B")) return { kind: "assert", assert: "no word" };
    if (this.accept("A")) return { kind: "assert", assert: "begin" };
    if (this.accept("z")) return { kind: "assert", assert: "end" };
    const ranges = this.classEscape();
    return ranges === undefined ? this.literal(this.characterEscape()) : { kind: "set", ranges };
  }

  private classEscape(): Ranges | undefined {
    const letter = this.source[this.at] ?? "";
    const ranges = CLASSES.get(letter.toLowerCase());
    if (ranges === undefined) return undefined;
    this.at++;
    return letter === letter.toLowerCase() ? ranges : inverted(ranges);
  }

  private characterEscape(): string {
    const hex = this.acceptForm(HEX);
    if (hex !== undefined) return String.fromCharCode(Number.parseInt(hex[1] ?? hex[2] ?? "", 16));
    const character = this.next();
    const control = CONTROLS.get(character);
    if (control === undefined && /[0-9A-Za-z]/.test(character)) throw new RegexpError(`\\${character} is not supported`);
    return control ?? character;
  }

  private bracket(): Ranges {
    const isInverted = this.accept("^");
    const ranges: number[] = [];
    for (let isFirst = true; isFirst || !this.isAt("]"); isFirst = false) {
      const whole = this.isAt("\\") ? this.classInBracket() : this.posixClass();
      if (whole === undefined) ranges.push(...this.range());
      else ranges.push(...whole);
    }
    this.at++;
    const all = this.folded(ranges);
    return isInverted ? inverted(all) : all;
  }

  /** Go's `[:alpha:]` within brackets, which JavaScript takes for its letters. */
  private posixClass(): Ranges | undefined {
    const match = this.isAt("[") ? this.acceptForm(POSIX_CLASS) : undefined;
    if (match === undefined) return undefined;
    const members = POSIX_CLASSES.get(match[2] ?? "");
    if (members === undefined) throw new RegexpError(`${match[0]} is no class of characters`);
    const ranges: number[] = [];
    for (let code = 0; code < 0x80; code++) if (members.test(String.fromCharCode(code))) ranges.push(code, code);
    return match[1] === "^" ? inverted(ranges) : ranges;
  }

  private classInBracket(): Ranges | undefined {
    this.at++;
    const ranges = this.classEscape();
    if (ranges === undefined) this.at--;
    return ranges;
  }

  private range(): number[] {
    const low = this.bracketCharacter();
    if (!this.isAt("-") || this.source[this.at + 1] === "]" || this.source[this.at + 1] === undefined) return [low, low];
    this.at++;
    const high = this.bracketCharacter();
    if (high < low) throw new RegexpError("a range is out of order");
    return [low, high];
  }

  private bracketCharacter(): number {
    if (this.at >= this.source.length) throw new RegexpError("a ] is missing");
    return (this.accept("\\") ? this.characterEscape() : this.next()).charCodeAt(0);
  }

  /** Adds the other case of letters: of ASCII's in ranges, of others where they stand alone. */
  private folded(ranges: number[]): Ranges {
    if (!this.fold) return ranges;
    const all = [...ranges];
    for (let at = 0; at < ranges.length; at += 2) {
      const from = ranges[at] ?? 0;
      const to = ranges[at + 1] ?? 0;
      addShifted(all, Math.max(from, 0x41), Math.min(to, 0x5a), 0x20);
      addShifted(all, Math.max(from, 0x61), Math.min(to, 0x7a), -0x20);
      if (from !== to || from < 0x80) continue;
      const character = String.fromCharCode(from);
      for (const other of [character.toLowerCase(), character.toUpperCase()]) {
        if (other.length === 1) addShifted(all, other.charCodeAt(0), other.charCodeAt(0), 0);
      }
    }
    return all;
  }

  private next(): string {
    const character = this.source[this.at++];
    if (character === undefined) throw new RegexpError("a \\ is at the end");
    return character;
  }
}

function addShifted(ranges: number[], from: number, to: number, by: number): void {
  if (from <= to) ranges.push(from + by, to + by);
}

/** All code units that are not in the ranges. */
function inverted(ranges: Ranges): number[] {
  const pairs: [number, number][] = [];
  for (let at = 0; at < ranges.length; at += 2) pairs.push([ranges[at] ?? 0, ranges[at + 1] ?? 0]);
  pairs.sort(([a], [b]) => a - b);
  const rest: number[] = [];
  let from = 0;
  for (const [low, high] of pairs) {
    if (low > from) rest.push(from, low - 1);
    from = Math.max(from, high + 1);
  }
  if (from <= LAST) rest.push(from, LAST);
  return rest;
}
