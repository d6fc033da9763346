import type { Fault } from "./fault-run.ts";

/** Cells that fail, and why. They are not played. */
export const KNOWN: readonly { cells: RegExp; why: string }[] = [
  { cells: /\| sync(Folder)? \|/, why: "what a sync covers that failed is not written again" },
  { cells: /\| keys \| (create|truncate|write|remove)/, why: "a start needs to write the file of keys" },
  { cells: /stop \| (journal \| remove|metadata store)/, why: "a stop ends at the first of these failures" },
  { cells: /(log segment|index) \| open .*fsync/, why: "a group sync that fails at one topic refuses the publishes of all" },
  { cells: /recycled segment/, why: "a recycled segment that cannot be renamed refuses publishes" },
  { cells: /index \| (remove|open)/, why: "an index without its segment counts as damage" },
  { cells: /bucket|status records|metadata store|journal|topic file|folder of a topic|log segment \| read/, why: "not yet looked into" },
];

/** The name of a cell, as KNOWN has it. */
export function nameOf({ moment, kind, call, duration, durability }: Fault): string {
  return [moment, kind.name, call, duration, durability].join(" | ");
}
