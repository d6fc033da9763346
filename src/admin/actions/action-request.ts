import { isValidName } from "../../frame/names.ts";
import { Refusal } from "../../http/server/reply.ts";
import type { Level } from "../access/permission.ts";
import type { ActionRequest } from "../console-api.ts";
import { type Fields, fieldsOf } from "../upstream/fields.ts";
import { argumentsOf } from "./action-values.ts";

type Action = ActionRequest["action"];

/** What an action is about, and who may do it. */
interface Kind {
  level: Level;
  channel: "none" | "optional" | "needed";
  /** Whether its name must be repeated. */
  confirmed: boolean;
}

const KINDS: Record<Action, Kind> = {
  create: { level: "operate", channel: "optional", confirmed: false },
  delete: { level: "administer", channel: "optional", confirmed: true },
  pause: { level: "operate", channel: "optional", confirmed: false },
  unpause: { level: "operate", channel: "optional", confirmed: false },
  empty: { level: "administer", channel: "optional", confirmed: true },
  tombstone: { level: "administer", channel: "none", confirmed: true },
  seek: { level: "operate", channel: "needed", confirmed: true },
  retention: { level: "administer", channel: "none", confirmed: false },
  durability: { level: "administer", channel: "none", confirmed: false },
  trace: { level: "administer", channel: "optional", confirmed: false },
  // A topic never gets fewer partitions again, and keys move.
  expand: { level: "administer", channel: "none", confirmed: true },
  delivery: { level: "administer", channel: "needed", confirmed: false },
  drain: { level: "administer", channel: "none", confirmed: true },
  move: { level: "administer", channel: "none", confirmed: false },
  lead: { level: "administer", channel: "none", confirmed: false },
  replicas: { level: "administer", channel: "none", confirmed: false },
  remove_node: { level: "administer", channel: "none", confirmed: true },
  keep_node: { level: "administer", channel: "none", confirmed: false },
  balance: { level: "administer", channel: "none", confirmed: false },
};

/** What is done to a broker, and not to a topic. */
const OF_BROKERS: ReadonlySet<Action> = new Set(["drain", "remove_node", "keep_node"]);

/** What is done without a topic. */
const WITHOUT_TOPIC: ReadonlySet<Action> = new Set([...OF_BROKERS, "balance"]);

/** An action that was checked. Names that it does not have are empty. */
export interface CheckedAction {
  action: Action;
  topic: string;
  channel: string;
  /** Empty: all that have the topic. */
  broker: string;
  /** seek */
  to: string;
  /** The arguments of retention, durability, trace, create, expand, delivery, move, lead and replicas, as the broker's call has them. */
  values: Record<string, string>;
  preview: boolean;
}

/** A request before its names are checked: what a user may do is known by then. @throws Refusal 400 */
export function actionIn(body: unknown): { level: Level; topic: string; checked: () => CheckedAction } {
  const fields = fieldsOf(body);
  const action = textIn(fields, "action");
  const kind = Object.hasOwn(KINDS, action) ? KINDS[action as Action] : undefined;
  if (kind === undefined) throw new Refusal(400, "INVALID_ACTION");
  const preview = fields.preview === true && action === "seek";
  const topic = textIn(fields, "topic");
  return { level: preview ? "view" : kind.level, topic, checked: () => check(action as Action, kind, fields, preview) };
}

/** @throws Refusal 400 */
function check(action: Action, kind: Kind, fields: Fields, preview: boolean): CheckedAction {
  const topic = textIn(fields, "topic");
  const channel = textIn(fields, "channel");
  const broker = textIn(fields, "broker");
  const to = textIn(fields, "to");
  if (WITHOUT_TOPIC.has(action) ? topic !== "" : !isValidName(topic)) throw new Refusal(400, "INVALID_TOPIC");
  if (channel === "" ? kind.channel === "needed" : kind.channel === "none" || !isValidName(channel))
    throw new Refusal(400, "INVALID_CHANNEL");
  if ((OF_BROKERS.has(action) || action === "tombstone") && broker === "") throw new Refusal(400, "MISSING_BROKER");
  if (action === "seek" && to === "") throw new Refusal(400, "MISSING_TO");
  const values = argumentsOf(action, channel !== "", fieldsOf(fields.value));
  if (kind.confirmed && !preview && textIn(fields, "confirm") !== (channel || topic || broker)) throw new Refusal(400, "NOT_CONFIRMED");
  return { action, topic, channel, broker, to, values, preview };
}

/** A text; empty if it is not there. @throws Refusal 400 INVALID_BODY if it is something else */
function textIn(fields: Fields, name: string): string {
  const value = fields[name] ?? "";
  if (typeof value !== "string") throw new Refusal(400, "INVALID_BODY");
  return value;
}
