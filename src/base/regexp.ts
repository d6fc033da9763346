import { type Assertion, type Node, parseRegexp, type Ranges, RegexpError, WORDS } from "./regexp-parser.ts";

/**
 * Regular expressions over the bodies and headers of messages, in linear time. JavaScript's own backtrack: `(a+)+$` on one body would hold
 * the process for hours, and a worker thread that is in such an expression cannot be ended. The expressions in base/go/regexp know ASCII only, and follow
 * their states one by one. Here sets of states are states of their own, which are made as they are met and kept for the next
 * character, so that a character usually costs one look into a table. A match may be made in pieces.
 */

const OP_SET = 0;
const OP_ASSERT = 1;
/** Goes on at the next instruction and at another one. */
const OP_FORK = 2;
const OP_JUMP = 3;
const OP_MATCH = 4;

/** Repetitions are written out: `(a{100}){100}` has 10,000 instructions. */
const MAX_INSTRUCTIONS = 1000;
/** Beyond it all states are forgotten, and made anew as they are met. */
const MAX_STATES = 500;
const ASSERTIONS: readonly Assertion[] = ["begin", "end", "word", "no word"];

// What is at one side of a position in the text.
const EDGE = 0;
const OTHER = 1;
const WORD = 2;

/** A set of instructions that the text so far leads to. */
interface State {
  kernel: readonly number[];
  /** What the last character was. */
  before: number;
  /** The next state by the class of the next character. */
  next: (State | typeof MATCHED | undefined)[];
  /** Whether it matches if the text ends here. */
  matchesAtEnd: boolean | undefined;
}

const MATCHED = "matched";

/** A compiled expression. */
export class Regexp {
  /**
   * How many instructions were followed by all expressions to make states: what matching has cost beyond one look into a table for each
   * character.
   */
  static work = 0;
  private readonly ops: number[] = [];
  private readonly args: number[] = [];
  /** The sets of characters, as flags by the class of the character. */
  private readonly sets: Ranges[] = [];
  private readonly members: Uint8Array[];
  private readonly classes: CharacterClasses;
  private readonly visited: Uint32Array;
  private generation = 0;
  private states = new Map<string, State>();

  /** @throws RegexpError */
  constructor(
    source: string,
    private readonly maxInstructions = MAX_INSTRUCTIONS,
  ) {
    this.add(parseRegexp(source));
    this.emit(OP_MATCH, 0);
    this.classes = new CharacterClasses([...this.sets, WORDS]);
    this.members = this.sets.map((ranges) => this.classes.membersOf(ranges));
    this.visited = new Uint32Array(this.ops.length);
  }

  /** Whether the expression is found in a text. */
  test(text: string): boolean {
    let state = this.first();
    for (let at = 0; at < text.length; at++) {
      const next = this.after(state, text.charCodeAt(at));
      if (next === MATCHED) return true;
      state = next;
    }
    return this.matchesAtEnd(state);
  }

  /** Begins to look for the expression in a text. */
  begin(text: string): RegexpMatch {
    return new RegexpMatch(this, text);
  }

  first(): State {
    return this.stateOf([], EDGE);
  }

  /** The state behind one more character. */
  after(state: State, code: number): State | typeof MATCHED {
    const kind = this.classes.of(code);
    const known = state.next[kind];
    if (known !== undefined) return known;
    const after = this.classes.isWord(kind) ? WORD : OTHER;
    const kernel: number[] = [];
    const isMatched = this.follow(state, after, (instruction) => {
      if (this.members[this.args[instruction] ?? 0]?.[kind] === 1) kernel.push(instruction + 1);
    });
    const next = isMatched ? MATCHED : this.stateOf(kernel, after);
    state.next[kind] = next;
    return next;
  }

  matchesAtEnd(state: State): boolean {
    state.matchesAtEnd ??= this.follow(state, EDGE, () => {});
    return state.matchesAtEnd;
  }

  /**
   * Finds the sets that can be reached without a character, from a state or the beginning of the expression.
   *
   * @returns whether the end of the expression is reached
   */
  private follow({ kernel, before }: State, after: number, met: (instruction: number) => void): boolean {
    const { ops, args, visited } = this;
    const generation = ++this.generation;
    const stack = [0, ...kernel];
    for (let at = stack.pop(); at !== undefined; at = stack.pop()) {
      Regexp.work++;
      if (visited[at] === generation) continue;
      visited[at] = generation;
      const arg = args[at] ?? 0;
      if (ops[at] === OP_MATCH) return true;
      if (ops[at] === OP_SET) met(at);
      else if (ops[at] === OP_FORK) stack.push(arg, at + 1);
      else if (ops[at] === OP_JUMP) stack.push(arg);
      else if (holds(ASSERTIONS[arg], before, after)) stack.push(at + 1);
    }
    return false;
  }

  private stateOf(kernel: number[], before: number): State {
    kernel.sort((a, b) => a - b);
    const key = `${before} ${kernel.join()}`;
    const known = this.states.get(key);
    if (known !== undefined) return known;
    if (this.states.size >= MAX_STATES) {
      // States that are still referred to must not keep the forgotten ones.
      for (const state of this.states.values()) state.next = [];
      this.states = new Map();
    }
    const state: State = { kernel, before, next: [], matchesAtEnd: undefined };
    this.states.set(key, state);
    return state;
  }

  private emit(op: number, arg: number): number {
    if (this.ops.length >= this.maxInstructions) throw new RegexpError("the expression is too large");
    this.args.push(arg);
    return this.ops.push(op) - 1;
  }

  private add(node: Node): void {
    switch (node.kind) {
      case "set":
        this.emit(OP_SET, this.sets.push(node.ranges) - 1);
        return;
      case "assert":
        this.emit(OP_ASSERT, ASSERTIONS.indexOf(node.assert));
        return;
      case "all":
        for (const part of node.parts) this.add(part);
        return;
      case "any":
        this.addAny(node.parts);
        return;
      case "repeat":
        this.addRepeated(node.part, node.min, node.max);
    }
  }

  private addAny(parts: readonly Node[]): void {
    const ends: number[] = [];
    for (const [index, part] of parts.entries()) {
      const isLast = index === parts.length - 1;
      const fork = isLast ? undefined : this.emit(OP_FORK, 0);
      this.add(part);
      if (fork === undefined) continue;
      ends.push(this.emit(OP_JUMP, 0));
      this.args[fork] = this.ops.length;
    }
    for (const end of ends) this.args[end] = this.ops.length;
  }

  private addRepeated(part: Node, min: number, max: number): void {
    for (let i = 0; i < min; i++) this.addOnce(part);
    const forks: number[] = [];
    for (let i = min; i < max; i++) {
      forks.push(this.emit(OP_FORK, 0));
      this.addOnce(part);
    }
    if (max < 0) {
      const fork = this.emit(OP_FORK, 0);
      this.add(part);
      this.emit(OP_JUMP, fork);
      forks.push(fork);
    }
    for (const fork of forks) this.args[fork] = this.ops.length;
  }

  /** An empty part would be repeated without an instruction that the limit counts. */
  private addOnce(part: Node): void {
    const { length } = this.ops;
    this.add(part);
    if (this.ops.length === length) this.emit(OP_JUMP, length + 1);
  }
}

/** An expression that is looked for in one text. */
export class RegexpMatch {
  private at = 0;
  private state: State;

  constructor(
    private readonly regexp: Regexp,
    private readonly text: string,
  ) {
    this.state = regexp.first();
  }

  /** Looks at `count` more characters. @returns whether the expression was found; undefined: that is not known yet */
  step(count: number): boolean | undefined {
    const { regexp, text } = this;
    const end = Math.min(text.length, this.at + count);
    for (; this.at < end; this.at++) {
      const next = regexp.after(this.state, text.charCodeAt(this.at));
      if (next === MATCHED) return true;
      this.state = next;
    }
    return this.at < text.length ? undefined : regexp.matchesAtEnd(this.state);
  }
}

function holds(assertion: Assertion | undefined, before: number, after: number): boolean {
  if (assertion === "begin") return before === EDGE;
  if (assertion === "end") return after === EDGE;
  return ((before === WORD) !== (after === WORD)) === (assertion === "word");
}

/** Characters that all sets of an expression treat alike have one class. */
class CharacterClasses {
  /** Where a class begins, ascending. */
  private readonly starts: number[];
  /** The classes of the first characters. */
  private readonly ascii = new Uint16Array(128);
  private readonly words: Uint8Array;

  constructor(sets: readonly Ranges[]) {
    const starts = new Set([0]);
    for (const ranges of sets) {
      for (const [at, bound] of ranges.entries()) starts.add(at % 2 === 0 ? bound : bound + 1);
    }
    this.starts = [...starts].filter((start) => start <= 0xffff).sort((a, b) => a - b);
    for (let code = 0; code < this.ascii.length; code++) this.ascii[code] = this.search(code);
    this.words = this.membersOf(WORDS);
  }

  of(code: number): number {
    return code < 128 ? (this.ascii[code] ?? 0) : this.search(code);
  }

  isWord(kind: number): boolean {
    return this.words[kind] === 1;
  }

  /** 1 for each class that is in the ranges. */
  membersOf(ranges: Ranges): Uint8Array {
    const members = new Uint8Array(this.starts.length);
    for (let at = 0; at < ranges.length; at += 2) {
      const last = this.search(ranges[at + 1] ?? 0);
      for (let kind = this.search(ranges[at] ?? 0); kind <= last; kind++) members[kind] = 1;
    }
    return members;
  }

  private search(code: number): number {
    let low = 0;
    let high = this.starts.length;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if ((this.starts[middle] ?? 0) <= code) low = middle;
      else high = middle;
    }
    return low;
  }
}
