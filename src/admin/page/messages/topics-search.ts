import type { MessagePage, MessageRow } from "../../message-api.ts";
import { ApiError } from "../state/api-error.ts";
import { joined } from "./search.ts";

/** Topics that are looked at at the same time: a browser sends six requests to a host, and the stream is one of them. */
const AT_A_TIME = 3;
/** Messages after which it waits to be told to go on: a better text is better than more of them. */
const ENOUGH_MESSAGES = 100;

/** What the search asks of the console. */
export interface TopicsSource {
  /** The names of all topics that the user may see. @throws ApiError */
  topics(): Promise<readonly string[]>;
  /** One step of a search in one topic. @param from where it goes on; undefined: where the search begins @throws ApiError */
  page(topic: string, from: string | undefined): Promise<MessagePage>;
}

export interface TopicsFound {
  /** The oldest first. */
  rows: readonly MessageRow[];
  scanned: number;
  /** All topics, those that were looked at, and those that were to their ends. */
  topics: number;
  begun: number;
  finished: number;
  unavailable: readonly { broker: string; message: string }[];
}

/**
 * Searches all topics, for somebody who knows a message by its body alone. Each round makes one bounded step in each topic that has
 * not been looked at to its end, so that a large topic does not keep the others waiting.
 */
export class TopicsSearch {
  found: TopicsFound = { rows: [], scanned: 0, topics: 0, begun: 0, finished: 0, unavailable: [] };
  /** Where the search goes on in each topic that has not come to its end. */
  private readonly places = new Map<string, string | undefined>();
  private isListed = false;
  private isStopped = false;

  constructor(
    private readonly source: TopicsSource,
    private readonly changed: () => void,
  ) {}

  /** Whether some topic has not been looked at to its end. */
  get hasMore(): boolean {
    return !this.isListed || this.places.size > 0;
  }

  /** Looks on, until a round is over, enough is found, or stop() is called. @throws ApiError for a search that is refused */
  async goOn(): Promise<void> {
    this.isStopped = false;
    if (!this.isListed) await this.list();
    const enough = this.found.rows.length + ENOUGH_MESSAGES;
    const round = [...this.places].values();
    const worker = async () => {
      for (const [topic, from] of round) {
        if (this.isStopped || this.found.rows.length >= enough) return;
        await this.lookAt(topic, from);
      }
    };
    await Promise.all(Array.from({ length: AT_A_TIME }, worker));
  }

  stop(): void {
    this.isStopped = true;
  }

  private async list(): Promise<void> {
    for (const topic of await this.source.topics()) this.places.set(topic, undefined);
    this.isListed = true;
    this.found = { ...this.found, topics: this.places.size };
    this.changed();
  }

  private async lookAt(topic: string, from: string | undefined): Promise<void> {
    const page = await this.step(topic, from);
    if (page === undefined) return;
    if (page.next === null) this.places.delete(topic);
    else this.places.set(topic, page.next);
    const { found, places } = this;
    const rows = page.messages.length === 0 ? found.rows : joined(found.rows, page.messages, "behind").sort(byTime);
    this.found = {
      rows,
      scanned: found.scanned + page.scanned,
      topics: found.topics,
      begun: found.begun + (from === undefined ? 1 : 0),
      finished: found.topics - places.size,
      unavailable: merged(found.unavailable, page.unavailable ?? []),
    };
    this.changed();
  }

  /** @returns undefined if the search was stopped meanwhile */
  private async step(topic: string, from: string | undefined): Promise<MessagePage | undefined> {
    try {
      return await this.source.page(topic, from);
    } catch (error) {
      if (this.isStopped) return undefined;
      const isOfTopic = error instanceof ApiError && (error.status === 404 || error.status >= 500);
      if (!isOfTopic) {
        this.stop();
        throw error;
      }
      // A topic that is gone has no messages. Others are searched on, and it is said why this one is not.
      const unavailable = error.status === 404 ? [] : [{ broker: `topic ${topic}`, message: error.message }];
      return { messages: [], next: null, scanned: 0, unavailable };
    }
  }
}

/** Timestamps have one length, so they compare as texts. */
function byTime(a: MessageRow, b: MessageRow): number {
  return a.timestamp < b.timestamp ? -1 : a.timestamp > b.timestamp ? 1 : 0;
}

/** Each broker once: it is missing in each of its topics. */
function merged(list: TopicsFound["unavailable"], more: TopicsFound["unavailable"]): TopicsFound["unavailable"] {
  const fresh = more.filter(({ broker }) => list.every((known) => known.broker !== broker));
  return fresh.length === 0 ? list : [...list, ...fresh];
}
