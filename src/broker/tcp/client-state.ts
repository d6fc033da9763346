/** What a client has done so far, with nsqd's numbers; /stats shows them. */
export const STATE_INIT = 0;
export const STATE_SUBSCRIBED = 3;
/** It said CLS: it still finishes what it has, and gets nothing new. */
export const STATE_CLOSING = 4;
