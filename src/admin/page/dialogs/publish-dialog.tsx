import { useState } from "preact/hooks";
import { toBase64 } from "../bodies/bytes.ts";
import { actOnMessages, errorText } from "../state/api.ts";
import { notify } from "../state/notices.ts";
import { closeDialog, Dialog } from "./dialog.tsx";

/** Publishes one message that is typed here. */
export function PublishDialog({ topic }: { topic: string }) {
  const [body, setBody] = useState("");
  const [delay, setDelay] = useState("0");
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
