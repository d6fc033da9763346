import { Refusal } from "../../../http/server/reply.ts";
import { parsePartition } from "../../topic-settings.ts";
import type { LookupCall } from "../call.ts";

/** The argument `partition`; undefined without one. @throws Refusal 400 INVALID_ARG_TOPIC_PARTITION */
export function partitionArgument({ query }: LookupCall): number | undefined {
  const text = query.get("partition");
  if (text === undefined) return undefined;
  const partition = parsePartition(text);
  if (partition === undefined) throw new Refusal(400, "INVALID_ARG_TOPIC_PARTITION");
  return partition;
}
