import { Refusal } from "../../../http/server/reply.ts";
import { MAX_PARTITIONS } from "../../topic-settings.ts";
import type { LookupCall } from "../call.ts";

/** The argument `partition`; undefined without one. @throws Refusal 400 INVALID_ARG_TOPIC_PARTITION */
export function partitionArgument({ query }: LookupCall): number | undefined {
  const text = query.get("partition");
  if (text === undefined) return undefined;
  const partition = /^\d{1,4}$/.test(text) ? Number(text) : MAX_PARTITIONS;
  if (partition >= MAX_PARTITIONS) throw new Refusal(400, "INVALID_ARG_TOPIC_PARTITION");
  return partition;
}
