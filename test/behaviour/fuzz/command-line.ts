import { sizeWord } from "../../support/mutation.ts";
import type { Random } from "../../support/random.ts";

/** A command line, mostly a right one. */
export function line(random: Random, ...words: string[]): Buffer {
  const separator = random.chance(0.01) ? "  " : " ";
  const lineEnd = random.chance(0.02) ? random.pick(["", "\r", "\n\n", "\0\n"]) : random.chance(0.3) ? "\r\n" : "\n";
  return Buffer.from(words.join(separator) + lineEnd);
}

/** Bytes behind their size, mostly the right one. */
export function sized(random: Random, bytes: Buffer): Buffer {
  return Buffer.concat([sizeWord(random, bytes.length), bytes]);
}
