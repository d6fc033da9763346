import type { MessageRow } from "../../message-api.ts";
import { bytes } from "../format/numbers.ts";
import { clock } from "../format/time.ts";
import type { Column } from "../parts/table.tsx";
import { now } from "../state/now.ts";
import { BodyLine } from "./body-line.tsx";

/** What every list of messages shows of each, behind its sequence. */
export const MESSAGE_COLUMNS: readonly Column<MessageRow>[] = [
  {
    title: "Published",
    width: 112,
    priority: 2,
    cell: (row) => <span title={row.timestamp}>{clock(Date.parse(row.timestamp), now.value)}</span>,
  },
  { title: "Size", isNumber: true, width: 76, priority: 2, cell: (row) => bytes(row.size) },
  { title: "Body", cell: (row) => <BodyLine row={row} /> },
];
