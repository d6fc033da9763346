import type { MessageRow } from "../../message-api.ts";
import { type BodyKind, fromBase64, kindOf, oneLine } from "../bodies/bytes.ts";
import { Tag } from "../parts/names.tsx";

const KIND_TAGS: Partial<Record<BodyKind, string>> = { gzip: "gzip", msgpack: "MessagePack", empty: "empty" };

/** A body in a line of a list. */
export function BodyLine({ row }: { row: MessageRow }) {
  const body = fromBase64(row.body);
  const tag = KIND_TAGS[kindOf(body, row.body_bytes < row.size)];
  return (
    <span class="who">
      {tag !== undefined && <Tag>{tag}</Tag>} <code class="body-line">{oneLine(body)}</code>
    </span>
  );
}
