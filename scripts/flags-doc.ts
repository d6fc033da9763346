import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { configKey } from "../src/cli/config-file.ts";
import { type Flag, isSettableIn } from "../src/cli/flag.ts";
import { allFlags } from "../src/cli/flags.ts";
import { adminProgramFlags, brokerProgramFlags, lookupProgramFlags, modeFlag } from "../src/cli/modes.ts";
import { describeRange, showValue } from "../src/cli/values.ts";

export const FLAGS_DOC_PATH = join(import.meta.dir, "../docs/flags.md");

const INTRODUCTION = `# Configuration

<!-- Generated from src/cli/broker-flags.ts, src/cli/cluster-flags.ts, src/cli/lookup-flags.ts and src/cli/admin-flags.ts by \`npm run docs\`. Change it there. -->

A setting is taken from the first of these that has it: the command line, the environment, the config file, the default.

**The command line.** Write a flag as \`-flag=value\` or \`-flag value\`, with one dash or two. A bool is \`-flag\` or
\`-flag=false\`. Durations are written \`1h2m3.5s\`, \`250ms\` or \`100us\`. For a list, repeat the flag or separate the values with
commas; of any other flag that is repeated, the last one counts. A word that is no flag is an error.

**The environment.** The variable of \`-max-msg-size\` is \`BUNSQ_MAX_MSG_SIZE\`, and so on for every flag. Values are written as on
the command line, lists with commas. An empty variable counts as not set. A variable that resembles no flag causes only a
warning, and those that Kubernetes sets for a service are ignored.

**The config file**, named by \`-config\` or \`BUNSQ_CONFIG\`, is TOML with the keys of nsqd, nsqlookupd and nsqadmin, which are in the tables below.
Files written for these load unchanged. Durations may be strings (\`"1m30s"\`) or whole numbers of
milliseconds. Paths in it are relative to the working directory.

An unknown flag, variable or key, and a value out of bounds, keep the program from starting, and the message suggests the
nearest right name. Under the names \`nsqd\`, \`nsqlookupd\` and \`nsqadmin\` an unknown *key* causes only a warning, because NSQ's programs
ignore it.

## Modes

The first of these decides what runs: a link to the binary named \`nsqd\`, \`nsqlookupd\` or \`nsqadmin\`; the first word, as in
\`bunsq broker\`, \`bunsq lookup\`, \`bunsq admin\` or \`bunsq nsqd\`; the flag \`-mode\`, the variable \`BUNSQ_MODE\`, the key \`mode\`. As \`nsqd\`,
\`nsqlookupd\` or \`nsqadmin\`, bunsq has the same flags except \`-mode\`, \`-version\` prints the release of NSQ whose protocol it speaks, and \`-help\`
goes to standard error as NSQ's does.

If nothing decides, and with \`-mode=all\`, broker, lookup server and console run in one process. The broker's settings are as below. The
lookup server's settings begin with \`-lookup-\` on the command line, as in \`-lookup-http-address=127.0.0.1:4161\`, and with
\`BUNSQ_LOOKUP_\` in the environment; in the config file they are in the section \`[lookup]\`. If its log level, broadcast address,
allowed hosts or debug flag is not set, the broker's is used; so are the broker's settings of the cluster, unless \`-lookup-etcd-endpoints\` is
set. For the console that is \`-admin-\`, \`BUNSQ_ADMIN_\` and \`[admin]\`; its log level and allowed hosts default to the broker's. \`-admin-user\` has the prefix already. The console shows the brokers that the
process's lookup server knows, those of the lookup servers in \`-admin-lookupd-http-address\` too, or only the brokers in
\`-admin-nsqd-http-address\`. Its certificate is that of \`-admin-tls-cert\`, not the broker's. \`-console=false\` turns it off.

    data_path = "/var/lib/bunsq"
    tcp_address = "0.0.0.0:4150"

    [lookup]
    tcp_address = "0.0.0.0:4160"

    [admin]
    http_address = "0.0.0.0:4171"

One file and one environment serve all modes. A broker alone ignores the other servers' parts. A lookup server alone
(\`-mode=lookup\`) reads the section \`[lookup]\`, or the whole file if there is no section, and the variables with and without
\`LOOKUP_\`; the console alone (\`-mode=admin\`) does so with its own.

## Signals

| signal | effect |
| --- | --- |
| SIGINT, SIGTERM | closes the connections, saves everything and ends; a second one ends the process at once |
| SIGHUP | the same; but nothing if the process was started with SIGHUP ignored, as \`nohup\` does |
| SIGUSR2 | [drains](operations.md#drain) the broker, which then ends; a lookup server alone ends as at SIGTERM |
| others | what the system does by default: SIGUSR1 kills the process. No acknowledged message is lost |

No signal reloads the configuration or a certificate, or reopens a log file. Log lines go to standard error, for the supervisor to keep and rotate.

## Exit codes

| code | meaning |
| --- | --- |
| 0 | stopped by a signal (SIGINT, SIGTERM, SIGHUP), and everything is saved |
| 1 | could not start or had to give up; the config file is wrong or a flag's value is out of bounds; or a second signal ended the process at once |
| 2 | the command line cannot be read, or the environment is wrong |
`;

/** The whole of docs/flags.md. */
export function flagsDoc(): string {
  const broker = allFlags(brokerProgramFlags({ mode: undefined }));
  const lookup = allFlags(lookupProgramFlags({ mode: undefined }));
  const admin = allFlags(adminProgramFlags({ mode: undefined }));
  return [
    INTRODUCTION,
    "\n## The broker\n",
    ...sections(broker, "nsqd", "broker"),
    "\n## The lookup server\n",
    ...sections(
      lookup.filter(({ name }) => name !== modeFlag.name),
      "nsqlookupd",
      "lookup server",
    ),
    "\n## The console\n",
    ...sections(
      admin.filter(({ name }) => name !== modeFlag.name),
      "nsqadmin",
      "console",
    ),
  ].join("");
}

/** @param original NSQ's program that has these flags */
function sections(flags: Flag[], original: string, server: string): string[] {
  const section = (title: string, text: string, chosen: Flag[]) =>
    chosen.length === 0 ? "" : `\n### ${title}\n\n${text}${tableOf(chosen)}`;
  return [
    section(
      `${original}'s flags`,
      "",
      flags.filter((flag) => !flag.own && !flag.idle),
    ),
    section(
      "bunsq's own flags",
      "",
      flags.filter((flag) => flag.own),
    ),
    section(
      "Accepted without effect",
      `Setting one of these only causes a warning in the log of the ${server}.\n\n`,
      flags.filter((flag) => flag.idle),
    ),
  ];
}

function tableOf(flags: Flag[]): string {
  const rows = flags.map((flag) => [`\`-${flag.name}\``, keyOf(flag), kindOf(flag), defaultOf(flag), describeRange(flag), meaningOf(flag)]);
  return [["flag", "key", "kind", "default", "bounds", "meaning"], ["---", "---", "---", "---", "---", "---"], ...rows]
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
