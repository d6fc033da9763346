import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { allFlags, describeRange, type Flag, showValue } from "../src/cli/flags.ts";
import { programFlags } from "../src/cli/program.ts";

export const FLAGS_DOC_PATH = join(import.meta.dir, "../docs/flags.md");

const INTRODUCTION = `# Flags

<!-- Made from src/cli/broker-flags.ts by \`npm run docs\`. Change it there. -->

Every flag is spelled \`-flag=value\`, \`-flag value\`, or the same with two minuses. A bool is \`-flag\` or
\`-flag=false\`. Durations are written \`1h2m3.5s\`, \`250ms\`, \`100us\`. A word that is no flag is an error.

What runs is picked by the first of these that says so: a link to the binary called \`nsqd\`; the first word, as in
\`bunsq broker\` or \`bunsq nsqd\`; the flag \`-mode\`. As \`nsqd\`, bunsq takes the same flags without \`-mode\`, and
\`-version\` prints the release of NSQ it speaks.

The process ends with 0 after a signal (SIGINT, SIGTERM, SIGHUP) once all is saved, with 1 when it could not start or
had to give up, with 2 when the command line is wrong. A second signal ends it at once.
`;

/** The whole of docs/flags.md. */
export function flagsDoc(): string {
  const flags = allFlags(programFlags({ mode: undefined }));
  const section = (title: string, text: string, chosen: Flag[]) => `\n## ${title}\n\n${text}${tableOf(chosen)}`;
  return [
    INTRODUCTION,
    section(
      "As nsqd's",
      "",
      flags.filter((flag) => !flag.own && !flag.support),
    ),
    section(
      "bunsq's own",
      "",
      flags.filter((flag) => flag.own),
    ),
    section(
      "Taken, without effect yet",
      "The broker starts and logs a warning that says so.\n\n",
      flags.filter((flag) => flag.support?.status === "ignored"),
    ),
    section(
      "Refused for now",
      "Running without them would cost security or correctness, so the broker does not start.\n\n",
      flags.filter((flag) => flag.support?.status === "refused"),
    ),
  ].join("");
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
