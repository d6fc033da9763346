import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { configKey } from "../src/cli/config-file.ts";
import { type Flag, isSettableIn } from "../src/cli/flag.ts";
import { allFlags } from "../src/cli/flags.ts";
import { brokerProgramFlags, lookupProgramFlags } from "../src/cli/modes.ts";
import { describeRange, showValue } from "../src/cli/values.ts";

export const FLAGS_DOC_PATH = join(import.meta.dir, "../docs/flags.md");

const INTRODUCTION = `# Configuration

<!-- Made from src/cli/broker-flags.ts and src/cli/lookup-flags.ts by \`npm run docs\`. Change it there. -->

A setting comes from the first of these that has it: the command line, the environment, the config file, the default.

**The command line.** Every flag is spelled \`-flag=value\`, \`-flag value\`, or the same with two minuses. A bool is
\`-flag\` or \`-flag=false\`. Durations are written \`1h2m3.5s\`, \`250ms\`, \`100us\`. A list is given as several flags, or as
one with commas; of other flags that are given twice the last one holds. A word that is no flag is an error.

**The environment.** The variable of \`-max-msg-size\` is \`BUNSQ_MAX_MSG_SIZE\`, and so on; its value is written as on the
command line, lists with commas. An empty one counts as not set. Variables whose names are far from any flag's are only
warned about, and those that Kubernetes sets for a service are left alone.

**The config file**, named by \`-config\` or \`BUNSQ_CONFIG\`, is TOML, and has nsqd's and nsqlookupd's keys: those of the
tables below. Files written for nsqd and nsqlookupd load unchanged. Durations may be strings (\`"1m30s"\`) or whole numbers
of milliseconds. Paths in it are relative to the working directory.

An unknown flag, variable or key, and a value that does not fit, keep the program from starting, and the message names
the nearest right one. Under the names \`nsqd\` and \`nsqlookupd\` unknown *keys* are only warned about, since NSQ's programs
skip them.

## Modes

What runs is picked by the first of these that says so: a link to the binary called \`nsqd\` or \`nsqlookupd\`; the first
word, as in \`bunsq broker\`, \`bunsq lookup\` or \`bunsq nsqd\`; the flag \`-mode\`, the variable \`BUNSQ_MODE\`, the key \`mode\`.
As \`nsqd\` or \`nsqlookupd\`, bunsq takes the same flags without \`-mode\`, \`-version\` prints the release of NSQ it speaks,
and \`-help\` goes to standard error as NSQ's does.

Where none of these says anything, and with \`-mode=all\`, broker and lookup server run in one process. The broker's
settings are as below. The lookup server's begin with \`-lookup-\` on the command line, as in
\`-lookup-http-address=127.0.0.1:4161\`, with \`BUNSQ_LOOKUP_\` in the environment, and stand in the section \`[lookup]\` of the
config file. Its log level and its broadcast address are the broker's where it is given none of its own.

    data_path = "/var/lib/bunsq"
    tcp_address = "0.0.0.0:4150"

    [lookup]
    tcp_address = "0.0.0.0:4160"

Such a file and such an environment serve all modes: a broker by itself leaves the lookup's part alone, and a lookup
server by itself (\`-mode=lookup\`) reads the section \`[lookup]\`, or the whole file where there is none, and the variables
with and without \`LOOKUP_\`.

The process ends with 0 after a signal (SIGINT, SIGTERM, SIGHUP) once all is saved, with 1 when it could not start or
had to give up, or when the config file is wrong or a flag's value out of bounds, with 2 when the command line cannot be
read or the environment is wrong. A second signal ends it at once.
`;

/** The whole of docs/flags.md. */
export function flagsDoc(): string {
  const broker = allFlags(brokerProgramFlags({ mode: undefined }));
  const lookup = allFlags(lookupProgramFlags({ mode: undefined }));
  const own = broker.filter((flag) => flag.own);
  return [
    INTRODUCTION,
    "\n## The broker\n",
    ...sections(broker, "nsqd", "broker"),
    "\n## The lookup server\n",
    ...sections(
      lookup.filter((flag) => !own.some(({ name }) => name === flag.name)),
      "nsqlookupd",
      "lookup server",
    ),
  ].join("");
}

/** @param original the program of NSQ's that the flags come from */
function sections(flags: Flag[], original: string, server: string): string[] {
  const section = (title: string, text: string, chosen: Flag[]) =>
    chosen.length === 0 ? "" : `\n### ${title}\n\n${text}${tableOf(chosen)}`;
  return [
    section(
      `As ${original}'s`,
      "",
      flags.filter((flag) => !flag.own && !flag.idle),
    ),
    section(
      "bunsq's own",
      "",
      flags.filter((flag) => flag.own),
    ),
    section(
      "Taken, without effect",
      `The ${server} starts and logs a warning that says so.\n\n`,
      flags.filter((flag) => flag.idle),
    ),
  ];
}

function tableOf(flags: Flag[]): string {
  const rows = flags.map((flag) => [`\`-${flag.name}\``, keyOf(flag), kindOf(flag), defaultOf(flag), describeRange(flag), meaningOf(flag)]);
  return [["flag", "key", "kind", "default", "takes", "meaning"], ["---", "---", "---", "---", "---", "---"], ...rows]
    .map((row) => `| ${row.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |\n`)
    .join("");
}

function keyOf(flag: Flag): string {
  return isSettableIn(flag, "config") ? `\`${configKey(flag)}\`` : "";
}

function kindOf(flag: Flag): string {
  return flag.kind === "choice" ? "word" : flag.kind;
}

function defaultOf(flag: Flag): string {
  if (flag.defaultDoc !== undefined) return flag.defaultDoc;
  const value = flag.kind === "choice" ? flag.default : showValue(flag, flag.default);
  return value === "" ? "" : `\`${value}\``;
}

function meaningOf(flag: Flag): string {
  const text = flag.idle === undefined ? flag.doc : `${flag.doc}: ${flag.idle.why}`;
  return text.replaceAll("<", "&lt;");
}

if (import.meta.main) writeFileSync(FLAGS_DOC_PATH, flagsDoc());
