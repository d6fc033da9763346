import { version } from "../package.json" with { type: "json" };

/** The nsqd release whose protocol and HTTP API bunsq speaks: what IDENTIFY, /info and /stats report, since clients and tools read it. */
export const NSQ_VERSION = "1.3.0";

/** bunsq's own release. */
export const BUNSQ_VERSION: string = version;

/** Put in by scripts/build.ts; not there when running from source. */
declare const BUNSQ_COMMIT: string | undefined;

/** The commit the binary was built from; empty when running from source. */
const commit = typeof BUNSQ_COMMIT === "string" ? BUNSQ_COMMIT : "";

/** The name a program answers to in help and versions: that of NSQ's program where it stands in for it. */
export type ProgramName = "bunsq" | "nsqd" | "nsqlookupd";

/** The line that `-version` prints and that starts the log, under the name the program goes by. */
export function versionLine(name: ProgramName): string {
  const build = `built w/bun${Bun.version}${commit === "" ? "" : `, commit ${commit}`}`;
  // Scripts take the word after the name of one of NSQ's programs for the release of NSQ they talk to.
  return name === "bunsq" ? `bunsq v${BUNSQ_VERSION} (${build})` : `${name} v${NSQ_VERSION} (bunsq ${BUNSQ_VERSION}, ${build})`;
}
