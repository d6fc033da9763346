import { version } from "../package.json" with { type: "json" };

/** The release of NSQ whose protocol and HTTP API bunsq has. IDENTIFY, /info and /stats report it, because clients and tools read it. */
export const NSQ_VERSION = "1.3.0";

/** The release of bunsq. Answers that have NSQ's release have it in a field of its own, for those who run bunsq. */
export const BUNSQ_VERSION: string = version;

/** Defined by scripts/build.ts; undefined when running from source. */
declare const BUNSQ_COMMIT: string | undefined;

/** The commit that the binary was built from; empty when running from source. */
const commit = typeof BUNSQ_COMMIT === "string" ? BUNSQ_COMMIT : "";

/** The name of the running program in help and versions: NSQ's if it runs under the name of one of NSQ's programs. */
export type ProgramName = "bunsq" | "nsqd" | "nsqlookupd" | "nsqadmin";

/**
 * The line that `-version` prints, and the first line of the log. It begins as NSQ's does, `NAME vX.Y.Z (built w/WORD)`, because
 * scripts and test suites parse that: behind nsqd, nsqlookupd and nsqadmin they expect a release of NSQ. What is bunsq's own comes after it.
 */
export function versionLine(name: ProgramName, builtFrom = commit): string {
  const built = `(built w/bun${Bun.version})`;
  const from = builtFrom === "" ? "" : `commit ${builtFrom}`;
  const rest = name === "bunsq" ? [from] : [`bunsq ${BUNSQ_VERSION}`, from];
  const line = name === "bunsq" ? `bunsq v${BUNSQ_VERSION} ${built}` : `${name} v${NSQ_VERSION} ${built}`;
  return [line, ...rest.filter((part) => part !== "")].join(", ");
}
