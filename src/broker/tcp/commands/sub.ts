import { goQuote } from "../../../base/go/quote.ts";
import { fatal } from "../../../frame/error.ts";
import type { Line } from "../../../frame/line.ts";
import { isValidName } from "../../../frame/names.ts";
import { type CommandClient, STATE_INIT, STATE_SUBSCRIBED } from "./client.ts";
import { badTopic, type Command, type CommandResult, WAIT } from "./command.ts";
import { YOUZAN_SUB } from "./youzan/sub.ts";

/**
 * `SUB topic channel\n`: the client becomes a consumer of a channel. With a partition behind it, it is one of Youzan's.
 * https://nsq.io/clients/tcp_protocol_spec.html#sub
 */
export const SUB: Command = {
  execute(client: CommandClient, line: Line): CommandResult {
    if (line.words > 3 && /^-?\d{1,4}$/.test(line.text(3))) {
      client.speakYouzan();
      return YOUZAN_SUB.execute(client, line);
    }
    if (client.state !== STATE_INIT) return fatal("E_INVALID", "cannot SUB in current state");
    if (client.heartbeatIntervalMs === 0) return fatal("E_INVALID", "cannot SUB with heartbeats disabled");
    if (line.words < 3) return fatal("E_INVALID", "SUB insufficient number of parameters");
    const topicName = line.text(1);
    if (!isValidName(topicName)) return badTopic("SUB", line);
    const channelName = line.text(2);
    if (!isValidName(channelName)) return fatal("E_BAD_CHANNEL", `SUB channel name ${goQuote(channelName)} is not valid`);
    const refused = client.auth?.check("SUB", topicName, channelName);
    if (refused !== undefined) return refused;
    try {
      const channel = client.topics.open(topicName).channel(channelName);
      if (client.topics.awaitsSharing(channel)) return WAIT;
      const refusal = channel.addConsumer(client);
      if (refusal !== undefined) return fatal("E_SUB_FAILED", `SUB failed ${refusal.message}`);
      client.channel = channel;
    } catch (error) {
      if (client.topics.awaits(error)) return WAIT;
      return fatal("E_SUB_FAILED", `SUB failed ${client.topics.refusal(error as Error)}`);
    }
    client.state = STATE_SUBSCRIBED;
    client.respondOk();
    return undefined;
  },
};
