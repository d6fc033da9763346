import { goInteger } from "../../../../base/go/integer.ts";
import { fatal, type ProtocolError } from "../../../../frame/error.ts";
import type { Line } from "../../../../frame/line.ts";

/** What stands for a partition where none is named. */
export const ANY_PARTITION = -1;

export const TOPIC_NOT_EXIST = fatal("E_TOPIC_NOT_EXIST", "");

/** The partition in a word of a line; ANY_PARTITION if there is no such word. */
export function readPartition(line: Line, word: number): number | ProtocolError {
  if (line.words <= word) return ANY_PARTITION;
  const known = smallNumber(line.buffer, line.start(word), line.end(word));
  if (known >= 0) return known;
  const partition = goInteger(line.text(word), "Atoi");
  return partition instanceof Error ? fatal("E_BAD_PARTITION", `topic partition is not valid: ${partition.message}`) : partition;
}

/** Refuses a line with more words than its command has. Youzan's servers ignore the partition in it then. */
export function checkWords(line: Line, command: string, most: number): ProtocolError | undefined {
  return line.words > most ? tooManyWords(command) : undefined;
}

export function tooManyWords(command: string): ProtocolError {
  return fatal("E_INVALID", `${command} invalid number of parameters`);
}

/** A number of up to four digits; -1 for anything else. It makes no string. */
function smallNumber(bytes: Uint8Array, from: number, to: number): number {
  if (to === from || to - from > 4) return -1;
  let number = 0;
  for (let at = from; at < to; at++) {
    const digit = bytes[at] - 0x30;
    if (digit < 0 || digit > 9) return -1;
    number = 10 * number + digit;
  }
  return number;
}
