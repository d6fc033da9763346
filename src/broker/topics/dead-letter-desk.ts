import { PublishError } from "../acks/pending-publish.ts";
import { publishAnywhere } from "../forwarding/publish-anywhere.ts";
import type { Publishing } from "./publishing.ts";

/** Publishes dead letters. It is there before topics are, and before what publishes to them. */
export class DeadLetterDesk {
  publishing: Pick<Publishing, "publish" | "topicNamed" | "forwarder" | "knownTopic"> | undefined;

  /**
   * Publishes one message. The topic is made if it does not exist.
   *
   * @param idempotencyKey of the publish
   * @param key of the message: it goes to the key's partition. Empty: none
   * @param header encoded (frame/header.ts)
   * @returns resolves once the message is as durable as its topic's durability asks; rejects with a PublishError
   */
  async publish(topicName: string, idempotencyKey: string, key: Uint8Array, body: Buffer, header: Uint8Array): Promise<void> {
    if (this.publishing === undefined) throw new PublishError("the broker starts");
    await publishAnywhere(this.publishing, topicName, { body, key, header, idempotencyKey, deferMs: 0 });
  }
}
