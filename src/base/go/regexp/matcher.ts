import { type CharacterSet, WORDS } from "./character-set.ts";
import { BEGIN, END, type Node, PatternError, PatternParser, WORD } from "./parser.ts";

/**
 * Go's regular expressions (https://pkg.go.dev/regexp/syntax), matched against the names of topics and channels.
 *
 * JavaScript's own expressions cannot be used for permissions. They accept syntax that Go refuses (look-ahead,
 * backreferences), refuse or misread syntax that Go accepts (`(?i)` for the rest of a group, `\A`, `\z`, `\Q…\E`,
 * `[[:alpha:]]`, `(?P<name>…)`), and they backtrack: `(a+)+$` on one long name would block the broker for hours. Here a
 * pattern is parsed (parser.ts) and compiled to a list of instructions, and all possible states are followed in parallel,
 * character by character, as RE2 does. So the time is at most length of the name × instructions for every pattern.
 *
 * The matcher only answers whether a name matches, and names are ASCII.
 */

/** How many instructions may still be compiled. All patterns in one answer of an auth server share a budget. */
export interface PatternBudget {
  steps: number;
}

const OP_SET = 0;
const OP_ASSERT = 1;
/** Continues at the next instruction and at another one. */
const OP_FORK = 2;
const OP_JUMP = 3;
const OP_MATCH = 4;

/** A compiled pattern. */
export class Pattern {
  private readonly visited: Uint32Array;
  private generation = 0;
  private readonly stack: number[] = [];

  /** @throws PatternError for a pattern that Go refuses, and for one that exceeds the budget */
  static compile(source: string, budget: PatternBudget): Pattern {
    const program = new Program(budget);
    program.add(new PatternParser(source).parse());
    program.emit(OP_MATCH, 0);
    return new Pattern(program.ops, program.args, program.sets);
  }

  private constructor(
    private readonly ops: number[],
    private readonly args: number[],
    private readonly sets: CharacterSet[],
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

  /**
   * Collects in `met` the sets that can be reached from `state` without consuming a character.
   *
   * @returns whether the end of the pattern can be reached
   */
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

/** The instructions of a pattern that is being compiled. */
class Program {
  readonly ops: number[] = [];
  readonly args: number[] = [];
  readonly sets: CharacterSet[] = [];

  constructor(private readonly budget: PatternBudget) {}

  /** @returns the index of the new instruction */
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
