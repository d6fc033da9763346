import type { Logger } from "../../base/logger.ts";
import type { LastRun } from "../storage/file-notes.ts";
import type { TopicPartition } from "../topics/topic-partition.ts";
import type { TopicRegistry } from "../topics/topic-registry.ts";

/**
 * Skips sequences that a topic's log does not have, so that their ids are not used again.
 *
 * @param next one more than the highest sequence that is known of
 * @param synced messages below were on the disk once: if they are gone, they were not lost in a crash
 * @param isKnown the messages were in the log when the last run ended, and no power cut came after that
 */
export function skipLost(logger: Logger, registry: TopicRegistry, topic: TopicPartition, next: number, synced = 0, isKnown = false): void {
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

/**
 * What was before the first segment of a log and a channel has still to get: the files of a segment are gone, and no other file
 * names them. Only a clean stop says exactly what channels have still to get: after any other end a segment may have been removed
 * whose messages were finished, and the metadata store does not know yet that they were.
 *
 * @param needed the first sequence that a channel has still to get, by rows that are not damaged
 * @returns a line about it; undefined if nothing is missing
 */
export function lostBeginning(lastRun: LastRun, name: string, needed: number, startSequence: number, next: number): string | undefined {
  if (lastRun !== "clean" || startSequence <= needed || startSequence === next) return undefined;
  return `TOPIC(${name}): its log begins at sequence ${startSequence}, but messages from ${needed} on were in it; these are lost`;
}
