import { json, Refusal } from "../../http/server/reply.ts";
import type { Asked, UnpermittedCall } from "../access/permission.ts";
import type { AdminCall } from "../call.ts";
import type { ActionResult } from "../console-api.ts";
import { AllFailed } from "../upstream/gather.ts";
import { actionIn, type CheckedAction } from "./action-request.ts";
import { readBody } from "./read-body.ts";

const MAX_BODY_BYTES = 64 * 1024;

/** POST /api/v1/actions: does something to a topic, channel or broker (console-api.ts: ActionRequest). */
export async function act(call: UnpermittedCall): Promise<Asked> {
  const { level, topic, checked } = actionIn(await readBody(call, MAX_BODY_BYTES));
  return { needs: [{ level, topic: topic === "" ? undefined : topic }], carryOut: (permitted) => carryOut(permitted, checked()) };
}

async function carryOut(call: AdminCall, action: CheckedAction): Promise<Response> {
  try {
    const result = await call.admin.consoleActions.carryOut(action);
    call.admin.views.topicChanged(action.topic);
    note(call, action, result.results);
    return json(result);
  } catch (error) {
    if (!(error instanceof AllFailed || error instanceof Refusal)) throw error;
    note(call, action, [{ server: action.broker, ok: false, message: error.message }]);
    if (error instanceof Refusal) throw error;
    call.admin.logger.error(`failed to ${action.action} - ${error.message}`);
    throw new Refusal(502, `UPSTREAM_ERROR: ${error.message}`);
  }
}

function note(call: AdminCall, { action, topic, channel, broker, preview }: CheckedAction, results: ActionResult["results"]): void {
  // A preview does nothing.
  if (preview) return;
  // Nothing was tried where it cannot be done, and that is worth a line only if it could be done nowhere.
  const tried = results.filter(({ unsupported }) => unsupported !== true);
  call.admin.audit.record(call.actor, {
    action: nameOf(action, channel),
    topic,
    channel,
    ...(broker === "" ? {} : { node: broker }),
    results: tried.length > 0 ? tried : results,
  });
}

/** The name of an action in the audit log: nsqadmin's, where nsqadmin has it. */
function nameOf(action: CheckedAction["action"], channel: string): string {
  if (action === "drain") return "drain_node";
  if (action === "remove_node" || action === "keep_node") return action;
  if (action === "balance") return "balance_cluster";
  if (action === "tombstone") return "tombstone_topic_producer";
  return `${action}_${channel === "" ? "topic" : "channel"}`;
}
