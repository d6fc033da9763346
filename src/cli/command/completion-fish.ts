import { isBare } from "../flags.ts";
import type { Command } from "./command.ts";
import { completionEntries, flagValues } from "./completion.ts";

/** A script for fish. */
export function fishCompletion(commands: readonly Command[]): string {
  const entries = completionEntries(commands);
  const paths = entries.filter(({ path }) => path !== "").map(({ path }) => quoted(path));
  const lines = entries.flatMap(({ path, commands: inner, flags, values }) => {
    const at = `complete -c bunsq -n ${quoted(`__bunsq_at ${quoted(path)}`)}`;
    return [
      ...inner.map(({ name, summary }) => `${at} -f -a ${quoted(name)} -d ${quoted(summary)}`),
      ...values.map((value) => `${at} -f -a ${quoted(value)}`),
      ...flags.map((flag) => {
        const of = flagValues(flag);
        const value = isBare(flag) ? "" : of.length > 0 ? ` -x -a ${quoted(of.join(" "))}` : " -r";
        return `${at} -l ${flag.name}${value} -d ${quoted(flag.doc)}`;
      }),
      `${at} -l help -d 'explain the command'`,
    ];
  });
  return `# Completes bunsq in fish. Made by: bunsq completion fish
function __bunsq_at
    set -l path ''
    for word in (commandline -opc)[2..]
        set -l longer (string trim -- "$path $word")
        if contains -- "$longer" ${paths.join(" ")}
            set path $longer
        end
    end
    test "$path" = "$argv[1]"
end
${lines.join("\n")}
`;
}

function quoted(text: string): string {
  return `'${text.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}'`;
}
