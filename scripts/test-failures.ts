/** Lines kept of each failed test, its own included. */
const LINES_PER_TEST = 40;
/** Where many fail, each still gets this many. */
const LEAST_PER_TEST = 12;
const LINES_IN_ALL = 120;
/** A diff of two large values can be one line. */
const LONGEST_LINE = 500;

/** A test of its own that failed. On a terminal Bun marks it with a cross. */
const FAILED = /^(?:\(fail\)|✗) /;
const ENDED = /^(?:\((?:pass|skip|todo|fail)\)|[✓✗»✎]) /;
/** Bun begins to name failed tests again. */
const CLOSING = /^\d+ tests? failed:$/;
/** Below a failed test: why, where it threw nothing. */
const REASON = /^ {2}\^ /;
const UNHANDLED = "# Unhandled error between tests";
const RULE = /^-{20,}$/;
/** A line of an error's stack. */
const STACK = /^ {6}at /;
const IN_TEST = /\.test\.tsx?:\d/;

/** What a run of `bun test` printed before each test that failed: its seed, its message, its stack. */
export class TestFailures {
  private readonly excerpts: string[][] = [];
  /** What was printed since a test last ended. */
  private recent: string[] = [];
  /** Rules that are still to come around an error that belongs to no test. */
  private rules = 0;
  private isClosing = false;
  /** The line before was of a stack. */
  private wasStack = false;
  private hasFailed = false;

  /** @param isApart several processes run tests: what a test printed comes some time after the line that says how it ended */
  constructor(private readonly isApart = false) {}

  /** Takes the next line of the run's standard output and standard error, which are one stream. */
  add(printed: string): void {
    const line = Bun.stripANSI(printed).slice(0, LONGEST_LINE);
    this.isClosing ||= CLOSING.test(line);
    if (this.isClosing) return;
    if (this.isApart) return this.addApart(line);
    if (REASON.test(line) && this.recent.length === 0) return void this.excerpts.at(-1)?.push(line);
    this.recent.push(line);
    if (this.recent.length > LINES_PER_TEST) this.recent.shift();
    if (line === UNHANDLED) this.rules = 2;
    const isEndOfError = RULE.test(line) && this.rules > 0 && --this.rules === 0;
    if (FAILED.test(line) || isEndOfError) this.excerpts.push(this.recent);
    if (ENDED.test(line) || isEndOfError) this.recent = [];
  }

  /** An error ends with its stack, and that of a failed test names the test's file. */
  private addApart(line: string): void {
    const isStack = STACK.test(line);
    if (this.wasStack && !isStack) {
      if (this.recent.some((one) => STACK.test(one) && IN_TEST.test(one))) this.excerpts.push(this.recent);
      this.recent = [];
    }
    this.wasStack = isStack;
    const isFailed = FAILED.test(line);
    this.hasFailed ||= isFailed || line === UNHANDLED;
    if (isFailed) this.excerpts.push([line]);
    else if (REASON.test(line)) this.excerpts.at(-1)?.push(line);
    else if (!ENDED.test(line)) this.recent.push(line);
    if (this.recent.length > LINES_PER_TEST) this.recent.shift();
  }

  /** The lines before each failed test, and its own, as far as they have room. */
  get lines(): string[] {
    if (this.isApart && !this.hasFailed) return [];
    const perTest = Math.max(LEAST_PER_TEST, Math.floor(LINES_IN_ALL / Math.max(1, this.excerpts.length)));
    const lines: string[] = [];
    for (const [i, excerpt] of this.excerpts.entries()) {
      const shown = excerpt.slice(-perTest);
      if (lines.length + shown.length > LINES_IN_ALL) return [...lines, `| what ${this.excerpts.length - i} more printed is above`];
      lines.push(...shown.map((line) => `| ${line}`.trimEnd()));
    }
    return lines;
  }
}
