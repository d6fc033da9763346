import { useState } from "preact/hooks";
import type { ActionRequest } from "../../console-api.ts";
import { ActionDialog } from "./action-dialog.tsx";
import { changesOf, DeliveryFields, PLAIN_DRAFT } from "./delivery-fields.tsx";
import { showDialog } from "./dialog.tsx";
import { MOST_PARTITIONS } from "./expand-dialog.tsx";

/** What NSQ takes as a name. */
const NAME = "[.a-zA-Z0-9_\\-]{1,64}(#ephemeral)?";

/** Creates a topic, a channel of it, or both. */
function CreateDialog({ topic: given = "" }: { topic?: string }) {
  const [topic, setTopic] = useState(given);
  const [channel, setChannel] = useState("");
  const [partitions, setPartitions] = useState("1");
  const [draft, setDraft] = useState(PLAIN_DRAFT);
  const value = given === "" ? (Number(partitions) > 1 ? { partitions: Number(partitions) } : {}) : changesOf(draft, PLAIN_DRAFT);
  const request = (): ActionRequest => ({
    action: "create",
    topic: topic.trim(),
    ...(channel.trim() === "" ? {} : { channel: channel.trim() }),
    ...(Object.keys(value).length === 0 ? {} : { value }),
  });
  return (
    <ActionDialog title={given === "" ? "New topic" : `New channel of ${given}`} verb="Create" request={request}>
      <div>
        {given === "" && (
          <label class="field">
            <span>Topic</span>
            <input
              required
              pattern={NAME}
              autocomplete="off"
              spellcheck={false}
              value={topic}
              onInput={(event) => setTopic(event.currentTarget.value)}
            />
          </label>
        )}
        <label class="field">
          <span>{given === "" ? "Channel, if there shall be one at once" : "Channel"}</span>
          <input
            required={given !== ""}
            pattern={NAME}
            autocomplete="off"
            spellcheck={false}
            value={channel}
            onInput={(event) => setChannel(event.currentTarget.value)}
          />
        </label>
        <p class="hint">Letters, digits and . _ - up to 64, and #ephemeral behind it for one that is not kept on disk.</p>
        {given === "" && (
          <>
            <label class="field">
              <span>Partitions</span>
              <input
                type="number"
                min="1"
                max={MOST_PARTITIONS}
                step="1"
                required
                value={partitions}
                onInput={(event) => setPartitions(event.currentTarget.value)}
              />
            </label>
            <p class="hint">
              More than one are spread over the brokers by a lookup server of bunsq; without lookup servers each broker gets all of them.
            </p>
          </>
        )}
        {given !== "" && <DeliveryFields draft={draft} onChange={setDraft} />}
      </div>
    </ActionDialog>
  );
}

export function askCreate(props: { topic?: string } = {}): void {
  showDialog(<CreateDialog {...props} />);
}
