import { murmur3 } from "../../frame/murmur3.ts";
import { isEphemeral } from "../../frame/names.ts";
import { Refusal } from "../../http/server/reply.ts";
import { LeaderError, type PendingPublish } from "../acks/pending-publish.ts";
import type { ForwardedMessages } from "../forwarding/forwarded-messages.ts";
import type { MessagePlace } from "../forwarding/forwarded-publish.ts";
import { type Elsewhere, placeOf } from "../forwarding/place.ts";
import { publishElsewhere } from "../forwarding/publish-anywhere.ts";
import type { Topic } from "../topics/topic.ts";
import type { TopicPartition } from "../topics/topic-partition.ts";
import { partitionToPublish, validTopic } from "./arguments.ts";
import type { BrokerApi, HttpCall } from "./call.ts";

/** A topic that a request publishes to. */
export interface NamedTopic {
  readonly name: string;
  /** Undefined: other brokers of the cluster have it, or it is to be made there. */
  readonly topic: Topic | undefined;
}

/** The topic to publish to. It is made if it does not exist; one of the cluster, when something is published. @throws Refusal 400 */
export function topicToPublish({ broker, query }: Pick<HttpCall, "broker" | "query">): NamedTopic {
  const name = validTopic(query.get("topic"));
  return { name, topic: openTopic(broker, name) };
}

function openTopic({ registry, publishing }: BrokerApi, name: string): Topic | undefined {
  const known = registry.topics.get(name);
  if (known !== undefined || publishing.forwarder === undefined || isEphemeral(name)) return known ?? registry.topic(name);
  registry.checkWaiting(name);
  return undefined;
}

/**
 * Where a request publishes to: the partition that the argument `partition` names, else that of the key, else each in turn.
 *
 * @param key of the messages; empty: none
 * @param idempotencyKey reads that of the request; empty: none
 * @throws what that throws; Refusal 400 INVALID_ARG_PARTITION, 404 PARTITION_NOT_FOUND; 409 PARTITION_NOT_HERE if another broker has it, and is not asked
 */
export function placeToPublish(
  call: HttpCall,
  { name, topic }: NamedTopic,
  key: Uint8Array,
  idempotencyKey: (call: HttpCall) => string,
): TopicPartition | Elsewhere {
  const { forwarder } = call.broker.publishing;
  if (forwarder !== undefined) {
    const text = call.query.get("partition");
    if (text !== undefined && !/^\d{1,4}$/.test(text)) throw new Refusal(400, "INVALID_ARG_PARTITION");
    const index = text === undefined ? undefined : Number(text);
    const routed = forwarder.topic(name);
    if (routed !== undefined && index !== undefined && index >= routed.partitions) throw new Refusal(404, "PARTITION_NOT_FOUND");
    const hash = key.length === 0 ? undefined : murmur3(key, 0, key.length, 0);
    const place = placeOf(forwarder, name, topic, index, hash, idempotencyKey(call));
    if (place !== undefined) return place;
  }
  return partitionToPublish(call, topic ?? call.broker.registry.topic(name), key);
}

/**
 * Has another broker publish what a request brought.
 *
 * @returns where the first message is; undefined if an earlier request was repeated
 * @throws LeaderError
 */
export async function publishFrom(
  { broker, clientHost }: HttpCall,
  place: Elsewhere,
  messages: ForwardedMessages,
  command: PendingPublish["command"],
  key: string,
  deferMs: number,
): Promise<MessagePlace | undefined> {
  const { publishing } = broker;
  const leaving = publishing.leavingRefusal();
  if (leaving !== undefined) throw leaving;
  if (publishing.forwarder === undefined) throw new LeaderError(`another broker leads topic ${place.topic}`, "E_FAILED_ON_NOT_LEADER");
  return publishElsewhere(publishing.forwarder, place, { ...messages, command, key, deferMs, origin: `HTTP ${clientHost}` });
}
