import type { Logger } from "../base/logger.ts";

/** The lines of a command that is no server: without time and prefix, and warnings and errors marked. */
export class PrintLogger implements Logger {
  level = "info" as const;

  /** @param print called with each line, its end included */
  constructor(private readonly print: (text: string) => void) {}

  debug(): void {}

  info(line: string): void {
    this.print(`${line}\n`);
  }

  warn(line: string): void {
    this.print(`WARNING: ${line}\n`);
  }

  error(line: string): void {
    this.print(`ERROR: ${line}\n`);
  }

  fatal(line: string): void {
    this.error(line);
  }
}
