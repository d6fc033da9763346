import type { Grants } from "./grants.ts";

/** A user, a token or a name in the proxy's header, as the access file describes it. */
export interface Principal {
  readonly kind: "user" | "token" | "header";
  readonly name: string;
  /** argon2id of a user's password; SHA-256 of a token, in hex; empty for a name in a header. */
  readonly secretHash: string;
  readonly grants: Grants;
}

/** Whether a new version of the access file says the same of somebody. */
export function isSame(a: Principal, b: Principal): boolean {
  return a.secretHash === b.secretHash && Bun.deepEquals(a.grants.roles, b.grants.roles);
}
