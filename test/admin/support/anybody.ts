import { Grants } from "../../../src/admin/access/grants.ts";
import type { Identity } from "../../../src/admin/access/identity.ts";

/** Who may see and do everything, as anybody may without an access file. */
export const ANYBODY: Identity = { user: "", grants: new Grants({ "*": "admin" }), isCurrent: () => true };
