import type { Logger } from "../../base/logger.ts";
import type { Topic } from "../topics/topic.ts";
import type { TopicRegistry } from "../topics/topic-registry.ts";

/**
 * Skips sequences that a topic's log does not have, so that their ids are not used again.
 *
 * @param next one more than the highest sequence that is known of
 * @param synced messages below were on the disk once: if they are gone, they were not lost in a crash
 * @param isKnown the messages were in the log when the last run ended, and no power cut came after that
 */
export function skipLost(logger: Logger, registry: TopicRegistry, topic: Topic, next: number, synced = 0, isKnown = false): void {
  const from = topic.log.next;
  if (next <= from) return;
  topic.skipLost(next);
  const what = `TOPIC(${topic.name}): its log ends before sequence ${from}`;
  // A kill also leaves this, without a loss, if it comes after deferred messages were noted to join the log and before they did.
  if (from >= synced && !isKnown) {
    logger.warn(`${what}; messages up to ${next - 1} were being written to it, and their ids are not used again`);
    return;
  }
  registry.countCorrupt(topic.name);
  logger.error(`${what}, but messages up to ${next - 1} were in it; these are lost, and their ids are not used again`);
}
