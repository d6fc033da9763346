/**
 * Go's regular expressions (https://pkg.go.dev/regexp/syntax) over the names of topics and channels.
 *
 * JavaScript's own do not serve for permissions. They take what Go refuses (look-ahead, backreferences), refuse or misread
 * what Go takes (`(?i)` for the rest of a group, `\A`, `\z`, `\Q…\E`, `[[:alpha:]]`, `(?P<name>…)`), and they backtrack:
 * `(a+)+$` over one long name would stop the broker for hours. Here the pattern becomes a list of instructions that are
 * followed side by side, character by character, as RE2 does: the time is bounded by name × instructions, whatever the pattern.
 *
 * Only whether a name matches is asked, so captures and greediness are read and forgotten. Names are ASCII.
 */

/** Why Go would refuse a pattern. */
export class PatternError extends Error {
  override name = "PatternError";
}

/** What all patterns of one answer may take, counted down as they are compiled. */
export interface PatternBudget {
  steps: number;
}

/** Go's own bounds. */
const MAX_REPEAT = 1000;
const MAX_DEPTH = 1000;

/** ASCII, and behind it the two characters beyond it that fold to ASCII: ſ (to s) and K (to k). */
const ALPHABET = [...Array.from({ length: 128 }, (_, code) => String.fromCharCode(code)), "\u017f", "\u212a"];
const LONG_S = 128;
const KELVIN = 129;

/** Which of the alphabet a character class holds. */
type Set = Uint8Array;

const BEGIN = 0;
const END = 1;
const WORD = 2;
const NO_WORD = 3;

type Node =
  | { kind: "set"; set: Set }
  | { kind: "assert"; assert: number }
  | { kind: "all"; parts: Node[] }
  | { kind: "any"; parts: Node[] }
  /** @param max -1: any number */
  | { kind: "repeat"; part: Node; min: number; max: number; counted: boolean };

const OP_SET = 0;
const OP_ASSERT = 1;
/** Goes on at the next instruction, and at another as well. */
const OP_FORK = 2;
const OP_JUMP = 3;
const OP_MATCH = 4;

/** A compiled pattern. */
export class Pattern {
  private readonly visited: Uint32Array;
  private generation = 0;
  private readonly stack: number[] = [];

  /** @throws PatternError for what Go refuses, and for more than the budget has left */
  static compile(source: string, budget: PatternBudget): Pattern {
    const program = new Program(budget);
    program.add(new Parser(source).parse());
    program.emit(OP_MATCH, 0);
    return new Pattern(program.ops, program.args, program.sets);
  }

  private constructor(
    private readonly ops: number[],
    private readonly args: number[],
    private readonly sets: Set[],
  ) {
    this.visited = new Uint32Array(ops.length);
  }

  /** Whether the pattern occurs anywhere in an ASCII name. */
  matches(name: string): boolean {
    let states: number[] = [];
    for (let at = 0; ; at++) {
      this.generation++;
      const here: number[] = [];
      for (const state of states) if (this.follow(state, name, at, here)) return true;
      if (this.follow(0, name, at, here)) return true;
      if (at === name.length) return false;
      const code = name.charCodeAt(at);
      states = [];
      for (const state of here) if (this.sets[this.args[state]]![code] === 1) states.push(state + 1);
    }
  }

  /** Collects the sets that can be met from `state` without a character. @returns whether the end is among what is met */
  private follow(state: number, name: string, at: number, met: number[]): boolean {
    const { ops, args, visited, generation, stack } = this;
    stack.length = 0;
    stack.push(state);
    for (let next = stack.pop(); next !== undefined; next = stack.pop()) {
      if (visited[next] === generation) continue;
      visited[next] = generation;
      switch (ops[next]) {
        case OP_SET:
          met.push(next);
          break;
        case OP_ASSERT:
          if (holds(args[next]!, name, at)) stack.push(next + 1);
          break;
        case OP_FORK:
          stack.push(args[next]!, next + 1);
          break;
        case OP_JUMP:
          stack.push(args[next]!);
          break;
        default:
          return true;
      }
    }
    return false;
  }
}

function holds(assert: number, name: string, at: number): boolean {
  if (assert === BEGIN) return at === 0;
  if (assert === END) return at === name.length;
  const boundary = isWord(name, at - 1) !== isWord(name, at);
  return assert === WORD ? boundary : !boundary;
}

function isWord(name: string, at: number): boolean {
  return at >= 0 && at < name.length && WORDS[name.charCodeAt(at)] === 1;
}

/** The instructions of a pattern. */
class Program {
  readonly ops: number[] = [];
  readonly args: number[] = [];
  readonly sets: Set[] = [];

  constructor(private readonly budget: PatternBudget) {}

  /** @returns where it stands */
  emit(op: number, arg: number): number {
    this.ops.push(op);
    this.args.push(arg);
    return this.ops.length - 1;
  }

  add(node: Node): void {
    if (--this.budget.steps < 0) throw new PatternError("expression too large");
    switch (node.kind) {
      case "set":
        this.sets.push(node.set);
        this.emit(OP_SET, this.sets.length - 1);
        return;
      case "assert":
        this.emit(OP_ASSERT, node.assert);
        return;
      case "all":
        for (const part of node.parts) this.add(part);
        return;
      case "any":
        this.addAny(node.parts);
        return;
      case "repeat":
        for (let i = 0; i < node.min; i++) this.add(node.part);
        if (node.max < 0) this.addLoop(node.part);
        else this.addOptional(node.part, node.max - node.min);
    }
  }

  private addAny(parts: Node[]): void {
    const ends: number[] = [];
    for (const part of parts.slice(0, -1)) {
      const fork = this.emit(OP_FORK, 0);
      this.add(part);
      ends.push(this.emit(OP_JUMP, 0));
      this.args[fork] = this.ops.length;
    }
    this.add(parts.at(-1)!);
    for (const end of ends) this.args[end] = this.ops.length;
  }

  private addLoop(part: Node): void {
    const fork = this.emit(OP_FORK, 0);
    this.add(part);
    this.emit(OP_JUMP, fork);
    this.args[fork] = this.ops.length;
  }

  private addOptional(part: Node, times: number): void {
    const forks: number[] = [];
    for (let i = 0; i < times; i++) {
      forks.push(this.emit(OP_FORK, 0));
      this.add(part);
    }
    for (const fork of forks) this.args[fork] = this.ops.length;
  }
}

// Each is tried where the parser stands.
const REPETITION = /\{(0|[1-9][0-9]*)(?:(,)(0|[1-9][0-9]*)?)?\}/y;
const GROUP_NAME = /P?<([^>]*)>/y;
const FLAGS = /([imsU]*)(?:-([imsU]+))?([:)])/y;
const UNICODE_CLASS = /[pP](?:\{(\^?)([^}]*)\}|([^{]))/uy;
const OCTAL = /0[0-7]{0,2}|[1-7][0-7]{1,2}/y;
const HEX = /x(?:([0-9A-Fa-f]{2})|\{([0-9A-Fa-f]+)\})/y;
const POSIX_CLASS = /\[:(\^?)(.*?):\]/sy;

/** Reads a pattern as Go's regexp/syntax does with its Perl flags. */
class Parser {
  private at = 0;
  private depth = 0;
  private fold = false;
  /** Where the last end of a POSIX class stands: `[[:` behind it is none. */
  private readonly lastPosixEnd: number;

  constructor(private readonly source: string) {
    this.lastPosixEnd = source.lastIndexOf(":]");
  }

  parse(): Node {
    const node = this.alternation();
    if (this.at < this.source.length) throw new PatternError(`unexpected ): \`${this.source}\``);
    return node;
  }

  private alternation(): Node {
    if (++this.depth > MAX_DEPTH) throw new PatternError(`expression nests too deeply: \`${this.source}\``);
    // Flags that are set within a group end with it.
    const { fold } = this;
    const parts = [this.concatenation()];
    while (this.take("|")) parts.push(this.concatenation());
    this.fold = fold;
    this.depth--;
    return parts.length === 1 ? parts[0]! : { kind: "any", parts };
  }

  private concatenation(): Node {
    const parts: Node[] = [];
    let repeated = false;
    while (this.at < this.source.length && !this.sees("|") && !this.sees(")")) {
      const from = this.at;
      const bounds = this.repetition();
      if (bounds === undefined) {
        // `(?i)` adds nothing; a quantifier behind it finds what stands before it, as in Go.
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
      this.take("?");
      repeated = true;
    }
    return { kind: "all", parts };
  }

  /** A quantifier here: how often at least, at most (-1: any number), and whether in numbers. */
  private repetition(): [min: number, max: number, counted: boolean] | undefined {
    if (this.take("*")) return [0, -1, false];
    if (this.take("+")) return [1, -1, false];
    if (this.take("?")) return [0, 1, false];
    // What is no repetition are characters as any others.
    const match = this.sees("{") ? this.taken(REPETITION) : undefined;
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
        // Names have no line breaks, so nothing depends on the flags s and m.
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
    if (!this.take("?")) {
      parts.push(this.grouped());
      return;
    }
    if (this.sees("<") || this.source.startsWith("P<", this.at)) {
      this.groupName();
      parts.push(this.grouped());
      return;
    }
    const match = this.taken(FLAGS);
    if (match === undefined) throw new PatternError(`invalid or unsupported Perl syntax: \`(?${this.source.slice(this.at, this.at + 4)}\``);
    const before = this.fold;
    this.fold = match[2]?.includes("i") === true ? false : match[1]!.includes("i") || before;
    // Without a colon it holds for the rest of the group that it stands in.
    if (match[3] === ")") return;
    parts.push(this.grouped());
    this.fold = before;
  }

  private grouped(): Node {
    const node = this.alternation();
    if (!this.take(")")) throw new PatternError(`missing closing ): \`${this.source}\``);
    return node;
  }

  private groupName(): void {
    const match = this.taken(GROUP_NAME);
    const name = match?.[1] ?? "";
    if (!/^[A-Za-z0-9_]+$/.test(name)) throw new PatternError(`invalid named capture: \`(?${match?.[0] ?? ""}\``);
  }

  private escaped(parts: Node[]): void {
    if (this.take("A")) {
      parts.push({ kind: "assert", assert: BEGIN });
    } else if (this.take("z")) {
      parts.push({ kind: "assert", assert: END });
    } else if (this.take("b")) {
      parts.push({ kind: "assert", assert: WORD });
    } else if (this.take("B")) {
      parts.push({ kind: "assert", assert: NO_WORD });
    } else if (this.take("Q")) {
      const end = this.source.indexOf("\\E", this.at);
      for (const rune of this.source.slice(this.at, end < 0 ? undefined : end)) parts.push(this.literal(rune));
      this.at = end < 0 ? this.source.length : end + 2;
    } else {
      const set = this.classEscape();
      parts.push(set === undefined ? this.literal(this.characterEscape()) : { kind: "set", set });
    }
  }

  /** Behind a backslash: `d`, `W`, `pL`, `p{Greek}` … */
  private classEscape(): Set | undefined {
    const letter = this.source[this.at] ?? "";
    const perl = PERL_CLASSES.get(letter.toLowerCase());
    if (perl !== undefined) {
      this.at++;
      const set = this.folded(matching(perl));
      return letter === letter.toLowerCase() ? set : inverted(set);
    }
    if (letter !== "p" && letter !== "P") return undefined;
    const match = this.taken(UNICODE_CLASS);
    const set = match === undefined ? undefined : unicodeSet(match[2] ?? match[3]!);
    if (match === undefined || set === undefined) throw new PatternError(`invalid character class range: \`\\${match?.[0] ?? letter}\``);
    const negated = (letter === "P") !== (match[1] === "^");
    return negated ? inverted(this.folded(set)) : this.folded(set);
  }

  /** Behind a backslash: one character. */
  private characterEscape(): string {
    if (this.at >= this.source.length) throw new PatternError("trailing backslash at end of expression: ``");
    const octal = this.taken(OCTAL);
    if (octal !== undefined) return String.fromCodePoint(Number.parseInt(octal[0], 8));
    const hex = this.taken(HEX);
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

  /** Behind `[`. */
  private bracket(): Set {
    const from = this.at - 1;
    const negated = this.take("^");
    const set = NOTHING.slice();
    for (let first = true; first || !this.sees("]"); first = false) {
      if (this.at >= this.source.length) throw new PatternError(`missing closing ]: \`${this.source.slice(from)}\``);
      include(set, this.posixClass() ?? this.bracketEscape() ?? this.folded(this.range()));
    }
    this.at++;
    return negated ? inverted(set) : set;
  }

  private posixClass(): Set | undefined {
    if (!this.source.startsWith("[:", this.at) || this.at + 2 > this.lastPosixEnd) return undefined;
    const match = this.taken(POSIX_CLASS)!;
    const group = POSIX_CLASSES.get(match[2]!);
    if (group === undefined) throw new PatternError(`invalid character class range: \`${match[0]}\``);
    const set = this.folded(matching(group));
    return match[1] === "^" ? inverted(set) : set;
  }

  private bracketEscape(): Set | undefined {
    if (!this.take("\\")) return undefined;
    const set = this.classEscape();
    // One character: it may begin a range.
    if (set === undefined) this.at--;
    return set;
  }

  private range(): Set {
    const from = this.at;
    const rune = this.classCharacter();
    const low = rune.codePointAt(0)!;
    let high = low;
    if (this.sees("-") && this.at + 1 < this.source.length && this.source[this.at + 1] !== "]") {
      this.at++;
      high = this.classCharacter().codePointAt(0)!;
      if (high < low) throw new PatternError(`invalid character class range: \`${this.source.slice(from, this.at)}\``);
    }
    if (low === high) return single(rune);
    return setOf((other) => other.codePointAt(0)! >= low && other.codePointAt(0)! <= high);
  }

  private classCharacter(): string {
    if (this.at >= this.source.length) throw new PatternError(`missing closing ]: \`${this.source}\``);
    return this.take("\\") ? this.characterEscape() : this.next();
  }

  private folded(set: Set): Set {
    if (!this.fold) return set;
    const all = set.slice();
    for (let upper = 0x41; upper <= 0x5a; upper++) {
      const beyond = upper === 0x53 ? LONG_S : upper === 0x4b ? KELVIN : upper;
      if (set[upper] === 1 || set[upper + 0x20] === 1 || set[beyond] === 1) all[upper] = all[upper + 0x20] = all[beyond] = 1;
    }
    return all;
  }

  private sees(character: string): boolean {
    return this.source[this.at] === character;
  }

  private take(character: string): boolean {
    if (!this.sees(character)) return false;
    this.at++;
    return true;
  }

  /** The character here, surrogates in one. */
  private next(): string {
    const rune = String.fromCodePoint(this.source.codePointAt(this.at)!);
    this.at += rune.length;
    return rune;
  }

  /** What stands here, if it has the form of a sticky expression. */
  private taken(form: RegExp): RegExpExecArray | undefined {
    form.lastIndex = this.at;
    const match = form.exec(this.source);
    if (match === null) return undefined;
    this.at += match[0].length;
    return match;
  }
}

/** Go bounds what repetitions within repetitions multiply to. */
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

function setOf(holdsRune: (rune: string) => boolean): Set {
  return Uint8Array.from(ALPHABET, (rune) => (holdsRune(rune) ? 1 : 0));
}

function matching(pattern: RegExp): Set {
  return setOf((rune) => pattern.test(rune));
}

function single(rune: string): Set {
  const set = new Uint8Array(ALPHABET.length);
  const at = ALPHABET.indexOf(rune);
  if (at >= 0) set[at] = 1;
  return set;
}

function inverted(set: Set): Set {
  return set.map((held) => 1 - held);
}

function include(set: Set, more: Set): void {
  more.forEach((held, i) => {
    if (held === 1) set[i] = 1;
  });
}

/** A general category or a script by its name, from the engine's tables. */
function unicodeSet(name: string): Set | undefined {
  if (name === "Any") return EVERYTHING;
  if (!/^[A-Za-z_]+$/.test(name)) return undefined;
  for (const property of ["General_Category", "Script"]) {
    try {
      const pattern = new RegExp(`^\\p{${property}=${name}}$`, "u");
      return matching(pattern);
    } catch {
      // No such category; perhaps a script.
    }
  }
  return undefined;
}

const CONTROLS = new Map([
  ["a", "\x07"],
  ["f", "\f"],
  ["n", "\n"],
  ["r", "\r"],
  ["t", "\t"],
  ["v", "\v"],
]);

const NOTHING = setOf(() => false);
const EVERYTHING = setOf(() => true);

const WORDS = matching(/^\w$/);

// The sets of these are made when a pattern has them: most brokers never see one.
const PERL_CLASSES = new Map([
  ["d", /^\d$/],
  ["s", /^[\t\n\f\r ]$/],
  ["w", /^\w$/],
]);

const POSIX_CLASSES = new Map(
  Object.entries({
    alnum: /^[0-9A-Za-z]$/,
    alpha: /^[A-Za-z]$/,
    ascii: /^[\0-\x7f]$/,
    blank: /^[\t ]$/,
    // biome-ignore lint/suspicious/noControlCharactersInRegex: that is what the class holds
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
