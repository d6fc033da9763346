import type { StreamEvent } from "../../console-api.ts";
import { apiUrl, get } from "./api.ts";
import { type LiveSource, LiveStore } from "./live-store.ts";

const EVENTS = ["full", "delta", "error", "activity"] as const;

/** The console's stream of server-sent events. */
const source: LiveSource = {
  connect: (views, event, opened, lost) => {
    const query = views.map((view) => `view=${encodeURIComponent(view)}`).join("&");
    const stream = new EventSource(apiUrl(`/stream?${query}`));
    for (const name of EVENTS) {
      stream.addEventListener(name, (message) => {
        // A lost connection is an `error` event, too, without data.
        if (message instanceof MessageEvent && typeof message.data === "string") event(parse(name, message.data));
      });
    }
    stream.addEventListener("open", opened);
    stream.addEventListener("error", (message) => {
      if (message instanceof MessageEvent) return;
      // EventSource would try again every three seconds; LiveStore waits longer each time.
      stream.close();
      lost();
    });
    return stream;
  },
  load: (view) => get(view),
  later: (ms, callback) => {
    const timer = setTimeout(callback, ms);
    return () => clearTimeout(timer);
  },
};

function parse(event: StreamEvent["event"], text: string): StreamEvent {
  // The server is ours, and its types are those of console-api.ts.
  return { event, ...(JSON.parse(text) as object) } as StreamEvent;
}

/** What the page shows. */
export const live = new LiveStore(source);

/** A page in a tab that nobody has looked at for so long costs the console nothing. */
const UNSEEN_MS = 60_000;

let cancelPause = (): void => {};
document.addEventListener("visibilitychange", () => {
  cancelPause();
  if (document.hidden) cancelPause = source.later(UNSEEN_MS, () => live.pause());
  else live.resume();
});
