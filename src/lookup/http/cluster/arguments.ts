import { Refusal } from "../../../http/server/reply.ts";
import { parsePartition } from "../../topic-settings.ts";
import type { LookupCall } from "../call.ts";

/** An argument that must be given. @throws Refusal 400 MISSING_ARG_… */
export function needed(call: LookupCall, name: string): string {
  const value = call.argument(name, `MISSING_ARG_${name.toUpperCase()}`);
  if (value === "") throw new Refusal(400, `MISSING_ARG_${name.toUpperCase()}`);
  return value;
}

/** @throws Refusal 400 MISSING_ARG_PARTITION, INVALID_ARG_PARTITION */
export function partitionOf(call: LookupCall): number {
  const partition = parsePartition(call.argument("partition", "MISSING_ARG_PARTITION"));
  if (partition === undefined) throw new Refusal(400, "INVALID_ARG_PARTITION");
  return partition;
}

/** @throws Refusal 400 MISSING_ARG_…, INVALID_ARG_… */
export function wholeNumber(call: LookupCall, name: string, least: number, most: number): number {
  const text = needed(call, name);
  const value = /^\d{1,9}$/.test(text) ? Number(text) : Number.NaN;
  if (!(value >= least && value <= most)) throw new Refusal(400, `INVALID_ARG_${name.toUpperCase()}`);
  return value;
}
