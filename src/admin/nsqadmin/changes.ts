import { type Fields, readFields } from "../../base/go/json.ts";
import { isValidName } from "../../frame/names.ts";
import { json, Refusal } from "../../http/server/reply.ts";
import type { Asked, UnpermittedCall } from "../access/permission.ts";
import type { Deed } from "../audit/audit.ts";
import type { AdminCall } from "../call.ts";
import type { UpstreamError } from "../upstream/upstream.ts";
import { type Change, NotFound } from "./actions.ts";
import { orRefuse, Warnings } from "./answer.ts";

// The calls with which operators change something. Each is noted in the audit log.

/** A request has two names and an action. */
const MOST_BODY_BYTES = 64 * 1024;
/** The types that a form on any page can send, without the browser asking this server first. */
const FORM_TYPES = /^\s*(application\/x-www-form-urlencoded|multipart\/form-data|text\/plain)\s*(;|$)/i;
const CHANGES: readonly string[] = ["pause", "unpause", "empty"] satisfies Change[];

/** POST /api/topics `{"topic", "channel"?}`: creates a topic, and a channel of it. */
export async function createTopicOrChannel(call: UnpermittedCall): Promise<Asked> {
  const { topic, channel } = await bodyOf(call, { topic: "", channel: "" });
  if (!isValidName(topic)) throw new Refusal(400, "INVALID_TOPIC");
  if (channel !== "" && !isValidName(channel)) throw new Refusal(400, "INVALID_CHANNEL");
  const deeds: What[] = [{ action: "create_topic", topic }];
  if (channel !== "") deeds.push({ action: "create_channel", topic, channel });
  return {
    needs: [{ level: "operate", topic }],
    carryOut: (permitted) => carryOut(permitted, "create topic/channel", deeds, permitted.admin.actions.create(topic, channel)),
  };
}

/** POST /api/topics/:topic `{"action": "pause" | "unpause" | "empty"}` */
export function changeTopic(call: UnpermittedCall): Promise<Asked> {
  return change(call, call.parameter, undefined);
}

/** POST /api/topics/:topic/:channel `{"action": "pause" | "unpause" | "empty"}` */
export function changeChannel(call: UnpermittedCall): Promise<Asked> {
  const [topic = "", channel] = call.parameters;
  return change(call, topic, channel);
}

/** DELETE /api/topics/:topic */
export function deleteTopic(call: AdminCall): Promise<Response> {
  checkType(call);
  const topic = call.parameter;
  return carryOut(call, "delete topic", [{ action: "delete_topic", topic }], call.admin.actions.remove(topic));
}

/** DELETE /api/topics/:topic/:channel */
export function deleteChannel(call: AdminCall): Promise<Response> {
  checkType(call);
  const [topic = "", channel = ""] = call.parameters;
  return carryOut(call, "delete channel", [{ action: "delete_channel", topic, channel }], call.admin.actions.remove(topic, channel));
}

/** DELETE /api/nodes/:node `{"topic"}`: tombstones a broker for a topic. */
export async function tombstoneNode(call: UnpermittedCall): Promise<Asked> {
  const { topic } = await bodyOf(call, { topic: "" }, "INVALID_BODY");
  if (!isValidName(topic)) throw new Refusal(400, "INVALID_TOPIC");
  const node = call.parameter;
  const deed = { action: "tombstone_topic_producer", topic, node };
  return {
    needs: [{ level: "administer", topic }],
    carryOut: (permitted) => carryOut(permitted, "tombstone node for topic", [deed], permitted.admin.actions.tombstone(topic, node)),
  };
}

async function change(call: UnpermittedCall, topic: string, channel: string | undefined): Promise<Asked> {
  const { action } = await bodyOf(call, { action: "" });
  if (!CHANGES.includes(action)) throw new Refusal(400, "INVALID_ACTION");
  const deed = channel === undefined ? { action: `${action}_topic`, topic } : { action: `${action}_channel`, topic, channel };
  return {
    needs: [{ level: action === "empty" ? "administer" : "operate", topic }],
    carryOut: (permitted) =>
      carryOut(permitted, `${action} topic/channel`, [deed], permitted.admin.actions.change(action as Change, topic, channel)),
  };
}

/** What a call does: nsqadmin tells two actions of one that creates a topic and a channel. */
type What = Omit<Deed, "results">;

/** @returns the answer; rejects with Refusal 404 or 502 if nothing was changed */
async function carryOut(
  call: AdminCall,
  what: string,
  deeds: readonly What[],
  action: Promise<readonly UpstreamError[]>,
): Promise<Response> {
  const { actor } = call;
  const note = (results: Deed["results"]) => {
    for (const deed of deeds) call.admin.audit.record(actor, { ...deed, results });
  };
  const warnings = new Warnings(call);
  let failures: readonly UpstreamError[];
  try {
    failures = await orRefuse(call, what, action);
  } catch (error) {
    note([{ server: "", ok: false, message: (error as Error).message }]);
    if (error instanceof NotFound) throw new Refusal(404, error.code);
    throw error;
  }
  warnings.add(failures);
  const failed = failures.map(({ server, message }) => ({ server, ok: false, message }));
  note([{ server: "", ok: true, message: "" }, ...failed]);
  return json({ message: warnings.message });
}

/**
 * Reads the JSON of a request that changes something.
 *
 * @param invalid the code for a body that is not such JSON; if not given, the text says what is wrong, as in nsqadmin
 * @throws Refusal 400, 413, 415
 */
async function bodyOf<Known extends Fields>(call: UnpermittedCall, defaults: Known, invalid?: string) {
  checkType(call);
  const body = await call.body(MOST_BODY_BYTES, "BODY_TOO_LARGE");
  const text = Buffer.from(body.buffer, body.byteOffset, body.byteLength).toString();
  const fields = readFields(text, defaults);
  if (fields !== undefined) return fields;
  throw new Refusal(400, invalid ?? (text.trim() === "" ? "EOF" : "the body is not a JSON object with the members of this call"));
}

/** @throws Refusal 415 for what a form on another page may have sent */
function checkType(call: UnpermittedCall): void {
  const { headers } = call.request;
  if (isFromBrowser(headers) && FORM_TYPES.test(headers.get("content-type") ?? "")) throw new Refusal(415, "INVALID_CONTENT_TYPE");
}

/** Scripts send JSON as a form too (`curl -d`), but they have none of what browsers add. */
function isFromBrowser(headers: Headers): boolean {
  const added = ["origin", "referer", "cookie", "sec-fetch-site", "sec-fetch-mode"];
  return added.some((name) => headers.has(name)) || (headers.get("user-agent") ?? "").startsWith("Mozilla/");
}
