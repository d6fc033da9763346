import { empty } from "../../http/reply.ts";
import { existingTopic, topicToPublish, validExistingTopic } from "./arguments.ts";
import type { HttpCall } from "./call.ts";

/** POST /topic/create?topic= */
export function createTopic(call: HttpCall): Response {
  topicToPublish(call);
  return empty();
}

/** POST /topic/delete?topic= — with its channels and messages; hangs up on their consumers. */
export function deleteTopic(call: HttpCall): Response {
  call.broker.deleteTopic(existingTopic(call).name);
  return empty();
}

/** POST /topic/empty?topic= — drops what no channel has got yet. */
export function emptyTopic(call: HttpCall): Response {
  validExistingTopic(call).empty();
  return empty();
}

/** POST /topic/pause?topic= — its channels get nothing from it until it is unpaused. */
export function pauseTopic(call: HttpCall): Response {
  existingTopic(call).pause();
  return empty();
}

/** POST /topic/unpause?topic= */
export function unpauseTopic(call: HttpCall): Response {
  existingTopic(call).unpause();
  return empty();
}
