import { DESCRIPTION_GROUP } from "../../http/openapi/common.ts";
import type { ApiDescription } from "../../http/openapi/operation.ts";
import { BUNSQ_VERSION } from "../../version.ts";
import { CONSOLE_ACTIONS, CONSOLE_VIEWS } from "./console-calls.ts";
import { NSQADMIN } from "./nsqadmin-calls.ts";

/** What the console's calls are. ../routes.ts has the calls themselves. */
export const ADMIN_API: ApiDescription = {
  title: "bunsq console",
  version: BUNSQ_VERSION,
  description:
    'The HTTP API of nsqadmin 1.3.0, and the console\'s own below /api/v1. Errors are `{"message": CODE}`. What could be done at some servers only is answered 200, and `message` says what failed.',
  groups: [NSQADMIN, CONSOLE_VIEWS, CONSOLE_ACTIONS, DESCRIPTION_GROUP],
  errors: {
    400: ["INVALID_REQUEST"],
    401: ["UNAUTHORIZED"],
    403: ["CROSS_SITE_REQUEST", "HOST_NOT_ALLOWED", "FORBIDDEN"],
    500: ["INTERNAL_ERROR"],
    503: ["TOO_MANY_CONNECTIONS"],
  },
  bodyErrors: { 408: ["REQUEST_TIMEOUT"], 415: ["INVALID_CONTENT_TYPE"], 503: ["TOO_MANY_REQUESTS"] },
};
