import { HeaderReader } from "../../../../frame/header.ts";
import type { TopicLog } from "../../../storage/log/topic-log.ts";
import type { Consumer } from "../consumer.ts";
import { isOf } from "../dispatcher.ts";
import type { HeaderFilter } from "./header-filter.ts";

/** What a consumer is in that takes no message of the log. */
const NO_GROUP = -1;

/** Consumers with one tag and one filter. */
interface Group {
  readonly tag: Buffer | undefined;
  readonly filter: HeaderFilter | undefined;
}

/**
 * The consumers of a channel, as far as they take messages of a log, by what they take. A message with a tag goes to the consumers with
 * that tag if there are any, and otherwise to those without one; any other message goes to those without one. Of these, a consumer with a
 * filter gets what its filter takes.
 */
export class TakerGroups {
  /** Some consumer has a tag or a filter. */
  any = false;
  /** Every consumer has a filter: what none of them takes is of no use to anybody. */
  allFilter = false;
  /** What find() found: numbers of groups, ascending. */
  found = new Int32Array(8);
  foundCount = 0;
  private groups: Group[] = [];
  private names: string[] = [];
  /** The group of each consumer, by its index. */
  private groupOf: number[] = [];
  private readonly header = new HeaderReader();

  constructor(
    private readonly consumers: readonly Consumer[],
    private readonly log: TopicLog,
  ) {
    this.update();
  }

  /** To be called when consumers have come or gone. @returns whether there are other groups than before */
  update(): boolean {
    const members = this.consumers.filter((consumer) => isOf(consumer, this.log));
    const names = members.map(nameOf);
    const distinct = [...new Set(names)].sort();
    const hasChanged = distinct.length !== this.names.length || distinct.some((name, i) => name !== this.names[i]);
    this.groupOf = this.consumers.map((consumer) => (isOf(consumer, this.log) ? distinct.indexOf(nameOf(consumer)) : NO_GROUP));
    this.any = members.some(isChoosy);
    this.allFilter = members.length > 0 && members.every(({ wishes }) => wishes?.filter !== undefined);
    if (!hasChanged) return false;
    this.names = distinct;
    this.groups = distinct.map((name) => {
      const { wishes } = members[names.indexOf(name)];
      return { tag: wishes?.tag, filter: wishes?.filter };
    });
    this.found = new Int32Array(Math.max(1, distinct.length));
    return true;
  }

  /** @param index of a consumer */
  groupAt(index: number): number {
    return this.groupOf[index];
  }

  /** Finds which groups take a message. @param at its record in `record` @returns how many do */
  find(record: Buffer, at: number): number {
    const { header, groups, found } = this;
    header.read(record, at);
    const { tagFrom, tagTo } = header;
    let isWanted = false;
    if (tagTo > tagFrom) for (const { tag } of groups) if (tag !== undefined && isTag(tag, record, tagFrom, tagTo)) isWanted = true;
    let count = 0;
    for (let group = 0; group < groups.length; group++) {
      const { tag, filter } = groups[group];
      const isFor = isWanted ? tag !== undefined && isTag(tag, record, tagFrom, tagTo) : tag === undefined;
      if (isFor && (filter === undefined || filter.takes(record, at))) found[count++] = group;
    }
    this.foundCount = count;
    return count;
  }
}

/** Whether a consumer does not take all messages that come. */
export function isChoosy({ wishes }: Consumer): boolean {
  return wishes?.tag !== undefined || wishes?.filter !== undefined;
}

function nameOf({ wishes }: Consumer): string {
  return JSON.stringify([wishes?.tag?.toString("hex") ?? "", wishes?.filter?.toJson() ?? null]);
}

function isTag(tag: Buffer, record: Buffer, from: number, to: number): boolean {
  if (to - from !== tag.length) return false;
  for (let i = 0; i < tag.length; i++) if (record[from + i] !== tag[i]) return false;
  return true;
}
