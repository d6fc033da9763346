import type { Flag } from "../flag.ts";
import { isBare } from "../flags.ts";

/**
 * Separates flags from other words, which may come in any order. Behind `--` there are no flags; `-` alone is a word.
 *
 * @param flags decide whether the next word is a flag's value. Unknown ones are taken to have none, and are refused later
 */
export function splitWords(flags: readonly Flag[], args: readonly string[]): { flags: string[]; words: string[] } {
  const split = { flags: [] as string[], words: [] as string[] };
  for (let at = 0; at < args.length; at++) {
    const word = args[at] as string;
    if (word === "--") {
      split.words.push(...args.slice(at + 1));
      break;
    }
    if (!word.startsWith("-") || word === "-") {
      split.words.push(word);
      continue;
    }
    split.flags.push(word);
    const flag = flags.find(({ name }) => name === word.replace(/^--?/, ""));
    const value = args[at + 1];
    if (flag !== undefined && !isBare(flag) && value !== undefined) {
      split.flags.push(value);
      at++;
    }
  }
  return split;
}
