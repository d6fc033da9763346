import type { Counts, Page } from "../console-api.ts";
import type { Figures } from "../watch/figures.ts";
import type { ViewQuery } from "./view-query.ts";

/** What an item is sorted by; NaN if it is not known: those come last, either way. */
export type SortValue<Item> = (item: Item) => number | string;
export type Sorts<Item> = ReadonlyMap<string, SortValue<Item>>;

/** A list that is filtered, sorted and cut here, so that a page of 100 rows is all that is made of 50,000 clients. */
export interface Listing<Item, Row> {
  items: Iterable<Item>;
  /** Where the filter is looked for. */
  names: (item: Item) => readonly string[];
  /** Tells two items apart that are equal in what is sorted by. */
  tie: (item: Item) => string;
  sorts: Sorts<Item>;
  defaultSort: string;
  row: (item: Item) => Row;
}

/** @throws Refusal 400 for arguments that are not valid */
export function page<Item, Row>(listing: Listing<Item, Row>, query: ViewQuery): Page<Row> {
  const { key, isDescending } = query.sort(listing.sorts, listing.defaultSort);
  const { offset, limit } = query;
  const filter = query.text("filter").toLowerCase();
  const items: Item[] = [];
  for (const item of listing.items) {
    if (filter === "" || listing.names(item).some((name) => name.toLowerCase().includes(filter))) items.push(item);
  }
  const first = firstOf(items, Math.min(items.length, offset + limit), comparison(listing.sorts.get(key)!, isDescending, listing.tie));
  const shown = first.slice(offset);
  return { rows: shown.map(listing.row), total: items.length, offset };
}

/**
 * The first `most` items of the sorted list. Of 50,000 clients a page shows a hundred, and most of the others need one comparison.
 * Equal items are in the order of their ties, so that rows do not change places without a reason.
 */
function firstOf<Item>(items: readonly Item[], most: number, compareItems: (a: Item, b: Item) => number): Item[] {
  const first = items.slice(0, most).sort(compareItems);
  for (let i = most; i < items.length; i++) {
    const item = items[i]!;
    if (most === 0 || compareItems(item, first[most - 1]!) >= 0) continue;
    let [low, high] = [0, most - 1];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (compareItems(item, first[middle]!) < 0) high = middle;
      else low = middle + 1;
    }
    first.pop();
    first.splice(low, 0, item);
  }
  return first;
}

function comparison<Item>(value: SortValue<Item>, isDescending: boolean, tie: (item: Item) => string): (a: Item, b: Item) => number {
  const direction = isDescending ? -1 : 1;
  return (a, b) => compareValues(value(a), value(b), direction) || compareValues(tie(a), tie(b), 1);
}

function compareValues(a: number | string, b: number | string, direction: number): number {
  if (a === b) return 0;
  // What is not known is last, either way.
  if (Number.isNaN(a) || Number.isNaN(b)) return Number(Number.isNaN(a)) - Number(Number.isNaN(b));
  return a < b ? -direction : direction;
}

const FIGURES: Record<keyof Counts, (figures: Figures) => number> = {
  depth: ({ depth }) => depth,
  backend_depth: ({ backendDepth }) => backendDepth,
  in_flight: ({ inFlight }) => inFlight,
  deferred: ({ deferred }) => deferred,
  message_count: ({ messageCount }) => messageCount,
  requeue_count: ({ requeueCount }) => requeueCount,
  timeout_count: ({ timeoutCount }) => timeoutCount,
  clients: ({ clients }) => clients,
  oldest_age_ms: ({ oldestAgeMs }) => oldestAgeMs,
  in_rate: ({ inRate }) => inRate,
  out_rate: ({ outRate }) => outRate,
  finish_rate: ({ finishRate }) => finishRate,
  requeue_rate: ({ requeueRate }) => requeueRate,
  timeout_rate: ({ timeoutRate }) => timeoutRate,
};

/** What everything with figures can be sorted by, and more. */
export function figureSorts<Item extends { figures: Figures }>(more: Record<string, SortValue<Item>>): Sorts<Item> {
  const figures = Object.entries(FIGURES).map(([key, read]): [string, SortValue<Item>] => [key, (item) => read(item.figures)]);
  return new Map([...figures, ...Object.entries(more)]);
}
