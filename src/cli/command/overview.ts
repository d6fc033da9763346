import type { Command } from "./command.ts";
import { EXIT_OK } from "./command.ts";
import type { Terminal } from "./terminal.ts";

/** Commands that belong together, for the overview. */
export interface CommandSection {
  title: string;
  commands: readonly Command[];
}

const EXIT_CODES = `Exit codes: 0 it worked, 1 it failed, 2 the command line is wrong; bunsq check, import and export have their own.
`;

/** What the program is and which commands it has, in about ten lines. */
export function overview(sections: readonly CommandSection[]): string {
  const width = Math.max(...sections.map(({ title }) => title.length));
  const lines = sections.map(({ title, commands }) => `  ${title.padEnd(width)}   ${commands.map(({ name }) => name).join(", ")}\n`);
  return `bunsq is a message broker that speaks NSQ's protocol. Without a command it runs broker, lookup and console.
usage: bunsq [COMMAND] [flags]

${lines.join("")}
  bunsq help commands   what each command does      bunsq help COMMAND   one command with its flags
  bunsq help flags      the flags of the servers    https://nsq.io       the protocol, and clients for it
`;
}

/** What each command does, in a line each. */
export function commandList(sections: readonly CommandSection[]): string {
  const all = sections.flatMap(({ commands }) => commands);
  const width = Math.max(...all.map(({ name }) => name.length));
  const lines = sections.map(
    ({ title, commands }) => `\n${title}:\n${commands.map(({ name, summary }) => `  ${name.padEnd(width)}   ${summary}\n`).join("")}`,
  );
  return `usage: bunsq [COMMAND] [flags]\n${lines.join("")}\n${EXIT_CODES}`;
}

/** A command whose whole text is known. @param explain returns the text for the word behind the command, if there is one */
export function textCommand(
  parts: Pick<Command, "name" | "summary" | "usage" | "words">,
  explain: (words: readonly string[]) => string,
): Command {
  return {
    ...parts,
    flags: [],
    subcommands: [],
    help: (path) => `usage: ${path} ${parts.usage}\n\n${parts.summary}.\n`,
    run: async (path: string, args: readonly string[], terminal: Terminal) => {
      const wantsHelp = args.some((word) => /^--?h(elp)?$/.test(word));
      await terminal.print(wantsHelp ? `usage: ${path} ${parts.usage}\n\n${parts.summary}.\n` : explain(args));
      return EXIT_OK;
    },
  };
}
