import { signal } from "@preact/signals";

/** The time in ms since 1970, once a second: ages on the page grow between two polls. */
export const now = signal(Date.now());

setInterval(() => {
  if (!document.hidden) now.value = Date.now();
}, 1000);
