import { useState } from "preact/hooks";
import { toBase64 } from "../bodies/bytes.ts";
import { actOnMessages, errorText } from "../state/api.ts";
import { notify } from "../state/notices.ts";
import { closeDialog, Dialog } from "./dialog.tsx";

/** The headers that were typed. @throws Error for people */
function parsed(text: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    // Told below.
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw new Error("The headers are no JSON object");
  return value as Record<string, unknown>;
}

/** Publishes one message that is typed here. */
export function PublishDialog({ topic }: { topic: string }) {
  const [body, setBody] = useState("");
  const [delay, setDelay] = useState("0");
  const [key, setKey] = useState("");
  const [headers, setHeaders] = useState("");
  const [isBusy, setBusy] = useState(false);
  const [error, setError] = useState("");
  const submit = async (event: Event) => {
    event.preventDefault();
    setBusy(true);
    setError("");
    try {
      const delayMs = Number(delay) * 1000;
      const result = await actOnMessages({
        action: "publish",
        topic,
        body: toBase64(new TextEncoder().encode(body)),
        ...(delayMs > 0 ? { delay_ms: delayMs } : {}),
        ...(key === "" ? {} : { key }),
        ...(headers.trim() === "" ? {} : { headers: parsed(headers) }),
        preview: false,
      });
      const [failed] = result.failed;
      if (failed !== undefined) throw new Error(`${failed.broker}: ${failed.message}`);
      notify("done", `Published to ${topic}`);
      closeDialog();
    } catch (failure) {
      setError(errorText(failure));
      setBusy(false);
    }
  };
  return (
    <Dialog title={`Publish to ${topic}`}>
      <form onSubmit={submit}>
        <label class="field">
          <span>Body</span>
          <textarea rows={8} required spellcheck={false} value={body} onInput={(event) => setBody(event.currentTarget.value)} />
        </label>
        <label class="field">
          <span>Key; empty: none</span>
          <input autocomplete="off" spellcheck={false} value={key} onInput={(event) => setKey(event.currentTarget.value)} />
        </label>
        <p class="hint">Messages of one key go to one partition.</p>
        <label class="field">
          <span>Headers, as JSON; empty: none</span>
          <textarea
            rows={3}
            spellcheck={false}
            placeholder={'{"region":"eu"}'}
            value={headers}
            onInput={(event) => setHeaders(event.currentTarget.value)}
          />
        </label>
        <label class="field">
          <span>Deliver after, s</span>
          <input type="number" min="0" step="0.001" value={delay} onInput={(event) => setDelay(event.currentTarget.value)} />
        </label>
        {error !== "" && (
          <p class="failure" role="alert">
            {error}
          </p>
        )}
        <footer class="dialog-foot">
          <button type="button" onClick={closeDialog}>
            Cancel
          </button>
          <button type="submit" class="primary" disabled={isBusy}>
            {isBusy ? "Working …" : "Publish"}
          </button>
        </footer>
      </form>
    </Dialog>
  );
}
