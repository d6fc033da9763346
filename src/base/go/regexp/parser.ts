import { PatternScanner } from "../../pattern-scanner.ts";
import {
  type CharacterSet,
  EVERYTHING,
  folded,
  include,
  inverted,
  matching,
  NOTHING,
  PERL_CLASSES,
  POSIX_CLASSES,
  setOf,
  single,
  unicodeSet,
} from "./character-set.ts";

/** A pattern that Go refuses. The message is Go's. */
export class PatternError extends Error {
  override name = "PatternError";
}

/** Go's own limits. */
const MAX_REPEAT = 1000;
const MAX_DEPTH = 1000;

// The kinds of assertions about a position in a name.
export const BEGIN = 0;
export const END = 1;
export const WORD = 2;
const NO_WORD = 3;

/** A parsed pattern. */
export type Node =
  | { kind: "set"; set: CharacterSet }
  | { kind: "assert"; assert: number }
  | { kind: "all"; parts: Node[] }
  | { kind: "any"; parts: Node[] }
  /** A `max` of -1 means any number of times. */
  | { kind: "repeat"; part: Node; min: number; max: number; counted: boolean };

// Each expression is matched at the parser's position.
const REPETITION = /\{(0|[1-9][0-9]*)(?:(,)(0|[1-9][0-9]*)?)?\}/y;
const GROUP_NAME = /P?<([^>]*)>/y;
const FLAGS = /([imsU]*)(?:-([imsU]+))?([:)])/y;
const UNICODE_CLASS = /[pP](?:\{(\^?)([^}]*)\}|([^{]))/uy;
const OCTAL = /0[0-7]{0,2}|[1-7][0-7]{1,2}/y;
const HEX = /x(?:([0-9A-Fa-f]{2})|\{([0-9A-Fa-f]+)\})/y;
const POSIX_CLASS = /\[:(\^?)(.*?):\]/sy;

const CONTROLS = new Map([
  ["a", "\x07"],
  ["f", "\f"],
  ["n", "\n"],
  ["r", "\r"],
  ["t", "\t"],
  ["v", "\v"],
]);

/** Parses patterns as Go's regexp/syntax does with its Perl flags. Captures and greediness are parsed and ignored. */
export class PatternParser extends PatternScanner {
  private depth = 0;
  private fold = false;
  /** The position of the last `:]`. A `[[:` behind it begins no POSIX class. */
  private readonly lastPosixEnd: number;

  constructor(source: string) {
    super(source);
    this.lastPosixEnd = source.lastIndexOf(":]");
  }

  /** @throws PatternError for a pattern that Go refuses */
  parse(): Node {
    const node = this.alternation();
    if (this.at < this.source.length) throw new PatternError(`unexpected ): \`${this.source}\``);
    return node;
  }

  private alternation(): Node {
    if (++this.depth > MAX_DEPTH) throw new PatternError(`expression nests too deeply: \`${this.source}\``);
    // Flags that are set within a group hold until its end.
    const { fold } = this;
    const parts = [this.concatenation()];
    while (this.accept("|")) parts.push(this.concatenation());
    this.fold = fold;
    this.depth--;
    return parts.length === 1 ? parts[0]! : { kind: "any", parts };
  }

  private concatenation(): Node {
    const parts: Node[] = [];
    let repeated = false;
    while (this.at < this.source.length && !this.isAt("|") && !this.isAt(")")) {
      const from = this.at;
      const bounds = this.repetition();
      if (bounds === undefined) {
        // `(?i)` adds no node, so a quantifier behind it applies to the node before it, as in Go.
        this.atom(parts);
        repeated = false;
        continue;
      }
      const text = this.source.slice(from, this.at);
      if (repeated) throw new PatternError(`invalid nested repetition operator: \`${text}\``);
      const part = parts.pop();
      if (part === undefined) throw new PatternError(`missing argument to repetition operator: \`${text}\``);
      const [min, max, counted] = bounds;
      const node: Node = { kind: "repeat", part, min, max, counted };
      if (counted && (min >= 2 || max >= 2) && !repeatsWithin(node, MAX_REPEAT))
        throw new PatternError(`invalid repeat count: \`${text}\``);
      parts.push(node);
      this.accept("?");
      repeated = true;
    }
    return { kind: "all", parts };
  }

  /** Reads a quantifier: the least and the most repetitions (-1: any number), and whether it was written in numbers. */
  private repetition(): [min: number, max: number, counted: boolean] | undefined {
    if (this.accept("*")) return [0, -1, false];
    if (this.accept("+")) return [1, -1, false];
    if (this.accept("?")) return [0, 1, false];
    // A brace that begins no repetition is an ordinary character.
    const match = this.isAt("{") ? this.acceptForm(REPETITION) : undefined;
    if (match === undefined) return undefined;
    const min = Number(match[1]);
    const max = match[2] === undefined ? min : match[3] === undefined ? -1 : Number(match[3]);
    if (min > MAX_REPEAT || max > MAX_REPEAT || (max >= 0 && min > max)) throw new PatternError(`invalid repeat count: \`${match[0]}\``);
    return [min, max, true];
  }

  private atom(parts: Node[]): void {
    const rune = this.next();
    switch (rune) {
      case "(":
        this.group(parts);
        break;
      case "[":
        parts.push({ kind: "set", set: this.bracket() });
        break;
      case ".":
        // Names have no line breaks, so the flags s and m make no difference.
        parts.push({ kind: "set", set: EVERYTHING });
        break;
      case "^":
        parts.push({ kind: "assert", assert: BEGIN });
        break;
      case "$":
        parts.push({ kind: "assert", assert: END });
        break;
      case "\\":
        this.escaped(parts);
        break;
      default:
        parts.push(this.literal(rune));
    }
  }

  private literal(rune: string): Node {
    return { kind: "set", set: this.folded(single(rune)) };
  }

  private group(parts: Node[]): void {
    if (!this.accept("?")) {
      parts.push(this.grouped());
      return;
    }
    if (this.isAt("<") || this.source.startsWith("P<", this.at)) {
      this.groupName();
      parts.push(this.grouped());
      return;
    }
    const match = this.acceptForm(FLAGS);
    if (match === undefined) throw new PatternError(`invalid or unsupported Perl syntax: \`(?${this.source.slice(this.at, this.at + 4)}\``);
    const before = this.fold;
    this.fold = match[2]?.includes("i") === true ? false : match[1]!.includes("i") || before;
    // Without a colon the flags hold for the rest of the enclosing group.
    if (match[3] === ")") return;
    parts.push(this.grouped());
    this.fold = before;
  }

  private grouped(): Node {
    const node = this.alternation();
    if (!this.accept(")")) throw new PatternError(`missing closing ): \`${this.source}\``);
    return node;
  }

  private groupName(): void {
    const match = this.acceptForm(GROUP_NAME);
    const name = match?.[1] ?? "";
    if (!/^[A-Za-z0-9_]+$/.test(name)) throw new PatternError(`invalid named capture: \`(?${match?.[0] ?? ""}\``);
  }

  private escaped(parts: Node[]): void {
    if (this.accept("A")) {
      parts.push({ kind: "assert", assert: BEGIN });
    } else if (this.accept("z")) {
      parts.push({ kind: "assert", assert: END });
    } else if (this.accept("b")) {
      parts.push({ kind: "assert", assert: WORD });
    } else if (this.accept("B")) {
      parts.push({ kind: "assert", assert: NO_WORD });
    } else if (this.accept("Q")) {
      const end = this.source.indexOf("\\E", this.at);
      for (const rune of this.source.slice(this.at, end < 0 ? undefined : end)) parts.push(this.literal(rune));
      this.at = end < 0 ? this.source.length : end + 2;
    } else {
      const set = this.classEscape();
      parts.push(set === undefined ? this.literal(this.characterEscape()) : { kind: "set", set });
    }
  }

  /** Reads a class behind a backslash: `d`, `W`, `pL`, `p{Greek}` … */
  private classEscape(): CharacterSet | undefined {
    const letter = this.source[this.at] ?? "";
    const perl = PERL_CLASSES.get(letter.toLowerCase());
    if (perl !== undefined) {
      this.at++;
      const set = this.folded(matching(perl));
      return letter === letter.toLowerCase() ? set : inverted(set);
    }
    if (letter !== "p" && letter !== "P") return undefined;
    const match = this.acceptForm(UNICODE_CLASS);
    const set = match === undefined ? undefined : unicodeSet(match[2] ?? match[3]!);
    if (match === undefined || set === undefined) throw new PatternError(`invalid character class range: \`\\${match?.[0] ?? letter}\``);
    const negated = (letter === "P") !== (match[1] === "^");
    return negated ? inverted(this.folded(set)) : this.folded(set);
  }

  /** Reads a single character behind a backslash. */
  private characterEscape(): string {
    if (this.at >= this.source.length) throw new PatternError("trailing backslash at end of expression: ``");
    const octal = this.acceptForm(OCTAL);
    if (octal !== undefined) return String.fromCodePoint(Number.parseInt(octal[0], 8));
    const hex = this.acceptForm(HEX);
    if (hex !== undefined) {
      const code = Number.parseInt(hex[1] ?? hex[2]!, 16);
      if (code > 0x10ffff) throw new PatternError(`invalid escape sequence: \`\\${hex[0]}\``);
      return String.fromCodePoint(code);
    }
    const rune = this.next();
    const control = CONTROLS.get(rune);
    if (control === undefined && (rune > "\x7f" || /[0-9A-Za-z]/.test(rune)))
      throw new PatternError(`invalid escape sequence: \`\\${rune}\``);
    return control ?? rune;
  }

  /** Reads a bracket expression behind its `[`. */
  private bracket(): CharacterSet {
    const from = this.at - 1;
    const negated = this.accept("^");
    const set = NOTHING.slice();
    for (let first = true; first || !this.isAt("]"); first = false) {
      if (this.at >= this.source.length) throw new PatternError(`missing closing ]: \`${this.source.slice(from)}\``);
      include(set, this.posixClass() ?? this.bracketEscape() ?? this.folded(this.range()));
    }
    this.at++;
    return negated ? inverted(set) : set;
  }

  private posixClass(): CharacterSet | undefined {
    if (!this.source.startsWith("[:", this.at) || this.at + 2 > this.lastPosixEnd) return undefined;
    const match = this.acceptForm(POSIX_CLASS)!;
    const group = POSIX_CLASSES.get(match[2]!);
    if (group === undefined) throw new PatternError(`invalid character class range: \`${match[0]}\``);
    const set = this.folded(matching(group));
    return match[1] === "^" ? inverted(set) : set;
  }

  private bracketEscape(): CharacterSet | undefined {
    if (!this.accept("\\")) return undefined;
    const set = this.classEscape();
    // It is a single character, which may begin a range.
    if (set === undefined) this.at--;
    return set;
  }

  private range(): CharacterSet {
    const from = this.at;
    const rune = this.classCharacter();
    const low = rune.codePointAt(0)!;
    let high = low;
    if (this.isAt("-") && this.at + 1 < this.source.length && this.source[this.at + 1] !== "]") {
      this.at++;
      high = this.classCharacter().codePointAt(0)!;
      if (high < low) throw new PatternError(`invalid character class range: \`${this.source.slice(from, this.at)}\``);
    }
    if (low === high) return single(rune);
    return setOf((other) => other.codePointAt(0)! >= low && other.codePointAt(0)! <= high);
  }

  private classCharacter(): string {
    if (this.at >= this.source.length) throw new PatternError(`missing closing ]: \`${this.source}\``);
    return this.accept("\\") ? this.characterEscape() : this.next();
  }

  private folded(set: CharacterSet): CharacterSet {
    return this.fold ? folded(set) : set;
  }

  /** Reads the next character; a surrogate pair counts as one. */
  private next(): string {
    const rune = String.fromCodePoint(this.source.codePointAt(this.at)!);
    this.at += rune.length;
    return rune;
  }
}

/** Go limits the product of nested repetitions. */
function repeatsWithin(node: Node, most: number): boolean {
  let left = most;
  if (node.kind === "repeat" && node.counted) {
    if (node.max === 0) return true;
    const times = node.max < 0 ? node.min : node.max;
    if (times > left) return false;
    if (times > 0) left = Math.trunc(left / times);
  }
  if (node.kind === "repeat") return repeatsWithin(node.part, left);
  return !("parts" in node) || node.parts.every((part) => repeatsWithin(part, left));
}
