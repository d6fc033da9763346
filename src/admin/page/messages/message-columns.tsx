import type { MessageRow } from "../../message-api.ts";
import { bytes, exact } from "../format/numbers.ts";
import { clock } from "../format/time.ts";
import { Tag } from "../parts/names.tsx";
import type { Column } from "../parts/table.tsx";
import { now } from "../state/now.ts";
import { BodyLine } from "./body-line.tsx";

/** What the headers of messages say, for lists that have any. */
export const HEADER_COLUMN: Column<MessageRow> = {
  title: "Key",
  width: 150,
  priority: 2,
  cell: (row) => (
    <span title={row.headers === undefined ? undefined : headerText(row.headers)}>
      {row.key} {row.tag !== undefined && <Tag title="Its tag">{row.tag}</Tag>}
      {row.key === undefined && row.tag === undefined && row.headers !== undefined && <span class="muted">header</span>}
    </span>
  ),
};

export const PARTITION_COLUMN: Column<MessageRow> = {
  title: "Partition",
  isNumber: true,
  width: 84,
  priority: 3,
  cell: (row) => exact(row.partition),
};

/** Whether a message has anything beside its body. */
export function hasHeader({ key, tag, headers }: MessageRow): boolean {
  return key !== undefined || tag !== undefined || headers !== undefined;
}

/** The JSON of a header as one line. */
function headerText(headers: unknown): string {
  return typeof headers === "string" ? headers : JSON.stringify(headers);
}

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
