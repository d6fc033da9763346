import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import type { ActionRequest, ActionResult } from "../../console-api.ts";
import { act, errorText } from "../state/api.ts";
import { notify } from "../state/notices.ts";
import { closeDialog, Dialog, showDialog } from "./dialog.tsx";

interface ActionDialogProps {
  title: string;
  /** What the button says. */
  verb: string;
  /** What it will do, in a sentence or two. */
  children?: ComponentChildren;
  /** The action; called when the button is pressed. Undefined if something is missing in the form. */
  request(): ActionRequest | undefined;
  /** The name that has to be typed. */
  confirm?: string;
  isDanger?: boolean;
  /** The brokers that have the thing, if one of them may be chosen. */
  brokers?: readonly string[];
  /** Called when all is done. */
  onDone?: () => void;
}

/** Asks for one action, does it, and says how each server took it. */
export function ActionDialog({ title, verb, children, request, confirm, isDanger = false, brokers = [], onDone }: ActionDialogProps) {
  const [typed, setTyped] = useState("");
  const [broker, setBroker] = useState("");
  const [isBusy, setBusy] = useState(false);
  const [error, setError] = useState("");
  const [failed, setFailed] = useState<ActionResult["results"]>([]);
  const isConfirmed = confirm === undefined || typed === confirm;

  const submit = async (event: Event) => {
    event.preventDefault();
    const asked = request();
    if (!isConfirmed || isBusy || asked === undefined) return;
    setBusy(true);
    setError("");
    try {
      const result = await act({ ...asked, ...(broker === "" ? {} : { broker }), ...(confirm === undefined ? {} : { confirm: typed }) });
      if (result.ok) {
        notify("done", `${title}: ${doneText(result.results)}`);
        closeDialog();
        onDone?.();
        return;
      }
      setFailed(result.results);
    } catch (failure) {
      setError(errorText(failure));
    }
    setBusy(false);
  };

  return (
    <Dialog title={title}>
      <form onSubmit={submit}>
        {children}
        {brokers.length > 1 && (
          <label class="field">
            <span>Where</span>
            <select value={broker} onChange={(event) => setBroker(event.currentTarget.value)}>
              <option value="">all {brokers.length} brokers that have it</option>
              {brokers.map((address) => (
                <option key={address} value={address}>
                  {address}
                </option>
              ))}
            </select>
          </label>
        )}
        {confirm !== undefined && (
          <label class="field">
            <span>
              Type <strong class="name">{confirm}</strong> to confirm
            </span>
            <input autocomplete="off" spellcheck={false} value={typed} onInput={(event) => setTyped(event.currentTarget.value)} />
          </label>
        )}
        <Outcome error={error} results={failed} />
        <footer class="dialog-foot">
          <button type="button" onClick={closeDialog}>
            {failed.length > 0 ? "Close" : "Cancel"}
          </button>
          <button type="submit" class={isDanger ? "danger" : "primary"} disabled={!isConfirmed || isBusy}>
            {isBusy ? "Working …" : verb}
          </button>
        </footer>
      </form>
    </Dialog>
  );
}

/** Where an action that has succeeded was done, and where it cannot be. */
function doneText(results: ActionResult["results"]): string {
  const done = results.filter(({ ok }) => ok).length;
  const unsupported = unsupportedText(results);
  return `done${results.length > 1 ? ` on ${done} server${done === 1 ? "" : "s"}` : ""}${unsupported === "" ? "" : `; ${unsupported}`}`;
}

/** Which servers do not know an action; empty if all do. */
export function unsupportedText(results: ActionResult["results"]): string {
  const texts = results.flatMap(({ server, message, unsupported }) => (unsupported === true ? `${server}: ${message}` : []));
  return texts.join("; ");
}

/** Where an action failed, and why. */
function Outcome({ error, results }: { error: string; results: ActionResult["results"] }) {
  if (error !== "")
    return (
      <p class="failure" role="alert">
        {error}
      </p>
    );
  if (results.length === 0) return null;
  return (
    // Not the list itself: with another role it would be none, and its items belong to nothing.
    <div role="alert">
      <ul class="outcome">
        {results.map(({ server, ok, message, unsupported }) => (
          <li key={server} class={ok ? "ok" : unsupported === true ? "muted" : "bad"}>
            {server}: {ok ? "done" : message}
          </li>
        ))}
      </ul>
    </div>
  );
}

export function askAction(props: ActionDialogProps): void {
  showDialog(<ActionDialog {...props} />);
}
