import type { LogFormat, LogLevel } from "../base/logger.ts";
import type { BoolFlag, ChoiceFlag, StringFlag } from "./flag.ts";

// The flags that all of NSQ's servers have.

export const logLevelFlag: ChoiceFlag<LogLevel> = {
  name: "log-level",
  kind: "choice",
  values: ["debug", "info", "warn", "error", "fatal"],
  default: "info",
  show: (level) => (level === "warn" ? "WARNING" : level.toUpperCase()),
  refusal: (text) => `invalid log level '${text}' (debug, info, warn, error, fatal)`,
  doc: "lowest severity of the lines to log: debug, info, warn, error or fatal",
};

export const logFormatFlag: ChoiceFlag<LogFormat> = {
  name: "log-format",
  kind: "choice",
  own: true,
  values: ["text", "json"],
  default: "text",
  refusal: (text) => `invalid log format '${text}' (text, json)`,
  doc: "how log lines are written: text, as nsqd does, or json, one object a line",
};

export const versionFlag: BoolFlag = {
  name: "version",
  kind: "bool",
  default: false,
  settableIn: [],
  doc: "print the version and exit",
};

export const configFlag: StringFlag = {
  name: "config",
  kind: "string",
  default: "",
  settableIn: ["environment"],
  doc: "path of a config file (TOML)",
  better: "errors are reported with their line numbers; an unknown key causes a warning, or an error under the name bunsq",
};

export const verboseFlag: BoolFlag = {
  name: "verbose",
  kind: "bool",
  default: false,
  doc: "has no effect in NSQ either",
  idle: { status: "deprecated", why: "use -log-level=debug" },
};
