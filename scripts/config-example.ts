import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { adminFlags, consoleFlag } from "../src/cli/admin-flags.ts";
import { configKey } from "../src/cli/config-file.ts";
import { type Flag, isSettableIn } from "../src/cli/flag.ts";
import { optionFlags } from "../src/cli/flags.ts";
import { lookupFlags } from "../src/cli/lookup-flags.ts";
import { brokerProgramFlags } from "../src/cli/modes.ts";
import { describeRange, showValue } from "../src/cli/values.ts";

export const CONFIG_EXAMPLE_PATH = join(import.meta.dir, "../contrib/bunsq.toml");

const HEAD = `# Every setting of bunsq with its default. To use this file: bunsq --config=<path>. Remove the # from the lines to change.
# Keys that nsqd has are nsqd's. docs/flags.md has the details. Generated from the flag tables by \`npm run docs\`.
`;

const LOOKUP_HEAD = `
# The lookup server, with a broker in the same process or alone. The keys are nsqlookupd's.
[lookup]
`;

const ADMIN_HEAD = `
# The console, with a broker in the same process or alone. The keys are nsqadmin's.
[admin]
`;

/** A config file with every setting, commented out. */
export function configExample(): string {
  const broker = brokerProgramFlags({ mode: undefined });
  const mode = broker.others.filter((flag) => flag.name === "mode");
  return [
    HEAD,
    ...[...mode, consoleFlag, ...optionFlags(broker)].map(entry),
    LOOKUP_HEAD,
    ...optionFlags(lookupFlags()).map(entry),
    ADMIN_HEAD,
    ...optionFlags(adminFlags()).map(entry),
  ].join("");
}

function entry(flag: Flag): string {
  if (!isSettableIn(flag, "config") || flag.idle !== undefined) return "";
  const range = flag.kind === "choice" ? "" : describeRange(flag);
  const doc = range === "" ? flag.doc : `${flag.doc} (${range})`;
  const value = flag.defaultDoc === undefined ? tomlDefault(flag) : `${flag.kind === "int" ? "0" : '""'} # default: ${flag.defaultDoc}`;
  return `\n## ${doc}\n# ${configKey(flag)} = ${value}\n`;
}

function tomlDefault(flag: Flag): string {
  switch (flag.kind) {
    case "int":
    case "bool":
      return String(flag.default);
    case "duration":
      return JSON.stringify(showValue(flag, flag.default));
    default:
      // Strings and lists of strings and numbers are in TOML as in JSON.
      return JSON.stringify(flag.default);
  }
}

if (import.meta.main) writeFileSync(CONFIG_EXAMPLE_PATH, configExample());
