import { readFileSync } from "node:fs";

/** The end of a zone file for UTC: its rule in POSIX form. */
const UTC_RULE = "\nUTC0\n";
const UTC_NAMES = new Set(["", "UTC", "UTC0", "Etc/UTC"]);

/**
 * Whether local time is UTC. The engine's calendar is not asked: it would load its tables of time zones, which take 4 MB of
 * an idle process, and most servers and nearly all containers run on UTC.
 *
 * @param zone the environment's TZ; undefined if it is not set
 * @param zoneFile the system's time zone, read if TZ is not set; without that file the zone is UTC, as in Go
 */
export function isUtc(zone: string | undefined, zoneFile = "/etc/localtime"): boolean {
  if (zone !== undefined) return UTC_NAMES.has(zone.replace(/^:/, ""));
  try {
    return readFileSync(zoneFile, "latin1").endsWith(UTC_RULE);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "ENOENT";
  }
}

/** Formats a time as Go's log package does, to the second: 2026/11/22 08:05:00 */
export function formatTime(wallMs: number, utc: boolean): string {
  const at = new Date(wallMs);
  if (utc) return at.toISOString().slice(0, 19).replace("T", " ").replaceAll("-", "/");
  const day = `${at.getFullYear()}/${padded(at.getMonth() + 1)}/${padded(at.getDate())}`;
  return `${day} ${padded(at.getHours())}:${padded(at.getMinutes())}:${padded(at.getSeconds())}`;
}

function padded(value: number): string {
  return String(value).padStart(2, "0");
}
