import type { Delta } from "../../console-api.ts";

type Members = Record<string, unknown>;

/** A row's key: its `key`, `address`, or topic and channel. */
export function rowKey(row: unknown): string {
  if (!isMembers(row)) return "";
  const { key, address, topic, channel } = row;
  if (typeof key === "string") return key;
  if (typeof address === "string") return address;
  return typeof channel === "string" ? `${String(topic)} ${channel}` : String(topic);
}

/**
 * A view after a change. Rows that have not changed stay the same objects, so that their cells are not drawn again.
 *
 * @returns undefined if the change does not fit what is there: the view has to be loaded again
 */
export function applyDelta(data: unknown, delta: Delta): unknown {
  if (!isMembers(data)) return undefined;
  const next: Members = { ...data, ...delta.set };
  if (delta.rows === undefined && delta.order === undefined) return next;
  if (!Array.isArray(data.rows)) return undefined;
  const byKey = new Map<string, unknown>();
  for (const row of data.rows) byKey.set(rowKey(row), row);
  for (const row of delta.rows ?? []) byKey.set(rowKey(row), row);
  if (delta.order === undefined) {
    // Without an order no row came or went.
    if (byKey.size !== data.rows.length) return undefined;
    next.rows = [...byKey.values()];
    return next;
  }
  const rows: unknown[] = [];
  for (const key of delta.order) {
    const row = byKey.get(key);
    if (row === undefined) return undefined;
    rows.push(row);
  }
  next.rows = rows;
  return next;
}

function isMembers(value: unknown): value is Members {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
