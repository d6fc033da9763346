import { useEffect, useState } from "preact/hooks";
import type { MessageRow, MessagesRequest, MessagesResult } from "../../message-api.ts";
import { exact, plural } from "../format/numbers.ts";
import { idsByBroker, MAX_SELECTED, type Search } from "../messages/search.ts";
import { actOnMessages, errorText } from "../state/api.ts";
import { notify } from "../state/notices.ts";
import { closeDialog, Dialog } from "./dialog.tsx";

export type BulkAction = "finish" | "requeue" | "copy" | "move";

const WHAT: Record<BulkAction, string> = {
  finish: "The channel does not deliver them again. This cannot be undone.",
  requeue: "The channel delivers them again, after the delay.",
  copy: "Publishes each body once more. The messages themselves stay as they are.",
  move: "Publishes each body to the other topic, and then finishes the message in this channel.",
};

/** Failures that are told one by one. */
const SHOWN_FAILURES = 20;

interface MessagesDialogProps {
  action: BulkAction;
  search: Search;
  /** None: all that the search finds. */
  chosen: readonly MessageRow[];
  onDone(): void;
}

/** Does something with many messages: first says how many it would be. */
export function MessagesDialog({ action, search, chosen, onDone }: MessagesDialogProps) {
  const [toTopic, setToTopic] = useState(action === "copy" ? search.topic : "");
  const [delay, setDelay] = useState("0");
  const [preview, setPreview] = useState<MessagesResult | undefined>(undefined);
  const [isBusy, setBusy] = useState(true);
  const [error, setError] = useState("");
  const [failed, setFailed] = useState<MessagesResult["failed"]>([]);
  const [done, setDone] = useState(0);

  const run = (isPreview: boolean) => {
    const details = {
      action,
      topic: search.topic,
      ...(search.channel === "" ? {} : { channel: search.channel }),
      ...(action === "requeue" || action === "copy" ? { delay_ms: Number(delay) * 1000 } : {}),
      // A preview counts only, and a topic has not been typed yet.
      ...(action === "copy" || action === "move" ? { to_topic: toTopic.trim() || search.topic } : {}),
      preview: isPreview,
    };
    return all(requests(details, search, chosen));
  };

  useEffect(() => {
    run(true)
      .then(setPreview, (failure) => setError(errorText(failure)))
      .finally(() => setBusy(false));
  }, []);

  const submit = async (event: Event) => {
    event.preventDefault();
    setBusy(true);
    setError("");
    try {
      const result = await run(false);
      onDone();
      if (result.failed.length === 0) {
        notify("done", `${action}: ${plural(result.done, "message")} done${result.more ? ", and there are more" : ""}`);
        closeDialog();
        return;
      }
      setFailed(result.failed);
      setDone(result.done);
    } catch (failure) {
      setError(errorText(failure));
    }
    setBusy(false);
  };

  return (
    <Dialog title={`${action[0]?.toUpperCase()}${action.slice(1)} messages`}>
      <form onSubmit={submit}>
        <p>{WHAT[action]}</p>
        <p class="preview" role="status">
          {preview === undefined ? (
            isBusy && "Counting …"
          ) : (
            <>
              <strong>{plural(preview.count, "message")}</strong> of{" "}
              {search.channel === "" ? search.topic : `${search.topic} / ${search.channel}`}
              {preview.more && `. There are more: at most ${exact(MAX_SELECTED)} at a time`}
            </>
          )}
        </p>
        {(action === "copy" || action === "move") && (
          <label class="field">
            <span>To topic</span>
            <input
              required
              autocomplete="off"
              spellcheck={false}
              value={toTopic}
              onInput={(event) => setToTopic(event.currentTarget.value)}
            />
          </label>
        )}
        {(action === "requeue" || action === "copy") && (
          <label class="field">
            <span>Deliver after, s</span>
            <input type="number" min="0" step="0.001" value={delay} onInput={(event) => setDelay(event.currentTarget.value)} />
          </label>
        )}
        {failed.length === 0 && preview !== undefined && preview.failed.length > 0 && <Failures failed={preview.failed} />}
        {error !== "" && (
          <p class="failure" role="alert">
            {error}
          </p>
        )}
        {failed.length > 0 && (
          <div role="alert">
            <p>{plural(done, "message")} done, and not these:</p>
            <Failures failed={failed} />
          </div>
        )}
        <footer class="dialog-foot">
          <button type="button" onClick={closeDialog}>
            {failed.length > 0 ? "Close" : "Cancel"}
          </button>
          <button
            type="submit"
            class={action === "finish" || action === "move" ? "danger" : "primary"}
            disabled={isBusy || (preview?.count ?? 0) === 0}
          >
            {isBusy ? "Working …" : `${action[0]?.toUpperCase()}${action.slice(1)} ${exact(preview?.count ?? 0)}`}
          </button>
        </footer>
      </form>
    </Dialog>
  );
}

/** What could not be done, or will not be. A broker without an id: all its messages. */
function Failures({ failed }: { failed: MessagesResult["failed"] }) {
  return (
    <ul class="outcome">
      {failed.slice(0, SHOWN_FAILURES).map(({ id, broker, message }) => (
        <li key={`${broker} ${id}`} class="bad">
          {id === "" ? `All on ${broker}` : `${id} on ${broker}`}: {message}
        </li>
      ))}
    </ul>
  );
}

/** One request for what a search finds, or one for each broker of the chosen messages. */
function requests(
  details: Omit<MessagesRequest, "ids" | "select" | "broker">,
  { state, match, q, from, broker, partition }: Search,
  chosen: readonly MessageRow[],
): MessagesRequest[] {
  if (chosen.length > 0) return [...idsByBroker(chosen)].map(([at, ids]) => ({ ...details, broker: at, ids }));
  const only = partition === "" ? {} : { partition: Number(partition) };
  const select = { state, ...only, ...(q === "" ? {} : { match, q }), ...(from === "" ? {} : { from }), limit: MAX_SELECTED };
  return [{ ...details, ...(broker === "" ? {} : { broker }), select }];
}

async function all(list: readonly MessagesRequest[]): Promise<MessagesResult> {
  const results = await Promise.all(list.map(actOnMessages));
  return {
    count: results.reduce((sum, { count }) => sum + count, 0),
    more: results.some(({ more }) => more),
    done: results.reduce((sum, { done }) => sum + done, 0),
    failed: results.flatMap(({ failed }) => failed),
  };
}
