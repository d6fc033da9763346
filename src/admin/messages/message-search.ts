import type { MessageMatcher, Pace } from "../matching/message-matcher.ts";
import type { Upstream, UpstreamError } from "../upstream/upstream.ts";
import { BrokerMessages, type FoundMessage, type Place, type Selection } from "./broker-messages.ts";

/** Messages of a page, where bodies are searched. */
const SEARCHED_PAGE = 1000;
/** Partitions of a broker whose messages are merged: each has a page in memory. */
const MOST_PARTITIONS = 64;
/** Pages that are asked for at a time. */
const MOST_LOADS = 16;
/** The longest time for which others wait, ms. */
const SLICE_MS = 2;

/** Where a search ends, whatever it has found. */
export interface SearchBounds {
  /** Messages that it finds. */
  found: number;
  /** Messages that it looks at. */
  scanned: number;
  /** Bytes of bodies. */
  bytes: number;
  /** Pages that it asks a broker for: one of deferred messages may be empty. */
  pages: number;
  ms: number;
}

export interface SearchResult {
  /** What was found is not kept: each message was given to `found`. */
  scanned: number;
  /** Where it goes on. */
  places: Place[];
  /** Whether there is nothing behind these places now. */
  isAtEnd: boolean;
  failures: UpstreamError[];
  /** The brokers that answered. */
  sources: readonly BrokerMessages[];
  /** The brokers that have more partitions than are looked at, and that as text. */
  leftOut: ReadonlyMap<string, string>;
}

/**
 * Looks at messages of several brokers, merged by the time of their publish, within bounds. Nothing is consumed.
 *
 * @param found called with each message that fits
 */
export async function searchMessages(
  upstream: Upstream,
  selection: Selection,
  places: readonly Place[],
  matcher: MessageMatcher | undefined,
  bounds: SearchBounds,
  found: (message: FoundMessage) => void,
): Promise<SearchResult> {
  const pace = new SearchPace();
  const endMs = performance.now() + bounds.ms;
  const pageSize = matcher === undefined ? Math.min(bounds.found, SEARCHED_PAGE) : SEARCHED_PAGE;
  const begin = (place: Place) => new BrokerMessages(upstream, selection, place, Math.min(SEARCHED_PAGE, pageSize + place.skip));
  const sources = places.map(begin);
  const leftOut = new Map<string, string>();
  let scanned = 0;
  let bytes = 0;
  let count = 0;
  let pages = 0;
  while (count < bounds.found && scanned < bounds.scanned && bytes < bounds.bytes && performance.now() < endMs) {
    const loading = sources.filter(({ mayLoad }) => mayLoad);
    if (loading.length > 0) {
      if (pages++ >= bounds.pages) break;
      await inTurns(loading, (source) => source.load());
      for (const source of loading) {
        const { broker, from } = source.start;
        const others = source.others.slice(0, MOST_PARTITIONS - 1);
        const rest = source.others.length - others.length;
        if (rest > 0) leftOut.set(broker, `${rest} of its partitions are left out: choose one`);
        sources.push(...others.map((partition) => begin({ broker, partition, from, skip: 0 })));
        source.others = [];
      }
      continue;
    }
    const source = earliest(sources);
    const message = source?.head;
    if (source === undefined || message === undefined) break;
    const fits = matcher === undefined || (await matcher(message, pace));
    source.shift();
    scanned++;
    bytes += message.body.length;
    if (fits) {
      count++;
      found(message);
    }
    await pace.pause();
  }
  const answering = sources.filter(({ failure }) => failure === undefined);
  return {
    scanned,
    // A log goes on at its end. Of a channel nothing follows, and the last page would be shown again.
    places: answering.filter(({ isAtEnd }) => selection.state === "log" || !isAtEnd).map(({ place }) => place),
    isAtEnd: answering.every(({ isAtEnd }) => isAtEnd),
    failures: sources.flatMap(({ failure }) => failure ?? []),
    sources: answering,
    leftOut,
  };
}

/** Loads a page of each source, MOST_LOADS of them at a time: a topic may have many partitions. */
async function inTurns(sources: readonly BrokerMessages[], load: (source: BrokerMessages) => Promise<void>): Promise<void> {
  const waiting = sources.values();
  const work = async () => {
    for (const source of waiting) await load(source);
  };
  await Promise.all(Array.from({ length: Math.min(MOST_LOADS, sources.length) }, work));
}

/** The one whose next message was published first. Timestamps have one length, so they compare as texts. */
function earliest(sources: readonly BrokerMessages[]): BrokerMessages | undefined {
  let first: BrokerMessages | undefined;
  for (const source of sources) {
    if (source.head !== undefined && (first?.head === undefined || source.head.row.timestamp < first.head.row.timestamp)) first = source;
  }
  return first;
}

/** Lets others have their turn after each slice of time. */
class SearchPace implements Pace {
  private sliceMs = performance.now();

  pause(): Promise<void> | undefined {
    if (performance.now() - this.sliceMs < SLICE_MS) return undefined;
    return new Promise((resolve) => {
      setImmediate(() => {
        this.sliceMs = performance.now();
        resolve();
      });
    });
  }
}
