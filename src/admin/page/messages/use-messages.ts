import { useEffect, useRef, useState } from "preact/hooks";
import type { MessagePage, MessageRow } from "../../console-api.ts";
import { errorText, get } from "../state/api.ts";
import { joined, type Search, searchPath } from "./search.ts";

const TAIL_INTERVAL_MS = 1000;
/** Messages that a tail keeps: it may run for hours. */
const TAIL_KEPT = 500;

export interface Found {
  rows: readonly MessageRow[];
  /** Where the search goes on; null at the end. */
  next: string | null;
  scanned: number;
  isBusy: boolean;
  error: string;
  loadMore(): void;
  reload(): void;
}

const NOTHING = { rows: [], next: null, scanned: 0 };

/** The messages that a search finds, page by page; or, as a tail, those that are published from now on, the newest first. */
export function useMessages(search: Search, isTail: boolean): Found {
  const [found, setFound] = useState<Pick<Found, "rows" | "next" | "scanned">>(NOTHING);
  const [isBusy, setBusy] = useState(false);
  const [error, setError] = useState("");
  const [reloads, setReloads] = useState(0);
  const ended = useRef(new AbortController());
  const path = searchPath(search);

  const load = async (from: string | undefined, where: "behind" | "in front", limit?: number): Promise<string | null> => {
    const { signal } = ended.current;
    setBusy(where === "behind");
    try {
      const page = await get<MessagePage>(searchPath(search, from), signal);
      if (signal.aborted) return null;
      setFound((before) => ({ rows: joined(before.rows, page, where, limit), next: page.next, scanned: before.scanned + page.scanned }));
      setError("");
      setBusy(false);
      return page.next;
    } catch (failure) {
      if (signal.aborted) return null;
      setError(errorText(failure));
      setBusy(false);
      return from ?? null;
    }
  };

  useEffect(() => {
    ended.current = new AbortController();
    const { signal } = ended.current;
    setFound(NOTHING);
    setError("");
    let timer: ReturnType<typeof setTimeout> | undefined;
    const follow = async (from: string) => {
      const next = await load(from, "in front", TAIL_KEPT);
      if (!signal.aborted) timer = setTimeout(() => follow(next ?? from), TAIL_INTERVAL_MS);
    };
    if (search.topic !== "") void (isTail ? follow("end") : load(undefined, "behind"));
    return () => {
      ended.current.abort();
      clearTimeout(timer);
    };
  }, [path, isTail, reloads]);

  return {
    ...found,
    isBusy,
    error,
    loadMore: () => {
      if (found.next !== null && !isBusy) void load(found.next, "behind");
    },
    reload: () => setReloads((count) => count + 1),
  };
}
