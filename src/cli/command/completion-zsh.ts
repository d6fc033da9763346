import type { Command } from "./command.ts";
import { completionEntries, flagValues, flagWord } from "./completion.ts";

/** A script for zsh, for a file named _bunsq. */
export function zshCompletion(commands: readonly Command[]): string {
  const entries = completionEntries(commands);
  const paths = entries.filter(({ path }) => path !== "").map(({ path }) => quoted(path));
  const cases = entries.map(({ path, commands: inner, flags, values }) => {
    const words = [...inner.map(({ name, summary }) => described(name, summary)), ...values.map((value) => described(value, ""))];
    const options = [...flags.map((flag) => described(flagWord(flag), flag.doc)), described("--help", "explain the command")];
    return `    ${path === "" ? "''" : quoted(path)})\n      following=(${words.join(" ")})\n      options=(${options.join(" ")}) ;;\n`;
  });
  const choices = new Map(
    entries.flatMap(({ flags }) => flags.filter((flag) => flagValues(flag).length > 0).map((flag) => [flag.name, flagValues(flag)])),
  );
  const values = [...choices].map(([name, of]) => `    --${name}=*) compset -P '*='; compadd -- ${of.join(" ")}; return ;;\n`);
  return `#compdef bunsq
# Completes bunsq in zsh. Made by: bunsq completion zsh
_bunsq() {
  local word line=''
  local -a following options
  for word in "\${(@)words[2,CURRENT-1]}"; do
    case "\${line:+$line }$word" in
    ${paths.join("|")}) line="\${line:+$line }$word" ;;
    esac
  done
  case "$PREFIX" in
${values.join("")}  esac
  case "$line" in
${cases.join("")}  esac
  if [[ "$PREFIX" == -* ]]; then
    _describe -o 'flag' options -S ''
  elif (( \${#following} )); then
    _describe 'command' following
  else
    _files
  fi
}
# A file in $fpath is run when it is first needed; a script that is sourced only says what it completes.
if [ "\${funcstack[1]-}" = _bunsq ]; then _bunsq; else compdef _bunsq bunsq; fi
`;
}

/** A word with what it means, as _describe takes it. */
function described(word: string, text: string): string {
  const name = word.replaceAll(":", "\\:");
  return quoted(text === "" ? name : `${name}:${text}`);
}

function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
