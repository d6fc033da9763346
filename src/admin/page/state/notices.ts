import { signal } from "@preact/signals";

/** What has just happened, at the bottom of the page. */
export interface Notice {
  id: number;
  kind: "done" | "failed";
  text: string;
}

const SHOWN_MS = 6000;
const MAX_NOTICES = 4;

export const notices = signal<readonly Notice[]>([]);
let lastId = 0;

/** Shows a notice. A failure stays until it is closed. */
export function notify(kind: Notice["kind"], text: string): void {
  const id = ++lastId;
  notices.value = [...notices.value, { id, kind, text }].slice(-MAX_NOTICES);
  if (kind === "done") setTimeout(() => dismiss(id), SHOWN_MS);
}

export function dismiss(id: number): void {
  notices.value = notices.value.filter((notice) => notice.id !== id);
}
