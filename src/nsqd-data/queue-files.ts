import { isValidName } from "../frame/names.ts";
import { type SourceFiles, systemFiles } from "./files.ts";

/**
 * How nsqd names a queue's files (nsqd/topic.go, nsqd/channel.go, nsqd/dqname.go, go-diskqueue's fileName):
 *
 *     TOPIC.diskqueue.meta.dat           depth, read position and write position
 *     TOPIC.diskqueue.000000.dat         messages; the number has at least six digits
 *     TOPIC:CHANNEL.diskqueue.…          a channel's queue; on Windows TOPIC;CHANNEL
 *     ….diskqueue.000000.dat.bad         a file that nsqd failed to read
 *     ….diskqueue.meta.dat.NUMBER.tmp    left by a crash while the metadata was written
 *
 * The names are unambiguous: neither topics nor channels may contain ":" or ";", and the part after the queue's name is matched
 * at the end. So a topic named "a.diskqueue.000000.dat" is not mistaken for a file of topic "a".
 */
const FILE_NAME = /^([^:;]+)(?:[:;]([^:;]+))?\.diskqueue\.(?:meta\.dat|(\d{6}|[1-9]\d{6,})\.dat(\.bad)?)$/;

/** The files of one topic's or one channel's queue in a data path. */
export interface QueueFiles {
  readonly topic: string;
  /** Undefined for the topic's own queue. */
  readonly channel: string | undefined;
  /** The part of the file names before ".diskqueue.". */
  readonly prefix: string;
  /** Whether it has a metadata file. */
  readonly hasMetadata: boolean;
  /** Numbers of its message files, ascending. */
  readonly numbers: readonly number[];
  /** Names of the files that nsqd failed to read, in order. Neither nsqd nor the reader reads them again. */
  readonly bad: readonly string[];
}

/**
 * Lists the queues that have files in a folder, ordered by topic and channel, a topic's own queue first. Other files are
 * ignored. A queue may belong to a topic or channel that nsqd.dat does not name: nsqd does not touch its files until the
 * topic or channel is created again. A channel of an ephemeral topic has files too, unless the channel is ephemeral itself.
 *
 * @throws the kernel's error if the folder cannot be listed
 */
export function listQueues(folder: string, files: SourceFiles = systemFiles): QueueFiles[] {
  const queues = new Map<string, { topic: string; channel: string | undefined; meta: boolean; numbers: number[]; bad: string[] }>();
  for (const name of files.list(folder).sort()) {
    const parsed = parseFileName(name);
    if (parsed === undefined) continue;
    const { topic, channel, prefix } = parsed;
    const queue = queues.get(prefix) ?? { topic, channel, meta: false, numbers: [], bad: [] };
    queues.set(prefix, queue);
    if (parsed.bad) queue.bad.push(name);
    else if (parsed.number === undefined) queue.meta = true;
    else queue.numbers.push(parsed.number);
  }
  return [...queues]
    .map(([prefix, { topic, channel, meta, numbers, bad }]) => ({
      topic,
      channel,
      prefix,
      hasMetadata: meta,
      numbers: numbers.sort((a, b) => a - b),
      bad,
    }))
    .sort((a, b) => compare(a.topic, b.topic) || compare(a.channel ?? "", b.channel ?? "") || compare(a.prefix, b.prefix));
}

/** The part of a queue's file names before ".diskqueue.": the topic, or topic and channel. */
export function queuePrefix(topic: string, channel?: string): string {
  return channel === undefined ? topic : `${topic}:${channel}`;
}

/** Name of a queue's metadata file. */
export function metadataName(prefix: string): string {
  return `${prefix}.diskqueue.meta.dat`;
}

/** Name of a queue's message file. */
export function fileName(prefix: string, number: number): string {
  return `${prefix}.diskqueue.${String(number).padStart(6, "0")}.dat`;
}

/** Takes a file name apart. @returns undefined if the file belongs to no queue */
function parseFileName(name: string) {
  const match = FILE_NAME.exec(name);
  if (match === null) return undefined;
  const [, topic = "", channel, digits, bad] = match;
  if (!isValidName(topic) || (channel !== undefined && !isValidName(channel))) return undefined;
  const number = digits === undefined ? undefined : Number(digits);
  if (number !== undefined && !Number.isSafeInteger(number)) return undefined;
  return { topic, channel, prefix: name.slice(0, name.lastIndexOf(".diskqueue.")), number, bad: bad !== undefined };
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
