import { hostname } from "node:os";
import { type Fields, readFields } from "../../base/go/json.ts";
import { isValidName } from "../../frame/names.ts";
import { json, Refusal } from "../../http/server/reply.ts";
import type { AdminCall } from "../call.ts";
import type { AdminAction } from "../notify/notifications.ts";
import type { UpstreamError } from "../upstream/upstream.ts";
import { type Change, NotFound } from "./actions.ts";
import { orRefuse, Warnings } from "./answer.ts";

// The calls with which operators change something. Each that has changed something is told to --notification-http-endpoint.

/** A request has two names and an action. */
const MOST_BODY_BYTES = 64 * 1024;
/** The types that a form on any page can send, without the browser asking this server first. */
const FORM_TYPES = /^\s*(application\/x-www-form-urlencoded|multipart\/form-data|text\/plain)\s*(;|$)/i;
const CHANGES: readonly string[] = ["pause", "unpause", "empty"] satisfies Change[];

/** POST /api/topics `{"topic", "channel"?}`: creates a topic, and a channel of it. */
export async function createTopicOrChannel(call: AdminCall): Promise<Response> {
  const { topic, channel } = await bodyOf(call, { topic: "", channel: "" });
  if (!isValidName(topic)) throw new Refusal(400, "INVALID_TOPIC");
  if (channel !== "" && !isValidName(channel)) throw new Refusal(400, "INVALID_CHANNEL");
  const answer = await carryOut(call, "create topic/channel", call.admin.actions.create(topic, channel));
  notify(call, { action: "create_topic", topic });
  if (channel !== "") notify(call, { action: "create_channel", topic, channel });
  return answer;
}

/** POST /api/topics/:topic `{"action": "pause" | "unpause" | "empty"}` */
export function changeTopic(call: AdminCall): Promise<Response> {
  return change(call, call.parameter, undefined);
}

/** POST /api/topics/:topic/:channel `{"action": "pause" | "unpause" | "empty"}` */
export function changeChannel(call: AdminCall): Promise<Response> {
  const [topic = "", channel] = call.parameters;
  return change(call, topic, channel);
}

/** DELETE /api/topics/:topic */
export async function deleteTopic(call: AdminCall): Promise<Response> {
  checkUser(call);
  const topic = call.parameter;
  const answer = await carryOut(call, "delete topic", call.admin.actions.remove(topic));
  notify(call, { action: "delete_topic", topic });
  return answer;
}

/** DELETE /api/topics/:topic/:channel */
export async function deleteChannel(call: AdminCall): Promise<Response> {
  checkUser(call);
  const [topic = "", channel = ""] = call.parameters;
  const answer = await carryOut(call, "delete channel", call.admin.actions.remove(topic, channel));
  notify(call, { action: "delete_channel", topic, channel });
  return answer;
}

/** DELETE /api/nodes/:node `{"topic"}`: tombstones a broker for a topic. */
export async function tombstoneNode(call: AdminCall): Promise<Response> {
  const { topic } = await bodyOf(call, { topic: "" }, "INVALID_BODY");
  if (!isValidName(topic)) throw new Refusal(400, "INVALID_TOPIC");
  const node = call.parameter;
  const answer = await carryOut(call, "tombstone node for topic", call.admin.actions.tombstone(topic, node));
  notify(call, { action: "tombstone_topic_producer", topic, node });
  return answer;
}

async function change(call: AdminCall, topic: string, channel: string | undefined): Promise<Response> {
  const { action } = await bodyOf(call, { action: "" });
  if (!CHANGES.includes(action)) throw new Refusal(400, "INVALID_ACTION");
  const answer = await carryOut(call, `${action} topic/channel`, call.admin.actions.change(action as Change, topic, channel));
  const what = channel === undefined ? { action: `${action}_topic`, topic } : { action: `${action}_channel`, topic, channel };
  notify(call, what);
  return answer;
}

/** @returns the answer; rejects with Refusal 404 or 502 if nothing was changed */
async function carryOut(call: AdminCall, what: string, action: Promise<readonly UpstreamError[]>): Promise<Response> {
  const warnings = new Warnings(call);
  try {
    warnings.add(await orRefuse(call, what, action));
  } catch (error) {
    if (error instanceof NotFound) throw new Refusal(404, error.code);
    throw error;
  }
  return json({ message: warnings.message });
}

/**
 * Reads the JSON of a request that changes something.
 *
 * @param invalid the code for a body that is not such JSON; if not given, the text says what is wrong, as in nsqadmin
 * @throws Refusal 403, 400, 413, 415
 */
async function bodyOf<Known extends Fields>(call: AdminCall, defaults: Known, invalid?: string) {
  checkUser(call);
  const body = await call.body(MOST_BODY_BYTES, "BODY_TOO_LARGE");
  const text = Buffer.from(body.buffer, body.byteOffset, body.byteLength).toString();
  const fields = readFields(text, defaults);
  if (fields !== undefined) return fields;
  throw new Refusal(400, invalid ?? (text.trim() === "" ? "EOF" : "the body is not a JSON object with the members of this call"));
}

/** @throws Refusal 403 for who may not change something; 415 for what a form on another page may have sent */
function checkUser(call: AdminCall): void {
  if (!call.mayChange) throw new Refusal(403, "FORBIDDEN");
  const { headers } = call.request;
  if (isFromBrowser(headers) && FORM_TYPES.test(headers.get("content-type") ?? "")) throw new Refusal(415, "INVALID_CONTENT_TYPE");
}

/** Scripts send JSON as a form too (`curl -d`), but they have none of what browsers add. */
function isFromBrowser(headers: Headers): boolean {
  const added = ["origin", "referer", "cookie", "sec-fetch-site", "sec-fetch-mode"];
  return added.some((name) => headers.has(name)) || (headers.get("user-agent") ?? "").startsWith("Mozilla/");
}

function notify(call: AdminCall, what: Pick<AdminAction, "action" | "topic" | "channel" | "node">): void {
  const { request, user } = call;
  const { headers } = request;
  // With a Host that is no name it is not a URL.
  const url = headers.get("x-scheme") === "https" ? request.url.replace(/^http:/, "https:") : request.url;
  call.admin.notifications?.add({
    ...what,
    timestamp: Math.floor(Date.now() / 1000),
    ...(user === "" ? {} : { user }),
    remote_ip: call.clientAddress ?? "",
    user_agent: headers.get("user-agent") ?? "",
    url,
    via: hostname(),
  });
}
