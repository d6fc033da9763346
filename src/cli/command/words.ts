import { isValidName } from "../../frame/names.ts";
import type { BoolFlag } from "../flag.ts";
import { quote, UsageError } from "../flags.ts";
import type { Word } from "./command.ts";

// Words and flags that several commands have.

export const TOPIC: Word = { name: "TOPIC" };
export const CHANNEL: Word = { name: "CHANNEL" };

export const jsonFlag: BoolFlag = { name: "json", kind: "bool", own: true, default: false, doc: "print JSON, for programs" };

export const yesFlag: BoolFlag = {
  name: "yes",
  kind: "bool",
  own: true,
  default: false,
  doc: "do not ask; without a terminal nothing is asked anyway",
};

/** The name of a topic or a channel. @throws UsageError for one that no broker accepts */
export function checkName(kind: "topic" | "channel", name: string | undefined): string {
  if (name !== undefined && isValidName(name)) return name;
  throw new UsageError(`invalid ${kind} ${quote(name ?? "")}: 1 to 64 of a-z A-Z 0-9 . _ -, and #ephemeral behind them if wanted`);
}
