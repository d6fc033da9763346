import type { BodyMatcher, Pace } from "../matching/body-matcher.ts";
import type { Upstream, UpstreamError } from "../upstream/upstream.ts";
import { BrokerMessages, type FoundMessage, type Place, type Selection } from "./broker-messages.ts";

/** Messages of a page, where bodies are searched. */
const SEARCHED_PAGE = 1000;
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
  matcher: BodyMatcher | undefined,
  bounds: SearchBounds,
  found: (message: FoundMessage) => void,
): Promise<SearchResult> {
  const pace = new SearchPace();
  const endMs = performance.now() + bounds.ms;
  const pageSize = matcher === undefined ? Math.min(bounds.found, SEARCHED_PAGE) : SEARCHED_PAGE;
  const sources = places.map((place) => new BrokerMessages(upstream, selection, place, Math.min(SEARCHED_PAGE, pageSize + place.skip)));
  let scanned = 0;
  let bytes = 0;
  let count = 0;
  let pages = 0;
  while (count < bounds.found && scanned < bounds.scanned && bytes < bounds.bytes && performance.now() < endMs) {
    const loading = sources.filter(({ mayLoad }) => mayLoad);
    if (loading.length > 0) {
      if (pages++ >= bounds.pages) break;
      await Promise.all(loading.map((source) => source.load()));
      continue;
    }
    const source = earliest(sources);
    const message = source?.head;
    if (source === undefined || message === undefined) break;
    const fits = matcher === undefined || (await matcher(message.body, pace));
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
    places: answering.map(({ place }) => place),
    isAtEnd: answering.every(({ isAtEnd }) => isAtEnd),
    failures: sources.flatMap(({ failure }) => failure ?? []),
    sources: answering,
  };
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
