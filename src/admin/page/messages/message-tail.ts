import type { MessagePage, TailEvent } from "../../message-api.ts";
import { apiUrl, errorText, get } from "../state/api.ts";
import { withQuery } from "../state/routes.ts";
import { type Search, searchPath } from "./search.ts";

interface TailListener {
  event(event: TailEvent): void;
  /** Why nothing comes; empty: it does. */
  failed(why: string): void;
}

/** Follows what is published to a topic from now on. @returns ends it */
export function followTail(search: Search, { event, failed }: TailListener): () => void {
  const { topic, broker, partition, match, q } = search;
  const ended = new AbortController();
  const stream = new EventSource(apiUrl(withQuery("/tail", { topic, broker, partition, match: q === "" ? undefined : match, q })));
  for (const name of ["messages", "unavailable"] as const) {
    stream.addEventListener(name, ({ data }) => event({ event: name, data: JSON.parse(data) } as TailEvent));
  }
  stream.addEventListener("open", () => failed(""));
  stream.addEventListener("error", () => {
    if (stream.readyState === EventSource.CONNECTING) return failed("The live tail is interrupted. Trying again …");
    // It was refused. A browser does not say why, and the same search does.
    get<MessagePage>(searchPath(search, "end"), ended.signal).then(
      () => failed("The console cannot follow the topic now"),
      (reason) => {
        if (!ended.signal.aborted) failed(errorText(reason));
      },
    );
  });
  return () => {
    ended.abort();
    stream.close();
  };
}
