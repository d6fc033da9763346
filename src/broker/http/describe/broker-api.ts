import { DEBUG_GROUP, DESCRIPTION_GROUP } from "../../../http/openapi/common.ts";
import type { ApiDescription } from "../../../http/openapi/operation.ts";
import { BUNSQ_VERSION } from "../../../version.ts";
import { CLUSTER } from "./cluster.ts";
import { MESSAGES } from "./messages.ts";
import { PUBLISHING } from "./publishing.ts";
import { SERVICE } from "./service.ts";
import { CHANNELS, TOPICS } from "./topics.ts";

/** What the broker's calls are. ../routes.ts has the calls themselves. */
export const BROKER_API: ApiDescription = {
  title: "bunsq broker",
  version: BUNSQ_VERSION,
  description:
    "The HTTP API of nsqd 1.3.0, and calls of bunsq's own. Errors are `{\"message\": CODE}`. Browsers' requests that change something are refused if they come from pages of other origins.",
  groups: [PUBLISHING, TOPICS, CHANNELS, MESSAGES, SERVICE, CLUSTER, DESCRIPTION_GROUP, DEBUG_GROUP],
  errors: {
    400: ["INVALID_REQUEST"],
    403: ["CROSS_SITE_REQUEST", "HOST_NOT_ALLOWED", "FORBIDDEN", "TLS_REQUIRED"],
    500: ["INTERNAL_ERROR"],
    503: ["TOO_MANY_CONNECTIONS", "RECOVERING"],
  },
  bodyErrors: { 408: ["REQUEST_TIMEOUT"], 503: ["TOO_MANY_REQUESTS"] },
};
