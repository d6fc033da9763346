import { Refusal } from "../../../http/server/reply.ts";
import { MAX_PARTITIONS } from "../../topic-settings.ts";
import type { LookupCall } from "../call.ts";

const MAX_REPLICAS = 5;
const MAX_RETENTION_DAYS = 60;
const MAX_SYNC_EVERY = 4000;
const DAY_MS = 86_400_000;

/** @throws Refusal 400 MISSING_ARG_TOPIC_PARTITION_NUM, INVALID_ARG_TOPIC_PARTITION_NUM */
export function partitionCount(call: LookupCall): number {
  const text = call.argument("partition_num", "MISSING_ARG_TOPIC_PARTITION_NUM");
  return wholeNumber(text, 1, MAX_PARTITIONS, "INVALID_ARG_TOPIC_PARTITION_NUM");
}

/** The argument `replicator`; undefined without one. @throws Refusal 400 */
export function replicaCount({ query }: LookupCall): number | undefined {
  const text = query.get("replicator");
  return text === undefined ? undefined : wholeNumber(text, 1, MAX_REPLICAS, "INVALID_ARG_TOPIC_REPLICATOR");
}

/** Checks the argument `replicator`, if there is one: without a cluster there is one replica. @throws Refusal 400 */
export function checkReplicas(call: LookupCall): void {
  if ((replicaCount(call) ?? 1) > 1)
    throw noNode("several replicas need a cluster, which this lookup server does not have; give replicator=1");
}

/** The answer if partitions cannot be put anywhere, as Youzan's server begins it. */
export function noNode(reason: string): Refusal {
  return new Refusal(400, `ErrType:9 ErrCode:1 : No node is available for topic: ${reason}`);
}

/** Whether a boolean argument is given and true. @throws Refusal 400 INVALID_ARG_… */
export function isSet({ query }: LookupCall, name: string): boolean {
  const text = query.get(name) ?? "false";
  if (text !== "true" && text !== "false") throw new Refusal(400, `INVALID_ARG_${name.toUpperCase()}`);
  return text === "true";
}

/** The order of channels that are made from now on, if it is given. @throws Refusal 400 INVALID_ARG_CHANNEL_ORDER */
export function channelOrder({ query }: LookupCall): { channelOrder?: "none" | "key" | "partition" } {
  const order = query.get("channel_order");
  if (order === undefined) return {};
  if (order !== "none" && order !== "key" && order !== "partition") throw new Refusal(400, "INVALID_ARG_CHANNEL_ORDER");
  return { channelOrder: order };
}

/** How long finished messages are kept, and when a publish is acknowledged, as far as it is given. 0 days: not at all. @throws Refusal 400 */
export function storageOf(call: LookupCall): { retentionMs?: number; durability?: "write" | "fsync" } {
  const days = retentionDays(call);
  const every = syncEvery(call);
  return {
    ...(days !== undefined && { retentionMs: days * DAY_MS }),
    ...(every !== undefined && { durability: every === 1 ? "fsync" : "write" }),
  };
}

/** The calls with which a broker is told `retention`, in days, and `syncdisk`, in messages between syncs. 0: what the broker's flags say. */
export function storageCalls(call: LookupCall, topic: string): { path: string; query: Record<string, string> }[] {
  const calls: { path: string; query: Record<string, string> }[] = [];
  const days = retentionDays(call);
  if (days !== undefined) {
    const query: Record<string, string> = days === 0 ? { topic, default: "true" } : { topic, time: `${days * 24}h` };
    calls.push({ path: "/topic/retention", query });
  }
  const every = syncEvery(call);
  if (every !== undefined) {
    const level = every === 0 ? "default" : every === 1 ? "fsync" : "write";
    calls.push({ path: "/topic/durability", query: { topic, level } });
  }
  return calls;
}

function retentionDays({ query }: LookupCall): number | undefined {
  const retention = query.get("retention");
  if (retention === undefined) return undefined;
  const days = wholeNumber(retention, 0, Number.MAX_SAFE_INTEGER, "INVALID_ARG_TOPIC_RETENTION");
  if (days > MAX_RETENTION_DAYS) throw new Refusal(400, "max retention days allowed exceed");
  return days;
}

function syncEvery({ query }: LookupCall): number | undefined {
  const syncdisk = query.get("syncdisk");
  return syncdisk === undefined ? undefined : wholeNumber(syncdisk, 0, MAX_SYNC_EVERY, "INVALID_ARG_TOPIC_SYNCDISK");
}

function wholeNumber(text: string, least: number, most: number, invalid: string): number {
  const value = /^\d{1,9}$/.test(text) ? Number(text) : Number.NaN;
  if (!(value >= least && value <= most)) throw new Refusal(400, invalid);
  return value;
}
