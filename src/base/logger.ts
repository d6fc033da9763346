/** NSQ's five severities of log lines, in ascending order. */
export type LogLevel = "debug" | "info" | "warn" | "error" | "fatal";

/** Writes a program's log lines. `level` is the least severe one that is written; it may be changed at run time. */
export interface Logger {
  level: LogLevel;
  debug(line: string): void;
  info(line: string): void;
  warn(line: string): void;
  error(line: string): void;
  fatal(line: string): void;
}
