import { readFileSync } from "node:fs";

/** What a zone file of UTC ends with: its rule as POSIX writes it. */
const UTC_RULE = "\nUTC0\n";
const UTC_NAMES = new Set(["", "UTC", "UTC0", "Etc/UTC"]);

/**
 * Whether local time is UTC, found out without the engine's calendar: that brings its tables of time zones along, four MB
 * of an idle process, and most servers and all containers run on UTC.
 *
 * @param zone TZ of the environment; undefined where it is not set
 * @param zoneFile what the system's zone is read from then; none means UTC, as for Go
 */
export function isUtc(zone: string | undefined, zoneFile = "/etc/localtime"): boolean {
  if (zone !== undefined) return UTC_NAMES.has(zone.replace(/^:/, ""));
  try {
    return readFileSync(zoneFile, "latin1").endsWith(UTC_RULE);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "ENOENT";
  }
}

/** A moment as Go's log package prints it, to the second: 2026/11/22 08:05:00 */
export function formatTime(wallMs: number, utc: boolean): string {
  const at = new Date(wallMs);
  if (utc) return at.toISOString().slice(0, 19).replace("T", " ").replaceAll("-", "/");
  const day = `${at.getFullYear()}/${padded(at.getMonth() + 1)}/${padded(at.getDate())}`;
  return `${day} ${padded(at.getHours())}:${padded(at.getMinutes())}:${padded(at.getSeconds())}`;
}

function padded(value: number): string {
  return String(value).padStart(2, "0");
}
