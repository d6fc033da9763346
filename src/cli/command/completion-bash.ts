import type { Command } from "./command.ts";
import { completionEntries, flagValues, flagWord } from "./completion.ts";

/** A script for bash. It needs nothing beside bash itself. */
export function bashCompletion(commands: readonly Command[]): string {
  const entries = completionEntries(commands);
  const paths = entries.filter(({ path }) => path !== "").map(({ path }) => `"${path}"`);
  const words = entries.map(({ path, commands: inner, flags, values }) => {
    const all = [...inner.map(({ name }) => name), ...values, ...flags.map(flagWord), "--help"];
    return `    "${path}") words="${all.join(" ")}" ;;\n`;
  });
  const choices = new Map(
    entries.flatMap(({ flags }) => flags.filter((flag) => flagValues(flag).length > 0).map((flag) => [flag.name, flagValues(flag)])),
  );
  const values = [...choices].map(([name, of]) => `    --${name}) words="${of.join(" ")}" ;;\n`);
  return `# Completes bunsq in bash. Made by: bunsq completion bash
_bunsq() {
  local word at path="" words="" flag=""
  local current="\${COMP_WORDS[COMP_CWORD]}" before="\${COMP_WORDS[COMP_CWORD - 1]}"
  # Bash splits --flag=value into three words.
  if [ "$current" = "=" ]; then flag="$before" current=""; elif [ "$before" = "=" ]; then flag="\${COMP_WORDS[COMP_CWORD - 2]}"; fi
  for ((at = 1; at < COMP_CWORD; at++)); do
    word="\${COMP_WORDS[at]}"
    case "\${path:+$path }$word" in
    ${paths.join(" | ")}) path="\${path:+$path }$word" ;;
    esac
  done
  if [ -n "$flag" ]; then
    case "$flag" in
${values.join("")}    esac
  else
    case "$path" in
${words.join("")}    esac
  fi
  COMPREPLY=($(compgen -W "$words" -- "$current"))
  case "\${COMPREPLY[0]-}" in
  --*=) [ "\${#COMPREPLY[@]}" -gt 1 ] || compopt -o nospace 2> /dev/null ;;
  esac
}
complete -o default -F _bunsq bunsq
`;
}
