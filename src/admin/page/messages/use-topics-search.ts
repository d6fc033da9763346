import { useEffect, useState } from "preact/hooks";
import type { Page, TopicRow } from "../../console-api.ts";
import type { MessagePage } from "../../message-api.ts";
import { errorText, get } from "../state/api.ts";
import { withQuery } from "../state/routes.ts";
import { type Search, searchPath } from "./search.ts";
import { type TopicsFound, TopicsSearch } from "./topics-search.ts";

/** Topics that are searched; those with the most messages per second are the first of them. */
const MAX_TOPICS = 10_000;
const LISTED_TOPICS = 1000;

export interface FoundInTopics extends TopicsFound {
  isBusy: boolean;
  /** Some topics were not looked at to their ends. */
  hasMore: boolean;
  error: string;
  goOn(): void;
  stop(): void;
}

/** The messages that a search finds in all topics. Without a text nothing is searched. */
export function useTopicsSearch(search: Search): FoundInTopics {
  const [running, setRunning] = useState<TopicsSearch | undefined>(undefined);
  const [isBusy, setBusy] = useState(false);
  const [error, setError] = useState("");
  const [, draw] = useState(0);
  const { q, match, from } = search;

  const run = (one: TopicsSearch, signal?: AbortSignal) => {
    setBusy(true);
    setError("");
    one
      .goOn()
      .catch((failure) => {
        if (signal?.aborted !== true) setError(errorText(failure));
      })
      .finally(() => {
        if (signal?.aborted !== true) setBusy(false);
      });
  };

  useEffect(() => {
    setRunning(undefined);
    setBusy(false);
    setError("");
    if (q === "") return;
    const ended = new AbortController();
    const one = new TopicsSearch(
      {
        topics: () => listTopics(ended.signal),
        page: (topic, place) => get<MessagePage>(searchPath({ ...search, topic }, place), ended.signal),
      },
      () => {
        if (!ended.signal.aborted) draw((count) => count + 1);
      },
    );
    setRunning(one);
    run(one, ended.signal);
    return () => {
      one.stop();
      ended.abort();
    };
  }, [q, match, from]);

  const found = running?.found ?? { rows: [], scanned: 0, topics: 0, begun: 0, finished: 0, unavailable: [] };
  return {
    ...found,
    isBusy,
    error,
    hasMore: running?.hasMore ?? false,
    goOn: () => {
      if (running !== undefined && !isBusy) run(running);
    },
    stop: () => running?.stop(),
  };
}

async function listTopics(signal: AbortSignal): Promise<string[]> {
  const names: string[] = [];
  for (let total = 1; names.length < Math.min(total, MAX_TOPICS); ) {
    const path = withQuery("/topics", { sort: "-in_rate", offset: names.length || undefined, limit: LISTED_TOPICS });
    const page = await get<Page<TopicRow>>(path, signal);
    if (page.rows.length === 0) break;
    names.push(...page.rows.map(({ topic }) => topic));
    total = page.total;
  }
  return [...new Set(names)];
}
