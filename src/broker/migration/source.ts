import { statSync } from "node:fs";
import { StartError } from "../../base/start-error.ts";
import { isEphemeral } from "../../frame/names.ts";
import { type NsqdMetadata, readNsqdMetadata } from "../../nsqd-data/nsqd-metadata.ts";
import { fileName, listQueues, type QueueFiles } from "../../nsqd-data/queue-files.ts";

/** A channel to import. */
export interface SourceChannel {
  readonly name: string;
  paused: boolean;
  /** Usually one. A data path that was copied from Windows may have two, with different separators in their names. */
  readonly queues: QueueFiles[];
}

/** A topic to import. */
export interface SourceTopic {
  readonly name: string;
  paused: boolean;
  readonly channels: Map<string, SourceChannel>;
  /** The topic's own queue: its messages belong to all channels. */
  readonly queues: QueueFiles[];
}

/** What a data path of nsqd has to import. */
export interface NsqdSource {
  readonly folder: string;
  /** By name. */
  readonly topics: readonly SourceTopic[];
  /** What is left out or looks wrong, one sentence each. Damage inside files is found when they are read. */
  readonly warnings: readonly string[];
  /** Size of all message files to import. */
  readonly bytes: number;
}

/**
 * Lists the topics, channels and queues in a data path of nsqd. nsqd.dat may be missing or damaged: then the names of the queues'
 * files say which topics and channels there are. Queues with files that nsqd.dat does not list are imported too, because nsqd
 * would deliver their messages once the topic or channel is created again.
 *
 * @throws StartError if the folder cannot be read
 */
export function readNsqdSource(folder: string): NsqdSource {
  try {
    return read(folder);
  } catch (error) {
    throw new StartError(`cannot read nsqd's data in ${folder}: ${(error as Error).message}`);
  }
}

function read(folder: string): NsqdSource {
  const warnings: string[] = [];
  const topics = new Map<string, SourceTopic>();
  const metadata = readNsqdMetadata(folder);
  if (metadata === undefined)
    warnings.push(`${folder} has no nsqd.dat: no topic or channel is paused, and those without messages are missing`);
  else if (metadata instanceof Error)
    warnings.push(`${metadata.message}; topics and channels are taken from the names of the queues' files`);
  else {
    warnings.push(...metadataWarnings(metadata));
    for (const { name, paused, channels } of metadata.topics) {
      const known = channels.map((channel): [string, SourceChannel] => [channel.name, { ...channel, queues: [] }]);
      topics.set(name, { name, paused, channels: new Map(known), queues: [] });
    }
  }
  const isListed = metadata !== undefined && !(metadata instanceof Error);
  let bytes = 0;
  for (const queue of listQueues(folder)) {
    for (const name of queue.bad) warnings.push(`${name} could not be read by nsqd; it is not imported, and may have good messages`);
    if (queue.numbers.length === 0) continue;
    if (isEphemeral(queue.topic) || isEphemeral(queue.channel ?? "")) {
      warnings.push(`${queue.prefix} is ephemeral; the ${queue.numbers.length} files that it has are not imported`);
      continue;
    }
    const size = queue.numbers.reduce((sum, number) => sum + sizeOf(`${folder}/${fileName(queue.prefix, number)}`), 0);
    bytes += size;
    if (!addQueue(topics, queue) && isListed && size > 0)
      warnings.push(`${queue.prefix} is not in nsqd.dat; its messages are imported all the same`);
  }
  const sorted = [...topics.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
  return { folder, topics: sorted, warnings, bytes };
}

/** @returns false if the topic or the channel was not known */
function addQueue(topics: Map<string, SourceTopic>, queue: QueueFiles): boolean {
  let known = true;
  let topic = topics.get(queue.topic);
  if (topic === undefined) {
    known = false;
    topic = { name: queue.topic, paused: false, channels: new Map(), queues: [] };
    topics.set(queue.topic, topic);
  }
  if (queue.channel === undefined) {
    topic.queues.push(queue);
    return known;
  }
  let channel = topic.channels.get(queue.channel);
  if (channel === undefined) {
    known = false;
    channel = { name: queue.channel, paused: false, queues: [] };
    topic.channels.set(queue.channel, channel);
  }
  channel.queues.push(queue);
  return known;
}

function metadataWarnings({ file, version, release, leftOut }: NsqdMetadata): string[] {
  const warnings = leftOut.map(({ topic, channel, reason }) => {
    const what =
      channel === undefined ? `topic ${JSON.stringify(topic)}` : `channel ${JSON.stringify(channel)} of topic ${JSON.stringify(topic)}`;
    return `${file}: ${what} is not imported: ${reason === "ephemeral" ? "it is ephemeral" : "its name is not valid"}`;
  });
  if (release === "newer" || release === "unknown") {
    warnings.push(
      `${file} is of nsqd ${JSON.stringify(version)}, and this bunsq knows the files of 1.3.0 and older; what is readable is imported`,
    );
  }
  return warnings;
}

function sizeOf(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0;
}
