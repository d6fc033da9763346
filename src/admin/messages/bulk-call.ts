import { json, Refusal } from "../../http/server/reply.ts";
import type { Asked, Level, UnpermittedCall } from "../access/permission.ts";
import { readBody } from "../actions/read-body.ts";
import type { AdminCall } from "../call.ts";
import type { MessagesResult } from "../message-api.ts";
import { AllFailed } from "../upstream/gather.ts";
import { type BulkRequest, bulkRequestIn } from "./bulk-request.ts";
import { explained } from "./messages-call.ts";

/** The body of a message in base64, or 10,000 ids. */
const MAX_BODY_BYTES = 8 * 1024 * 1024;

/** POST /api/v1/messages: does something with one message or many (console-api.ts: MessagesRequest). */
export async function actOnMessages(call: UnpermittedCall): Promise<Asked> {
  call.checkLength(MAX_BODY_BYTES, "BODY_TOO_LARGE");
  const request = bulkRequestIn(await readBody(call, MAX_BODY_BYTES));
  const level = levelOf(request);
  const { topic, toTopic } = request;
  return {
    needs: [{ level, topic }, ...(toTopic === "" ? [] : [{ level, topic: toTopic }])],
    carryOut: (permitted) => carryOut(permitted, request),
  };
}

async function carryOut(call: AdminCall, request: BulkRequest): Promise<Response> {
  try {
    const result = await call.admin.bulkActions.carryOut(request);
    if (!request.preview) note(call, request, result);
    return json(result);
  } catch (error) {
    if (!request.preview && (error instanceof AllFailed || error instanceof Refusal)) {
      record(call, request, [{ server: request.broker, ok: false, message: error.message }]);
    }
    if (error instanceof AllFailed) throw new Refusal(502, `UPSTREAM_ERROR: ${error.message}`);
    return explained(error);
  }
}

/** What takes a message away from its channel needs more than what has it delivered again. */
function levelOf({ action, preview }: BulkRequest): Level {
  if (preview) return "view";
  return action === "finish" || action === "move" ? "administer" : "operate";
}

function note(call: AdminCall, request: BulkRequest, { count, done, failed }: MessagesResult): void {
  const to = request.toTopic === "" ? "" : ` to ${request.toTopic}`;
  const [first] = failed;
  const why = first === undefined ? "" : `; ${first.broker}: ${first.message}`;
  const ok = done > 0 || (count === 0 && failed.length === 0);
  record(call, request, [{ server: request.broker, ok, message: `${done} of ${count} messages${to}${why}` }]);
}

function record(
  call: AdminCall,
  { action, topic, channel, broker }: BulkRequest,
  results: { server: string; ok: boolean; message: string }[],
): void {
  const node = broker === "" ? {} : { node: broker };
  call.admin.audit.record(call.actor, {
    action: action === "publish" ? "publish_message" : `${action}_messages`,
    topic,
    channel,
    ...node,
    results,
  });
}
