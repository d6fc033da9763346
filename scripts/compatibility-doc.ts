import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { adminFlags } from "../src/cli/admin-flags.ts";
import { brokerFlags } from "../src/cli/broker-flags.ts";
import { configKey } from "../src/cli/config-file.ts";
import { type Flag, isSettableIn } from "../src/cli/flag.ts";
import { allFlags } from "../src/cli/flags.ts";
import { lookupFlags } from "../src/cli/lookup-flags.ts";
import { showValue } from "../src/cli/values.ts";

export const COMPATIBILITY_DOC_PATH = join(import.meta.dir, "../docs/compatibility.md");

/** The generated tables are between these two lines. The rest of the page is written by hand. */
const BEGIN = "<!-- Generated from the flag tables in src/cli/ by `npm run docs`. Change it there. -->";
const END = "<!-- End of the generated part. -->";

/** Returns docs/compatibility.md with its tables of flags generated again. */
export function compatibilityDoc(document: string): string {
  const begin = document.indexOf(BEGIN);
  const end = document.indexOf(END);
  if (begin === -1 || end < begin) throw new Error(`${COMPATIBILITY_DOC_PATH} lacks the lines between which the tables of flags belong`);
  const tables = [
    `\n### nsqd\n\n${comparison(allFlags(brokerFlags("host")))}`,
    `\n### nsqlookupd\n\n${comparison(allFlags(lookupFlags("host")))}`,
    `\n### nsqadmin\n\n${comparison(allFlags(adminFlags()))}\n`,
  ].join("");
  return `${document.slice(0, begin)}${BEGIN}\n${tables}${document.slice(end)}`;
}

/** One row per flag of NSQ's. */
function comparison(flags: Flag[]): string {
  const rows = flags
    .filter((flag) => !flag.own)
    .map((flag) => [`\`-${flag.name}\``, isSettableIn(flag, "config") ? `\`${configKey(flag)}\`` : "", defaultOf(flag), verdict(flag)]);
  return [["flag", "config key", "default", "bunsq"], ["---", "---", "---", "---"], ...rows]
    .map((row) => `| ${row.map((cell) => cell.replaceAll("|", "\\|").replaceAll("<", "&lt;")).join(" | ")} |\n`)
    .join("");
}

/** What bunsq does with one of NSQ's flags. */
function verdict({ better, idle }: Flag): string {
  if (idle?.status === "deprecated") return `same: no effect; ${idle.why}`;
  if (idle?.status === "needless") return `better: nothing to set (${idle.why}); accepted with a warning`;
  return better === undefined ? "same" : `better: ${better}`;
}

function defaultOf(flag: Flag): string {
  if (flag.defaultDoc !== undefined) return flag.defaultDoc;
  const text = showValue(flag, flag.default);
  return text === "" ? "" : `\`${text}\``;
}

if (import.meta.main) writeFileSync(COMPATIBILITY_DOC_PATH, compatibilityDoc(readFileSync(COMPATIBILITY_DOC_PATH, "utf8")));
