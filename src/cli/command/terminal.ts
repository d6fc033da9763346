import { fstatSync } from "node:fs";
import { ClientError } from "../../client/bun.ts";
import type { Environment } from "./command.ts";
import { readerWatch } from "./pipe.ts";

/** The reader of standard output has gone, as `head` does when it has enough. It is no error of the command. */
export class OutputClosed extends Error {}

/** Escape sequences for colours and styles. */
const STYLES = { bold: "1", dim: "2", red: "31", green: "32", yellow: "33", inverse: "7" } as const;
export type Style = keyof typeof STYLES;

const STDOUT = 1;
const CLOSE_CHECK_MS = 200;

/** Standard input, output and error of a command. */
export class Terminal {
  /** Whether a person reads the output, so that colours and progress make sense. */
  readonly isInteractive: boolean;
  private readonly hasColours: boolean;
  private hasClosed = false;
  private readonly closeListeners = new Set<() => void>();

  constructor(environment: Environment) {
    this.isInteractive = process.stdout.isTTY === true && environment.TERM !== "dumb";
    // https://no-color.org: any value that is not empty.
    this.hasColours = this.isInteractive && (environment.NO_COLOR ?? "") === "";
    process.stdout.on("error", (error: NodeJS.ErrnoException) => {
      // The write that failed reports all others.
      if (error.code === "EPIPE") this.close();
    });
  }

  private close(): void {
    this.hasClosed = true;
    for (const listener of this.closeListeners) listener();
  }

  get columns(): number {
    return process.stdout.columns || 80;
  }

  get rows(): number {
    return process.stdout.rows || 24;
  }

  /** Prints to standard output, and waits until a slow reader has taken it. @throws OutputClosed; ClientError if it cannot be written */
  async print(text: string | Uint8Array): Promise<void> {
    if (this.hasClosed) throw new OutputClosed();
    const failure = await new Promise<NodeJS.ErrnoException | null | undefined>((resolve) => {
      const done = (error?: Error | null) => {
        this.closeListeners.delete(onClose);
        resolve(error);
      };
      const onClose = () => done();
      this.closeListeners.add(onClose);
      process.stdout.write(text, done);
    });
    if (this.hasClosed || failure?.code === "EPIPE") throw new OutputClosed();
    if (failure) throw new ClientError("OUTPUT_FAILED", `cannot write to standard output: ${failure.code ?? failure.message}`);
  }

  /** Prints a value as JSON in one line. @throws as print() */
  printJson(value: unknown): Promise<void> {
    return this.print(`${JSON.stringify(value)}\n`);
  }

  /** Prints a line to standard error. */
  warn(line: string): void {
    process.stderr.write(`${line}\n`);
  }

  /** Shows how far something is, on a terminal alone; the next call replaces the text, and an empty one removes it. */
  progress(text: string): void {
    if (this.isInteractive && process.stderr.isTTY) process.stderr.write(`\r\x1b[K${text}`);
  }

  /** The text in a style, where colours are wanted. */
  style(style: Style, text: string): string {
    return this.hasColours ? `\x1b[${STYLES[style]}m${text}\x1b[0m` : text;
  }

  /** Calls back when the reader of standard output has gone, also while nothing is printed. */
  onClose(listener: () => void): void {
    this.closeListeners.add(listener);
    const hasGone = fstatSync(STDOUT).isFIFO() ? readerWatch(STDOUT) : undefined;
    if (hasGone === undefined) return;
    const timer = setInterval(() => {
      if (!this.hasClosed && !hasGone()) return;
      clearInterval(timer);
      this.close();
    }, CLOSE_CHECK_MS);
    timer.unref();
  }

  /**
   * Asks whether to do something that cannot be undone. Scripts are not asked: what is no terminal cannot answer.
   *
   * @returns whether the answer was yes
   */
  async confirm(question: string): Promise<boolean> {
    if (process.stdin.isTTY !== true) return true;
    // A static import would be loaded in every process of the program, also in a broker's, with node's streams.
    const { createInterface } = await import("node:readline");
    const reader = createInterface({ input: process.stdin, output: process.stderr });
    try {
      const answer = await new Promise<string>((resolve) => {
        reader.once("close", () => resolve(""));
        reader.question(`${question} [y/N] `, resolve);
      });
      return /^y(es)?$/i.test(answer.trim());
    } finally {
      reader.close();
    }
  }
}
