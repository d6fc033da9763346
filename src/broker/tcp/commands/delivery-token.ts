import type { Line } from "../../../frame/line.ts";
import type { ChannelPartition } from "../../topics/channel/channel-partition.ts";
import type { ConsumingClient } from "./client.ts";

/**
 * Whether a FIN, REQ or TOUCH may be about the current delivery of a message. A client that negotiated `delivery_tokens` can say which
 * one it means, by the attempts that it was delivered with: behind a time-out and another delivery, they are others.
 *
 * @param word of the line that says it; a line may have none
 */
export function isCurrentDelivery(
  { identity }: ConsumingClient,
  line: Line,
  word: number,
  { inFlight }: ChannelPartition,
  sequence: number,
): boolean {
  return line.words <= word || !identity.deliveryTokens || inFlight.attemptsOf(sequence) === line.decimal(word);
}
