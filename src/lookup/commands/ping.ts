import { formatDuration, msToNs } from "../../base/go/duration.ts";
import { OK, type Session } from "./command.ts";

/** `PING`: a sign of life of the broker. It may come before IDENTIFY. */
export function PING({ node, lookup, remoteAddress }: Session): Buffer {
  if (node !== undefined) {
    const silentMs = lookup.registry.markSeen(node);
    lookup.logger.info(`CLIENT(${remoteAddress}): pinged (last ping ${formatDuration(msToNs(silentMs))})`, {
      part: "tcp",
      client: remoteAddress,
    });
  }
  return OK;
}
