import { fatal, type ProtocolError } from "../../../frame/error.ts";
import type { Line } from "../../../frame/line.ts";
import { type ConsumingClient, STATE_CLOSING, STATE_SUBSCRIBED } from "./client.ts";
import type { Command } from "./command.ts";

/** `RDY count\n`: how many messages the consumer takes at once. https://nsq.io/clients/tcp_protocol_spec.html#rdy */
export const RDY: Command = {
  execute(client: ConsumingClient, line: Line): ProtocolError | undefined {
    if (client.state === STATE_CLOSING) {
      client.logger.info(`PROTOCOL(V2): [${client.remoteAddress}] ignoring RDY after CLS in state ClientStateV2Closing`, client);
      return undefined;
    }
    if (client.state !== STATE_SUBSCRIBED) return fatal("E_INVALID", "cannot RDY in current state");
    const count = line.words > 1 ? line.decimal(1) : 1;
    if (Number.isNaN(count)) return fatal("E_INVALID", `RDY could not parse count ${line.text(1)}`);
    const most = client.options.maxRdyCount;
    if (count < 0 || count > most) return fatal("E_INVALID", `RDY count ${line.int64(1)} out of range 0-${most}`);
    client.setReady(count);
    return undefined;
  },
};
