import { formatDuration, msToNs } from "../../base/go/duration.ts";
import { OK, type Session } from "./command.ts";

/** `PING`: the broker is still there. May come before IDENTIFY. */
export function PING({ producer, lookup, remoteAddress }: Session): Buffer {
  if (producer !== undefined) {
    const silentMs = lookup.registry.touch(producer);
    lookup.log.info(`CLIENT(${remoteAddress}): pinged (last ping ${formatDuration(msToNs(silentMs))})`);
  }
  return OK;
}
