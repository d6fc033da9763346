import { useState } from "preact/hooks";
import type { ActionResult } from "../../console-api.ts";
import { exact } from "../format/numbers.ts";
import { timestamp } from "../format/time.ts";
import { act, errorText } from "../state/api.ts";
import { ActionDialog, unsupportedText } from "./action-dialog.tsx";

const HOUR_MS = 3_600_000;

/** What a `datetime-local` field takes. */
function localTime(time: number): string {
  return timestamp(time).slice(0, 19).replace(" ", "T");
}

/** Moves a channel to another place in its topic's log: it then gets all messages from there on. */
export function SeekDialog({ topic, channel, brokers }: { topic: string; channel: string; brokers: readonly string[] }) {
  const [kind, setKind] = useState("time");
  const [time, setTime] = useState(localTime(Date.now() - HOUR_MS));
  const [position, setPosition] = useState("");
  const [preview, setPreview] = useState<ActionResult["preview"]>(undefined);
  const [error, setError] = useState("");
  /** The brokers that cannot do it, with why. */
  const [unsupported, setUnsupported] = useState("");

  const to = (): string => {
    if (kind === "time") return new Date(time).toISOString();
    return kind === "position" ? position.trim() : kind;
  };
  const look = async () => {
    setError("");
    setUnsupported("");
    setPreview(undefined);
    try {
      const result = await act({ action: "seek", topic, channel, to: to(), preview: true });
      setPreview(result.preview ?? []);
      setUnsupported(unsupportedText(result.results));
      const failed = result.results.filter(({ ok, unsupported }) => !ok && unsupported !== true);
      if (failed.length > 0) setError(failed.map(({ server, message }) => `${server}: ${message}`).join("; "));
    } catch (failure) {
      setError(errorText(failure));
    }
  };
  const change = (set: (value: string) => void) => (event: Event) => {
    if (event.currentTarget instanceof HTMLInputElement || event.currentTarget instanceof HTMLSelectElement) set(event.currentTarget.value);
    setPreview(undefined);
  };

  return (
    <ActionDialog
      title={`Replay ${topic} / ${channel}`}
      verb="Replay"
      isDanger
      confirm={channel}
      brokers={brokers}
      request={() => ({ action: "seek", topic, channel, to: to() })}
    >
      <p>
        The channel then has exactly the messages from this place on, each as if for the first time. What it has in flight, requeued or
        deferred is discarded.
      </p>
      <label class="field">
        <span>From</span>
        <select value={kind} onChange={change(setKind)}>
          <option value="time">a time</option>
          <option value="beginning">the oldest message that is kept</option>
          <option value="end">the end: skip all that wait</option>
          <option value="position">a sequence or message id</option>
        </select>
      </label>
      {kind === "time" && (
        <label class="field">
          <span>Time, in your zone</span>
          <input type="datetime-local" step="1" required value={time} onInput={change(setTime)} />
        </label>
      )}
      {kind === "position" && (
        <label class="field">
          <span>Sequence or id, as in the list of messages</span>
          <input required autocomplete="off" spellcheck={false} value={position} onInput={change(setPosition)} />
        </label>
      )}
      <p>
        <button type="button" onClick={look}>
          Preview
        </button>
      </p>
      {error !== "" && (
        <p class="failure" role="alert">
          {error}
        </p>
      )}
      {unsupported !== "" && <p class="muted">{unsupported}</p>}
      {preview !== undefined && <SeekPreview preview={preview} />}
    </ActionDialog>
  );
}

function SeekPreview({ preview }: { preview: NonNullable<ActionResult["preview"]> }) {
  const sum = (name: "depth" | "new_depth") => preview.reduce((total, row) => total + row[name], 0);
  return (
    <div class="preview" role="status">
      <p>
        {exact(sum("new_depth"))} messages would wait; {exact(sum("depth"))} do now.
      </p>
      <table>
        <thead>
          <tr>
            <th scope="col">Broker</th>
            <th scope="col" class="number">
              From sequence
            </th>
            <th scope="col" class="number">
              to
            </th>
            <th scope="col" class="number">
              Wait now
            </th>
            <th scope="col" class="number">
              then
            </th>
          </tr>
        </thead>
        <tbody>
          {preview.map((row) => (
            <tr key={row.broker}>
              <td>{row.broker}</td>
              <td class="number">{exact(row.from)}</td>
              <td class="number">{exact(row.to)}</td>
              <td class="number">{exact(row.depth)}</td>
              <td class="number">{exact(row.new_depth)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
