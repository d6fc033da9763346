import { fatal, type ProtocolError } from "../../../frame/error.ts";
import { encodeFrame, FRAME_TYPE_RESPONSE } from "../../../frame/frame.ts";
import { STATE_CLOSING, STATE_SUBSCRIBED } from "../client-state.ts";
import type { Connection } from "../connection.ts";
import type { Command } from "./command.ts";

const CLOSE_WAIT_FRAME = encodeFrame(FRAME_TYPE_RESPONSE, "CLOSE_WAIT");

/** `CLS\n`: no more messages, please. https://nsq.io/clients/tcp_protocol_spec.html#cls */
export const CLS: Command = {
  execute(connection: Connection): ProtocolError | undefined {
    if (connection.state !== STATE_SUBSCRIBED) return fatal("E_INVALID", "cannot CLS in current state");
    connection.setReady(0);
    connection.state = STATE_CLOSING;
    connection.respond(CLOSE_WAIT_FRAME);
    return undefined;
  },
};
