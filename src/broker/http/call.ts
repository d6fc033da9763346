import { Call, type Incoming } from "../../http/server/call.ts";
import type { Broker } from "../broker.ts";

/** One request to the broker that is being answered. */
export class HttpCall extends Call {
  constructor(
    readonly broker: Broker,
    incoming: Incoming,
  ) {
    super(incoming);
  }
}
