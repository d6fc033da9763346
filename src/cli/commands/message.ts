import { HttpError } from "../../client/bun.ts";
import { ACTION_TABLE, type ActionFlags, DESTRUCTIVE_TABLE } from "../command/action.ts";
import { type Broker, findBrokers } from "../command/brokers.ts";
import { type Call, command, commandGroup, EXIT_FAILED, EXIT_OK } from "../command/command.ts";
import { CHANNEL, checkName, TOPIC } from "../command/words.ts";
import type { DurationFlag } from "../flag.ts";
import { quote, UsageError } from "../flags.ts";
import { bodyOf, headOf } from "./peek.ts";

const ID = { name: "ID" };
const ID_TEXT = /^[0-9a-f]{16}$/;
const HOUR = 3_600_000;

interface RequeueFlags extends ActionFlags {
  defer: number;
}

const deferFlag: DurationFlag = {
  name: "defer",
  kind: "duration",
  own: true,
  default: 0,
  min: 0,
  max: 87_600 * HOUR,
  doc: "deliver it again after this time; at once by default",
};

/** @throws UsageError */
function checkId(id: string | undefined): string {
  if (id !== undefined && ID_TEXT.test(id)) return id;
  throw new UsageError(`invalid message id ${quote(id ?? "")}: it has 16 of the letters 0-9 a-f`);
}

/** Asks one broker after the other, until one has the message. @throws ClientError of the last that was asked */
async function atHolder<Answer>(brokers: readonly Broker[], ask: (broker: Broker) => Promise<Answer>): Promise<[Broker, Answer]> {
  let missing: unknown;
  for (const broker of brokers) {
    try {
      return [broker, await ask(broker)];
    } catch (error) {
      const isElsewhere = error instanceof HttpError && (error.status === 404 || error.code === "INVALID_ARG_ID");
      if (!isElsewhere) throw error;
      missing = error;
    }
  }
  throw missing;
}

const show = command<ActionFlags>({
  name: "show",
  summary: "show a message and its status in each channel",
  words: [TOPIC, ID],
  table: ACTION_TABLE,
  run: async (call) => {
    const topic = checkName("topic", call.words[0]);
    const id = checkId(call.words[1]);
    const brokers = await findBrokers(call, topic);
    const [broker, message] = await atHolder(brokers, ({ client }) => client.message(topic, id));
    const { terminal } = call;
    if (call.options.json) {
      await terminal.printJson({ broker: broker.address, ...message });
      return EXIT_OK;
    }
    const channels = message.channels.map((channel) => {
      const { channel: name, channel_name: other, state, status, ...rest } = channel;
      const more = Object.entries(rest).map(([key, value]) => `  ${key} ${typeof value === "object" ? JSON.stringify(value) : value}`);
      return `channel ${name ?? other}: ${state ?? status}${more.join("")}\n`;
    });
    await terminal.print(`${headOf(message, terminal)}\n${bodyOf(message)}\n${channels.join("")}`);
    return EXIT_OK;
  },
});

/** Does something to one message, where it is. */
async function change(
  call: Call<ActionFlags & { yes?: boolean }>,
  done: string,
  question: string | undefined,
  act: (broker: Broker) => Promise<void>,
) {
  const { terminal, options } = call;
  const topic = checkName("topic", call.words[0]);
  const brokers = await findBrokers(call, topic);
  if (question !== undefined && options.yes !== true && !(await terminal.confirm(question))) {
    terminal.warn("nothing was done");
    return EXIT_FAILED;
  }
  const [{ address }] = await atHolder(brokers, act);
  if (options.json) await terminal.printJson({ broker: address, ok: true });
  else await terminal.print(`${done} at ${address}\n`);
  return EXIT_OK;
}

const WORDS = [TOPIC, CHANNEL, ID];

const finish = command({
  name: "finish",
  summary: "finish a message in a channel, whoever has it",
  words: WORDS,
  table: DESTRUCTIVE_TABLE,
  run: (call) => {
    const [topic, channel, id] = [checkName("topic", call.words[0]), checkName("channel", call.words[1]), checkId(call.words[2])];
    const question = `finish message ${id} in channel ${channel} of ${topic}, so that no consumer gets it any more?`;
    return change(call, `finished message ${id}`, question, ({ client }) => client.finishMessage(topic, channel, id));
  },
});

const requeue = command<RequeueFlags>({
  name: "requeue",
  summary: "have a message delivered again in a channel, whoever has it",
  words: WORDS,
  table: { options: { ...ACTION_TABLE.options, defer: deferFlag }, others: [] },
  run: (call) => {
    const [topic, channel, id] = [checkName("topic", call.words[0]), checkName("channel", call.words[1]), checkId(call.words[2])];
    const { defer: deferMs } = call.options;
    const options = deferMs === 0 ? {} : { deferMs };
    return change(call, `requeued message ${id}`, undefined, ({ client }) => client.requeueMessage(topic, channel, id, options));
  },
});

/** `bunsq message …` */
export const messageCommand = commandGroup("message", "Show, finish or requeue one message", [show, finish, requeue]);
