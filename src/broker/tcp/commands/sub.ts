import { goQuote } from "../../../base/go/quote.ts";
import { fatal } from "../../../frame/error.ts";
import type { Line } from "../../../frame/line.ts";
import { isValidName } from "../../../frame/names.ts";
import { STATE_INIT, STATE_SUBSCRIBED } from "../client-state.ts";
import type { Connection } from "../connection.ts";
import { badTopic, type Command, type CommandResult } from "./command.ts";

/** `SUB topic channel\n`: joins a channel's consumers. https://nsq.io/clients/tcp_protocol_spec.html#sub */
export const SUB: Command = {
  execute(connection: Connection, line: Line): CommandResult {
    if (connection.state !== STATE_INIT) return fatal("E_INVALID", "cannot SUB in current state");
    if (connection.heartbeatIntervalMs === 0) return fatal("E_INVALID", "cannot SUB with heartbeats disabled");
    if (line.words < 3) return fatal("E_INVALID", "SUB insufficient number of parameters");
    const topicName = line.text(1);
    if (!isValidName(topicName)) return badTopic("SUB", line);
    const channelName = line.text(2);
    if (!isValidName(channelName)) return fatal("E_BAD_CHANNEL", `SUB channel name ${goQuote(channelName)} is not valid`);
    const refused = connection.auth?.check("SUB", topicName, channelName);
    if (refused !== undefined) return refused;
    try {
      const channel = connection.broker.topic(topicName).channel(channelName);
      const refusal = channel.addConsumer(connection);
      if (refusal !== undefined) return fatal("E_SUB_FAILED", `SUB failed ${refusal.message}`);
      connection.channel = channel;
    } catch (error) {
      return fatal("E_SUB_FAILED", `SUB failed ${(error as Error).message}`);
    }
    connection.state = STATE_SUBSCRIBED;
    connection.ok();
    return undefined;
  },
};
