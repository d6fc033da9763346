import { isValidName } from "../../frame/names.ts";
import { Call, type Incoming } from "../../http/server/call.ts";
import { Refusal } from "../../http/server/reply.ts";
import type { Lookup } from "../lookup.ts";
import type { Registry } from "../registry.ts";
import type { NodeLists } from "./node-lists.ts";

/** A request to the lookup server that is being answered. */
export class LookupCall extends Call {
  constructor(
    readonly lookup: Lookup,
    readonly lists: NodeLists,
    incoming: Incoming,
  ) {
    super(incoming);
  }

  get registry(): Registry {
    return this.lookup.registry;
  }

  /** The name of a topic. It is not validated, because no topic has an invalid name. @throws Refusal 400 if it is missing */
  topicName(): string {
    return this.argument("topic", "MISSING_ARG_TOPIC");
  }

  /** @throws Refusal 400 */
  validTopicName(): string {
    const name = this.topicName();
    if (!isValidName(name)) throw new Refusal(400, "INVALID_ARG_TOPIC");
    return name;
  }

  /** @throws Refusal 400 */
  validChannelName(): string {
    const name = this.argument("channel", "MISSING_ARG_CHANNEL");
    if (!isValidName(name)) throw new Refusal(400, "INVALID_ARG_CHANNEL");
    return name;
  }

  /** @throws Refusal 400 with the code `missing` if the argument is missing */
  argument(key: string, missing: string): string {
    const value = this.query.get(key);
    if (value === undefined) throw new Refusal(400, missing);
    return value;
  }
}
