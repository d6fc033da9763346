import type { ChannelDelivery } from "../../partition-api.ts";
import { ORDERS } from "../parts/delivery.tsx";
import { Segments } from "../parts/segments.tsx";

/** How a channel shall deliver, as it is typed. */
export interface DeliveryDraft {
  order: string;
  filter: string;
  attempts: string;
  deadLetters: string;
}

export const PLAIN_DRAFT: DeliveryDraft = { order: "none", filter: "", attempts: "0", deadLetters: "" };

export function draftOf({ order, filter, max_attempts, dead_letter_topic }: ChannelDelivery): DeliveryDraft {
  return {
    order,
    filter: filter === null ? "" : JSON.stringify(filter),
    attempts: String(max_attempts),
    deadLetters: dead_letter_topic,
  };
}

/** The `value` of an action: what a draft has that another has not. Attempts and dead letters go together. */
export function changesOf(draft: DeliveryDraft, from: DeliveryDraft): Record<string, string | number> {
  const hasOther = (name: keyof DeliveryDraft) => draft[name].trim() !== from[name];
  return {
    ...(hasOther("order") ? { order: draft.order } : {}),
    ...(hasOther("filter") ? { filter: draft.filter.trim() } : {}),
    ...(hasOther("attempts") || hasOther("deadLetters")
      ? { max_attempts: Number(draft.attempts), dead_letter_topic: draft.deadLetters.trim() }
      : {}),
  };
}

const OPTIONS = Object.entries(ORDERS).map(([value, label]) => ({ value, label }));

export function DeliveryFields({ draft, onChange }: { draft: DeliveryDraft; onChange(draft: DeliveryDraft): void }) {
  const text = (name: keyof DeliveryDraft) => (event: Event & { currentTarget: HTMLInputElement }) =>
    onChange({ ...draft, [name]: event.currentTarget.value });
  return (
    <>
      <Segments label="Order" options={OPTIONS} value={draft.order} onChange={(order) => onChange({ ...draft, order })} />
      <p class="hint">
        With an order the next message of a key, or of a partition, is delivered when the one before is finished. It is in force once
        nothing of the partition is in flight.
      </p>
      <label class="field">
        <span>Filter of headers, as JSON; empty: all messages</span>
        <input
          autocomplete="off"
          spellcheck={false}
          placeholder={'{"type":1,"filter_ext_key":"region","filter_data":"eu"}'}
          value={draft.filter}
          onInput={text("filter")}
        />
      </label>
      <p class="hint">What it does not take is finished without being delivered.</p>
      <label class="field">
        <span>Attempts; 0: without end</span>
        <input type="number" min="0" max="65535" step="1" required value={draft.attempts} onInput={text("attempts")} />
      </label>
      <label class="field">
        <span>Dead letter topic, for what failed as often</span>
        <input
          required={Number(draft.attempts) > 0}
          autocomplete="off"
          spellcheck={false}
          value={draft.deadLetters}
          onInput={text("deadLetters")}
        />
      </label>
    </>
  );
}
