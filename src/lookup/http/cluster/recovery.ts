import type { LookupMember } from "../../../cluster/member/lookup-member.ts";
import { get } from "../../../http/client/get.ts";
import { empty, json, Refusal } from "../../../http/server/reply.ts";
import { parseRemoteAddress } from "../../../net/address.ts";
import type { LookupCall } from "../call.ts";
import { needed, partitionOf } from "./arguments.ts";
import { accept, memberOf } from "./member.ts";

// What is left of a partition when all brokers that had everything are gone for good.

const LIMITS = { connectTimeoutMs: 1_000, requestTimeoutMs: 3_000, responseBytes: 8 * 1024 * 1024 };

/** What a replica says that it has; null: it is away, or does not say. */
interface Left {
  readonly epoch: number;
  readonly end: number;
  readonly high_watermark: number;
}

/** GET /cluster/recover?topic=&partition=: which replicas there are, and what those that are alive have. */
export async function recoverable(call: LookupCall): Promise<Response> {
  const member = memberOf(call);
  const [topic, partition] = [call.topicName(), partitionOf(call)];
  const record = member.view.partitions.get(`${topic}/${partition}`)?.value;
  if (record === undefined) throw new Refusal(404, `NO_SUCH_PARTITION: topic ${topic} has no partition ${partition}`);
  const { leader, inSync, replicas } = record;
  const isAlive = (uid: string) => member.names.isAlive(uid);
  const candidates = replicas.map(async (uid) => ({
    uid,
    http: member.names.record(uid)?.http ?? "",
    alive: isAlive(uid),
    in_sync: inSync.includes(uid),
    has: isAlive(uid) ? await leftAt(member, uid, topic, partition) : null,
  }));
  return json({ topic, partition, leader, needed: !inSync.some(isAlive), replicas: await Promise.all(candidates) });
}

/**
 * POST /cluster/recover?topic=&partition=&from=&accept_data_loss=true: has a replica lead that is not in sync. What only those in sync had is
 * lost for good.
 */
export async function recover(call: LookupCall): Promise<Response> {
  const { operators } = memberOf(call);
  const isAccepted = call.query.get("accept_data_loss") === "true";
  accept(await operators.recover(call.topicName(), partitionOf(call), needed(call, "from"), isAccepted, call.clientHost));
  return empty();
}

async function leftAt({ names }: LookupMember, uid: string, topic: string, partition: number): Promise<Left | null> {
  try {
    const server = parseRemoteAddress(names.record(uid)?.http ?? "");
    const answer = JSON.parse(await get(server, `/cluster/replicas?topic=${encodeURIComponent(topic)}`, LIMITS)) as {
      replicas: (Left & { partition: number })[];
    };
    const found = answer.replicas.find((replica) => replica.partition === partition);
    return found === undefined ? null : { epoch: found.epoch, end: found.end, high_watermark: found.high_watermark };
  } catch {
    return null;
  }
}
