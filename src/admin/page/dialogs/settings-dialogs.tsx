import { useState } from "preact/hooks";
import type { ActionRequest, TopicSettings } from "../../console-api.ts";
import { Segments } from "../parts/segments.tsx";
import { ActionDialog } from "./action-dialog.tsx";

interface SettingsDialogProps {
  topic: string;
  settings: TopicSettings | undefined;
  brokers: readonly string[];
}

/** How long a topic keeps messages that all channels have finished. */
export function RetentionDialog({ topic, settings, brokers }: SettingsDialogProps) {
  const [mode, setMode] = useState(settings?.is_default_retention === false ? "own" : "default");
  const [time, setTime] = useState(settings?.retention_time ?? "");
  const [bytes, setBytes] = useState(String(settings?.retention_bytes ?? 0));
  const request = (): ActionRequest => ({
    action: "retention",
    topic,
    value:
      mode === "default"
        ? { default: true }
        : { ...(time.trim() === "" ? {} : { time: time.trim() }), ...(bytes.trim() === "" ? {} : { bytes: Number(bytes) }) },
  });
  return (
    <ActionDialog title={`Retention of ${topic}`} verb="Set" brokers={brokers} request={request}>
      <p>
        Messages that all channels have finished are kept within these limits, to be looked at and replayed. Unfinished ones are always
        kept.
      </p>
      <Segments
        label="Limits"
        options={[
          { value: "default", label: "The broker's" },
          { value: "own", label: "Its own" },
        ]}
        value={mode}
        onChange={setMode}
      />
      {mode === "own" && (
        <>
          <label class="field">
            <span>Time, such as 48h; 0s: no limit by time</span>
            <input pattern="([0-9.]+(ms|s|m|h))+" autocomplete="off" value={time} onInput={(event) => setTime(event.currentTarget.value)} />
          </label>
          <label class="field">
            <span>Bytes; 0: no limit by size</span>
            <input type="number" min="0" step="1" value={bytes} onInput={(event) => setBytes(event.currentTarget.value)} />
          </label>
        </>
      )}
    </ActionDialog>
  );
}

const DURABILITIES = [
  { value: "default", label: "The broker's" },
  { value: "write", label: "After the write" },
  { value: "fsync", label: "After the sync" },
];

/** When a publish is answered with OK. */
export function DurabilityDialog({ topic, settings, brokers }: SettingsDialogProps) {
  const [value, setValue] = useState(settings?.durability ?? "default");
  return (
    <ActionDialog
      title={`Durability of ${topic}`}
      verb="Set"
      brokers={brokers}
      request={() => ({ action: "durability", topic, value: { value } })}
    >
      <p>A publish is answered with OK after its write, which survives a kill, or after its sync, which survives a power cut, too.</p>
      <Segments label="OK" options={DURABILITIES} value={value} onChange={setValue} />
    </ActionDialog>
  );
}
