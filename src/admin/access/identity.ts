import type { Grants } from "./grants.ts";

/** Who sends a request. */
export interface Identity {
  /** The name for the page, the audit log and notifications; empty: nobody says. */
  readonly user: string;
  readonly grants: Grants;
  /** Whether it still holds: a session may end, and the access file may change. A stream that goes on for hours asks again. */
  isCurrent(): boolean;
}
