import { readFields } from "../base/go/json.ts";

/** What a broker says of a topic beside where it is. */
export interface TopicSettings {
  /** How many partitions the topic has at all brokers together. */
  readonly partitions: number;
  /** Its partitions are consumed in order only. */
  readonly ordered: boolean;
  /** Several partitions may be at one broker. */
  readonly multiPart: boolean;
  /** Its messages may have headers. */
  readonly extended: boolean;
  /** Its channels are made by operators only. */
  readonly fixedChannels: boolean;
}

/** A topic of a broker that says nothing of it: bunsq's, where all messages may have headers. */
export const DEFAULT_SETTINGS: TopicSettings = {
  partitions: 1,
  ordered: false,
  multiPart: false,
  extended: true,
  fixedChannels: false,
};

/** No topic has more partitions. */
export const MAX_PARTITIONS = 1024;

/** Reads the number of a partition. @returns undefined for a text that is none */
export function parsePartition(text: string): number | undefined {
  return /^\d{1,4}$/.test(text) && Number(text) < MAX_PARTITIONS ? Number(text) : undefined;
}

const FIELDS = { partition_num: 1, ordered: false, multi_part: false, extend_support: true, disable_channel_auto_create: false };

/** Reads what a broker says of a topic. @returns undefined for anything but a JSON object with values of the right types */
export function parseSettings(text: string): TopicSettings | undefined {
  const fields = readFields(text, FIELDS);
  if (fields === undefined) return undefined;
  const partitions = Number(fields.partition_num);
  if (partitions < 1 || partitions > MAX_PARTITIONS) return undefined;
  return {
    partitions,
    ordered: fields.ordered,
    multiPart: fields.multi_part,
    extended: fields.extend_support,
    fixedChannels: fields.disable_channel_auto_create,
  };
}

/** Joins what two brokers say. While a topic is changed at one broker after the other, the change counts from the first one on. */
export function widest(some: TopicSettings, other: TopicSettings): TopicSettings {
  return {
    partitions: Math.max(some.partitions, other.partitions),
    ordered: some.ordered || other.ordered,
    multiPart: some.multiPart || other.multiPart,
    extended: some.extended || other.extended,
    fixedChannels: some.fixedChannels || other.fixedChannels,
  };
}
