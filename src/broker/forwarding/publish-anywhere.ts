import { murmur3 } from "../../frame/murmur3.ts";
import { type PendingPublish, PublishError } from "../acks/pending-publish.ts";
import type { Publishing } from "../topics/publishing.ts";
import type { Origin } from "../trace/trace-name.ts";
import { type ForwardedMessages, oneMessage } from "./forwarded-messages.ts";
import type { MessagePlace } from "./forwarded-publish.ts";
import type { Forwarder } from "./forwarder.ts";
import { Elsewhere, placeOf } from "./place.ts";

/** A publish that is carried out elsewhere, for a caller that waits for a promise. */
export interface RemotePublish extends ForwardedMessages {
  readonly command: PendingPublish["command"];
  /** Idempotency key; empty: none. */
  readonly key: string;
  readonly deferMs: number;
  readonly origin: string;
}

/**
 * Has messages published where their partition is led.
 *
 * @returns where the first one is, once the leader has acknowledged them; undefined if they repeat an earlier publish; rejects with a
 *   LeaderError
 */
export async function publishElsewhere(
  forwarder: Forwarder,
  place: Elsewhere,
  { command, key, deferMs, origin, isRecords, messages }: RemotePublish,
): Promise<MessagePlace | undefined> {
  while (!forwarder.hasRoom(place)) await new Promise<void>((resolve) => forwarder.hasRoom(place, resolve) && resolve());
  const { topic, partition, keyHash } = place;
  return new Promise((resolve, reject) => {
    forwarder.forward({ topic, partition, keyHash, command, key, deferMs, origin, isRecords, messages }, (failure, at) => {
      if (failure === undefined) resolve(at);
      else reject(failure);
    });
  });
}

/** One of the broker's own publishes. */
export interface OwnPublish {
  readonly body: Buffer;
  /** The message's: it goes to the key's partition. Empty: none. */
  readonly key: Uint8Array;
  /** Encoded (frame/header.ts); empty: none. */
  readonly header: Uint8Array;
  /** The publish's; empty: none. */
  readonly idempotencyKey: string;
  readonly deferMs: number;
  readonly origin?: Origin;
}

/**
 * Publishes a message of the broker's own, wherever its partition is led. The topic is made if it does not exist.
 *
 * @returns once the message is as durable as its topic's durability asks; rejects with a PublishError
 */
export async function publishAnywhere(
  publishing: Pick<Publishing, "forwarder" | "knownTopic" | "publish" | "topicNamed">,
  name: string,
  { body, key, header, idempotencyKey, deferMs, origin }: OwnPublish,
): Promise<void> {
  const { forwarder } = publishing;
  const hash = key.length === 0 ? undefined : murmur3(key, 0, key.length, 0);
  const place = forwarder && placeOf(forwarder, name, publishing.knownTopic(name), undefined, hash, idempotencyKey);
  if (forwarder !== undefined && place instanceof Elsewhere) {
    const command = deferMs > 0 ? "DPUB" : "PUB";
    const messages = oneMessage(header, body, 0, body.length);
    await publishElsewhere(forwarder, place, { ...messages, command, key: idempotencyKey, deferMs, origin: origin?.traceName.text ?? "" });
    return;
  }
  const topic = publishing.topicNamed(name);
  if (topic instanceof PublishError) throw topic;
  const partition = place instanceof Elsewhere || place === undefined ? topic.partitionFor(key) : place;
  await publishing.publish(partition, idempotencyKey, body, deferMs, origin, header);
}
