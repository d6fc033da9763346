import { useState } from "preact/hooks";
import { ActionDialog } from "./action-dialog.tsx";

/** More partitions no topic has. */
export const MOST_PARTITIONS = 1024;

interface ExpandDialogProps {
  topic: string;
  count: number;
  /** It is a topic of a cluster. */
  keysStay: boolean;
}

/** Gives a topic more partitions. There are never fewer again, and keys move unless it is one of a cluster, so its name has to be typed. */
export function ExpandDialog({ topic, count, keysStay }: ExpandDialogProps) {
  const [next, setNext] = useState(String(Math.min(MOST_PARTITIONS, count * 2)));
  return (
    <ActionDialog
      title={`More partitions for ${topic}`}
      verb="Expand"
      isDanger
      confirm={topic}
      request={() => ({ action: "expand", topic, value: { partitions: Number(next) } })}
    >
      <p>
        It has {count} now, and those stay as they are. A topic never gets fewer again.{" "}
        {keysStay ? (
          "Keys stay where they are: the new partitions get messages without a key only."
        ) : (
          <>
            <strong>Keys move:</strong> a key may have its next message in another partition than its last one, and consumers may get the
            two in either order. Expand when nothing is left to deliver, or where a moment without order does no harm.
          </>
        )}
      </p>
      <label class="field">
        <span>Partitions</span>
        <input
          type="number"
          min={count + 1}
          max={MOST_PARTITIONS}
          step="1"
          required
          value={next}
          onInput={(event) => setNext(event.currentTarget.value)}
        />
      </label>
    </ActionDialog>
  );
}
