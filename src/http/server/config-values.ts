import type { LogLevel } from "../../base/logger.ts";
import { Refusal } from "./reply.ts";

// Values of options at /config, as the JSON of NSQ's programs has them.

/** In the order of NSQ's numbers (internal/lg). */
const LOG_LEVELS: readonly LogLevel[] = ["debug", "info", "warn", "error", "fatal"];

export function logLevelNumber(level: LogLevel): number {
  return LOG_LEVELS.indexOf(level) + 1;
}

/** @throws Refusal 400 INVALID_VALUE */
export function parseLogLevel(text: string): LogLevel {
  const level = LOG_LEVELS.find((known) => known === text.toLowerCase());
  if (level === undefined) throw new Refusal(400, "INVALID_VALUE");
  return level;
}

/** Parses a list as Go does for a []string: null is an empty list or an empty string. @throws Refusal 400 INVALID_VALUE */
export function parseAddresses(text: string): string[] {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new Refusal(400, "INVALID_VALUE");
  }
  const list = value ?? [];
  if (!Array.isArray(list)) throw new Refusal(400, "INVALID_VALUE");
  return list.map((address: unknown) => {
    if (typeof address === "string") return address;
    if (address === null) return "";
    throw new Refusal(400, "INVALID_VALUE");
  });
}
