import { askAction } from "./action-dialog.tsx";

interface TraceRequest {
  topic: string;
  /** Not given: the topic with all its channels. */
  channel?: string;
  on: boolean;
  brokers: readonly string[];
  /** The channel's topic is traced as a whole. */
  isTopicTraced?: boolean;
}

/** Has brokers record what happens to messages of a topic or channel from now on, or cease to. */
export function askTrace({ topic, channel, on, brokers, isTopicTraced = false }: TraceRequest): void {
  const whose = channel === undefined ? "each message of the topic" : "each message in this channel";
  askAction({
    title: `${on ? "Trace" : "Stop tracing"} ${topic}${channel === undefined ? "" : ` / ${channel}`}`,
    verb: on ? "Trace" : "Stop",
    brokers,
    request: () => ({ action: "trace", topic, ...(channel === undefined ? {} : { channel }), value: { on } }),
    children: (
      <>
        <p>
          {on
            ? `From now on the brokers keep what happens to ${whose}: to whom it was delivered, when it was requeued, timed out or finished. The message's page shows it.`
            : "What was kept stays until it is overwritten."}
        </p>
        {isTopicTraced && (
          <p>
            {on
              ? "It is traced already, with its topic. Traced by itself, it stays so when the topic no longer is."
              : "Its topic is traced as a whole, and the channel with it, until that is stopped, too."}
          </p>
        )}
      </>
    ),
  });
}
