/** Severity of a log line, ascending; NSQ's five. */
export type LogLevel = "debug" | "info" | "warn" | "error" | "fatal";

/** Where a program's log lines go. `level` may be changed at run time. */
export interface Logger {
  level: LogLevel;
  debug(line: string): void;
  info(line: string): void;
  warn(line: string): void;
  error(line: string): void;
  fatal(line: string): void;
}
