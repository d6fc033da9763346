import { type Command, command, EXIT_OK } from "../command/command.ts";
import { bashCompletion } from "../command/completion-bash.ts";
import { fishCompletion } from "../command/completion-fish.ts";
import { zshCompletion } from "../command/completion-zsh.ts";
import type { CommandSection } from "../command/overview.ts";

const SHELLS = ["bash", "zsh", "fish"] as const;
const WRITERS: Record<string, (commands: readonly Command[]) => string> = {
  bash: bashCompletion,
  zsh: zshCompletion,
  fish: fishCompletion,
};

/** `bunsq completion`. @param sections returns the table of commands, which has this one too */
export function completionCommand(sections: () => readonly CommandSection[]): Command {
  return command<object>({
    name: "completion",
    summary: "Print a script that completes commands and flags in a shell",
    about: `bash: bunsq completion bash > ~/.local/share/bash-completion/completions/bunsq
zsh:  bunsq completion zsh > a file named _bunsq in a folder of $fpath
fish: bunsq completion fish > ~/.config/fish/completions/bunsq.fish`,
    words: [{ name: "SHELL", values: SHELLS }],
    table: { options: {}, others: [] },
    run: async ({ words, terminal }) => {
      await terminal.print(WRITERS[words[0] ?? ""]?.(sections().flatMap(({ commands }) => commands)) ?? "");
      return EXIT_OK;
    },
  });
}
