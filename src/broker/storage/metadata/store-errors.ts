import { join } from "node:path";
import { METADATA_FILE } from "./metadata-backup.ts";

/** The text of a StartError for a data path that another process has open. */
export function inUse(directory: string): string {
  return `${directory} is in use by another process; stop that one, or give this one a --data-path of its own`;
}

/** The text of a StartError for an error of opening the store: what is wrong, and what to do. */
export function explain(directory: string, error: Error): string {
  const code = (error as NodeJS.ErrnoException).code ?? "";
  if (code.startsWith("SQLITE_BUSY")) {
    return inUse(directory);
  }
  if (
    code === "EACCES" ||
    code === "EPERM" ||
    code === "EROFS" ||
    code.startsWith("SQLITE_READONLY") ||
    code.startsWith("SQLITE_CANTOPEN")
  ) {
    return `cannot write to ${directory} (${error.message}); make it writable for this user, or choose another --data-path`;
  }
  if (code.startsWith("SQLITE_IOERR")) {
    return `cannot read ${join(directory, METADATA_FILE)}: ${error.message}; start again when it can be read, or with --start-without-unreadable from its backup`;
  }
  return `cannot open ${directory}: ${error.message}`;
}
