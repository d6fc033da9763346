/** NSQ's five severities of log lines, in ascending order. */
export type LogLevel = "debug" | "info" | "warn" | "error" | "fatal";

/** How log lines are written. */
export type LogFormat = "text" | "json";

/** What a log line is about, as far as it is known. Only JSON lines have it; the text says it in words. */
export interface LogFields {
  /** The part of the server that logs: http, tcp, discovery. */
  readonly part?: string | undefined;
  readonly topic?: string | undefined;
  readonly channel?: string | undefined;
  /** `ip:port` of the client. */
  readonly client?: string | undefined;
  readonly requestId?: string | undefined;
}

/** Something that log lines may be about. It is asked for its fields only when a line with fields is written. */
export interface LogSubject {
  readonly logFields: LogFields;
}

export type LogAbout = LogFields | LogSubject | undefined;

/** Writes a program's log lines. `level` is the least severe one that is written; it may be changed at run time. */
export interface Logger {
  level: LogLevel;
  debug(line: string, about?: LogAbout): void;
  info(line: string, about?: LogAbout): void;
  warn(line: string, about?: LogAbout): void;
  error(line: string, about?: LogAbout): void;
  fatal(line: string, about?: LogAbout): void;
}
