import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { allFlags, describeRange, type Flag, showValue } from "../src/cli/flags.ts";
import { brokerProgramFlags, lookupProgramFlags } from "../src/cli/program.ts";

export const FLAGS_DOC_PATH = join(import.meta.dir, "../docs/flags.md");

const INTRODUCTION = `# Flags

<!-- Made from src/cli/broker-flags.ts and src/cli/lookup-flags.ts by \`npm run docs\`. Change it there. -->

Every flag is spelled \`-flag=value\`, \`-flag value\`, or the same with two minuses. A bool is \`-flag\` or
\`-flag=false\`. Durations are written \`1h2m3.5s\`, \`250ms\`, \`100us\`. A word that is no flag is an error.

What runs is picked by the first of these that says so: a link to the binary called \`nsqd\` or \`nsqlookupd\`; the first
word, as in \`bunsq broker\`, \`bunsq lookup\` or \`bunsq nsqd\`; the flag \`-mode\`. As \`nsqd\` or \`nsqlookupd\`, bunsq takes
the same flags without \`-mode\`, and \`-version\` prints the release of NSQ it speaks.

Where none of these says anything, and with \`-mode=all\`, broker and lookup server run in one process. The broker's
flags are as below; the lookup server's begin with \`-lookup-\`, as in \`-lookup-http-address=127.0.0.1:4161\`. Its log
level and its broadcast address are the broker's where it is given none of its own.

The process ends with 0 after a signal (SIGINT, SIGTERM, SIGHUP) once all is saved, with 1 when it could not start or
had to give up, with 2 when the command line is wrong. A second signal ends it at once.
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
      flags.filter((flag) => !flag.own && !flag.support),
    ),
    section(
      "bunsq's own",
      "",
      flags.filter((flag) => flag.own),
    ),
    section(
      "Taken, without effect",
      `The ${server} starts and logs a warning that says so.\n\n`,
      flags.filter((flag) => flag.support !== undefined && flag.support.status !== "refused"),
    ),
    section(
      "Refused for now",
      `Running without them would cost security or correctness, so the ${server} does not start.\n\n`,
      flags.filter((flag) => flag.support?.status === "refused"),
    ),
  ];
}

function tableOf(flags: Flag[]): string {
  const rows = flags.map((flag) => [`\`-${flag.name}\``, kindOf(flag), defaultOf(flag), describeRange(flag), meaningOf(flag)]);
  return [["flag", "kind", "default", "takes", "meaning"], ["---", "---", "---", "---", "---"], ...rows]
    .map((row) => `| ${row.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |\n`)
    .join("");
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
  const text = flag.support === undefined ? flag.doc : `${flag.doc}. Now: ${flag.support.why}`;
  return text.replaceAll("<", "&lt;");
}

if (import.meta.main) writeFileSync(FLAGS_DOC_PATH, flagsDoc());
