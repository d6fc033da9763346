import { fatal, type ProtocolError } from "../../../frame/error.ts";
import { encodeFrame, FRAME_TYPE_RESPONSE } from "../../../frame/frame.ts";
import { type ConsumingClient, STATE_CLOSING, STATE_SUBSCRIBED } from "./client.ts";
import type { Command } from "./command.ts";

const CLOSE_WAIT_FRAME = encodeFrame(FRAME_TYPE_RESPONSE, "CLOSE_WAIT");

/** `CLS\n`: the client wants no more messages. https://nsq.io/clients/tcp_protocol_spec.html#cls */
export const CLS: Command = {
  execute(client: ConsumingClient): ProtocolError | undefined {
    if (client.state !== STATE_SUBSCRIBED) return fatal("E_INVALID", "cannot CLS in current state");
    client.setReady(0);
    client.state = STATE_CLOSING;
    client.respond(CLOSE_WAIT_FRAME);
    return undefined;
  },
};
