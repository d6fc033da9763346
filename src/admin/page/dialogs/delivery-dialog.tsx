import { useState } from "preact/hooks";
import type { ChannelDelivery } from "../../partition-api.ts";
import { ActionDialog } from "./action-dialog.tsx";
import { changesOf, DeliveryFields, draftOf } from "./delivery-fields.tsx";

interface DeliveryDialogProps {
  topic: string;
  channel: string;
  delivery: ChannelDelivery;
  brokers: readonly string[];
}

/** How a channel delivers its messages. */
export function DeliveryDialog({ topic, channel, delivery, brokers }: DeliveryDialogProps) {
  const before = draftOf(delivery);
  const [draft, setDraft] = useState(before);
  return (
    <ActionDialog
      title={`Delivery of ${topic} / ${channel}`}
      verb="Set"
      brokers={brokers}
      request={() => {
        // Brokers that differ get all of it.
        const from = delivery.differs ? { order: "", filter: " ", attempts: "", deadLetters: " " } : before;
        return { action: "delivery", topic, channel, value: changesOf(draft, from) };
      }}
    >
      <DeliveryFields draft={draft} onChange={setDraft} />
    </ActionDialog>
  );
}
