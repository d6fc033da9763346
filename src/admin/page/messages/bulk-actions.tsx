import type { MessageRow } from "../../message-api.ts";
import { showDialog } from "../dialogs/dialog.tsx";
import { type BulkAction, MessagesDialog } from "../dialogs/messages-dialog.tsx";
import { may } from "../state/session.ts";
import type { Search } from "./search.ts";

interface BulkActionsProps {
  search: Search;
  /** None: all that the search finds. */
  chosen: readonly MessageRow[];
  /** Says which messages it is about. */
  what: string;
  onDone(): void;
}

/** What can be done with the messages that are chosen, or with all that the search finds. */
export function BulkActions({ search, chosen, what, onDone }: BulkActionsProps) {
  if (!may("operator", search.topic)) return null;
  const actions: readonly BulkAction[] = search.channel === "" ? ["copy"] : ["finish", "requeue", "copy", "move"];
  return (
    <div class="actions end">
      <span class="muted">{what}:</span>
      {actions.map((action) => (
        <button
          key={action}
          type="button"
          class={action === "finish" || action === "move" ? "danger" : ""}
          onClick={() => showDialog(<MessagesDialog action={action} search={search} chosen={chosen} onDone={onDone} />)}
        >
          {action[0]?.toUpperCase()}
          {action.slice(1)} …
        </button>
      ))}
    </div>
  );
}
