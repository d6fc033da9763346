/** The most partitions of a topic. */
export const MAX_PARTITIONS = 1024;

/** No character of a topic's name. */
const SEPARATOR = "@";

/** A partition, as rows of the metadata store and folders name it. */
export interface NamedPartition {
  readonly topic: string;
  readonly index: number;
}

/** The name of a partition's row and folder. That of the first one is the topic's, so a topic with one partition looks as it always did. */
export function partitionName(topic: string, index: number): string {
  return index === 0 ? topic : `${topic}${SEPARATOR}${index}`;
}

/** The partition with the name of a row or folder. A name that partitionName() does not make is that of a topic, valid or not. */
export function parsePartitionName(name: string): NamedPartition {
  const at = name.lastIndexOf(SEPARATOR);
  const index = at < 0 ? Number.NaN : Number(name.slice(at + 1));
  const isPartition = index > 0 && index < MAX_PARTITIONS && partitionName(name.slice(0, at), index) === name;
  return isPartition ? { topic: name.slice(0, at), index } : { topic: name, index: 0 };
}
