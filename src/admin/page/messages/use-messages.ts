import { useEffect, useRef, useState } from "preact/hooks";
import type { MessagePage, MessageRow } from "../../message-api.ts";
import { errorText, get } from "../state/api.ts";
import { followTail } from "./message-tail.ts";
import { joined, type Search, searchPath } from "./search.ts";

/** Messages that a tail keeps: it may run for hours. */
const TAIL_KEPT = 500;

export interface Found {
  rows: readonly MessageRow[];
  /** Where the search goes on; null at the end. */
  next: string | null;
  scanned: number;
  /** Messages that a tail could not keep up with. */
  skipped: number;
  /** The brokers whose messages are not among these, and why. */
  unavailable: NonNullable<MessagePage["unavailable"]>;
  isBusy: boolean;
  error: string;
  loadMore(): void;
  reload(): void;
}

const NOTHING = { rows: [], next: null, scanned: 0, skipped: 0, unavailable: [] };

/** The messages that a search finds, page by page; or, as a tail, those that are published from now on, the newest first. */
export function useMessages(search: Search, isTail: boolean): Found {
  const [found, setFound] = useState<Omit<Found, "isBusy" | "error" | "loadMore" | "reload">>(NOTHING);
  const [isBusy, setBusy] = useState(false);
  const [error, setError] = useState("");
  const [reloads, setReloads] = useState(0);
  const ended = useRef(new AbortController());
  const path = searchPath(search);

  const load = async (from?: string): Promise<void> => {
    const { signal } = ended.current;
    setBusy(true);
    try {
      const page = await get<MessagePage>(searchPath(search, from), signal);
      if (signal.aborted) return;
      setFound((before) => ({
        ...before,
        rows: joined(before.rows, page.messages, "behind"),
        next: page.next,
        scanned: before.scanned + page.scanned,
        unavailable: page.unavailable ?? [],
      }));
      setError("");
    } catch (failure) {
      if (signal.aborted) return;
      setError(errorText(failure));
    }
    setBusy(false);
  };

  const follow = () =>
    followTail(search, {
      failed: setError,
      event: ({ event, data }) =>
        setFound((before) =>
          event === "unavailable"
            ? { ...before, unavailable: [...before.unavailable.filter(({ broker }) => broker !== data.broker), data] }
            : {
                ...before,
                rows: joined(before.rows, data.messages, "in front", TAIL_KEPT),
                scanned: before.scanned + data.scanned,
                skipped: before.skipped + data.skipped,
                // A broker whose messages come is there again.
                unavailable: before.unavailable.filter(({ broker }) => data.messages.every((row) => row.broker !== broker)),
              },
        ),
    });

  useEffect(() => {
    ended.current = new AbortController();
    setFound(NOTHING);
    setError("");
    setBusy(false);
    const endTail = search.topic !== "" && isTail ? follow() : () => {};
    if (search.topic !== "" && !isTail) void load();
    return () => {
      ended.current.abort();
      endTail();
    };
  }, [path, isTail, reloads]);

  return {
    ...found,
    isBusy,
    error,
    loadMore: () => {
      if (found.next !== null && !isBusy) void load(found.next);
    },
    reload: () => setReloads((count) => count + 1),
  };
}
