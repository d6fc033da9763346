import type { LogLevel } from "../base/logger.ts";
import type { BoolFlag, ChoiceFlag, StringFlag } from "./flag.ts";

// What NSQ's servers have in common.

export const logLevelFlag: ChoiceFlag<LogLevel> = {
  name: "log-level",
  kind: "choice",
  values: ["debug", "info", "warn", "error", "fatal"],
  default: "info",
  show: (level) => (level === "warn" ? "WARNING" : level.toUpperCase()),
  refusal: (text) => `invalid log level '${text}' (debug, info, warn, error, fatal)`,
  doc: "least severe lines to log: debug, info, warn, error or fatal",
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
  better: "errors are told with their lines; an unknown key is warned about, and refused under bunsq's own name",
};

export const verboseFlag: BoolFlag = {
  name: "verbose",
  kind: "bool",
  default: false,
  doc: "long without effect in NSQ too",
  idle: { status: "deprecated", why: "use -log-level=debug" },
};
