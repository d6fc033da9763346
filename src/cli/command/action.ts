import { type BrokerClient, ClientError } from "../../client/bun.ts";
import type { FlagTable } from "../flags.ts";
import { BROKER_FLAGS, type Broker, type BrokerFlags, findBrokers } from "./brokers.ts";
import { type Call, type Command, command, EXIT_FAILED, EXIT_OK, type Word } from "./command.ts";
import { jsonFlag, yesFlag } from "./words.ts";

/** The flags of a command that changes something at one or more brokers. */
export interface ActionFlags extends BrokerFlags {
  json: boolean;
}

/** The flags of a command that asks before it does something that cannot be undone. */
export interface DestructiveFlags extends ActionFlags {
  yes: boolean;
}

export const ACTION_TABLE: FlagTable<ActionFlags> = { options: { ...BROKER_FLAGS, json: jsonFlag }, others: [] };
export const DESTRUCTIVE_TABLE: FlagTable<DestructiveFlags> = { options: { ...BROKER_FLAGS, json: jsonFlag, yes: yesFlag }, others: [] };

/** What is done at each broker. */
export interface Action<Answer> {
  /** Given: only brokers that have it, if lookup servers are asked. */
  topic?: string;
  /** What has been done, for the line that says so: `created topic orders`. */
  done: string;
  /** Given: what to ask on a terminal before. */
  question?: string;
  /** A broker's error code that is none once another broker has done it: a cluster has done it for all. */
  doneCode?: string;
  at(client: BrokerClient): Promise<Answer>;
  /** What else there is to say about a broker's answer: in a line for people, as an object for programs. */
  tell?(answer: Answer): { text: string; json: object };
}

/** Makes a command that is one action. @param actionOf returns it for the words of a command line. @throws UsageError */
export function actionCommand<Answer>(
  { isDestructive, ...parts }: { name: string; summary: string; words: readonly Word[]; isDestructive: boolean },
  actionOf: (words: readonly string[]) => Action<Answer>,
): Command {
  const run = (call: Call<ActionFlags & { yes?: boolean }>) => carryOut(call, actionOf(call.words));
  if (isDestructive) return command<DestructiveFlags>({ ...parts, table: DESTRUCTIVE_TABLE, run });
  return command<ActionFlags>({ ...parts, table: ACTION_TABLE, run });
}

/**
 * Does something at each broker, and says what has been done where.
 *
 * @returns the exit code: failed if any broker refused
 * @throws UsageError; ClientError if it is known of no broker what it has done
 */
export async function carryOut<Answer>(
  call: Call<ActionFlags & { yes?: boolean }>,
  { topic, done, question, doneCode, at, tell }: Action<Answer>,
): Promise<number> {
  const { terminal, options } = call;
  const brokers = await findBrokers(call, topic);
  if (question !== undefined && options.yes !== true) {
    const where = brokers.map(({ address }) => address).join(", ");
    if (!(await terminal.confirm(`${question} at ${where}?`))) {
      terminal.warn("nothing was done");
      return EXIT_FAILED;
    }
  }
  const results: object[] = [];
  let code = EXIT_OK;
  let isDone = false;
  const act = async ({ address, client }: Broker) => {
    try {
      const answer = await at(client);
      const more = tell?.(answer);
      isDone = true;
      if (options.json) results.push({ broker: address, ok: true, ...more?.json });
      else await terminal.print(`${done} at ${address}${more === undefined ? "" : `: ${more.text}`}\n`);
    } catch (error) {
      if (!(error instanceof ClientError)) throw error;
      if (isDone && error.code === doneCode) return;
      code = EXIT_FAILED;
      if (options.json) results.push({ broker: address, ok: false, error: error.code });
      else terminal.warn(error.message);
    }
  };
  for (const broker of brokers) await act(broker);
  if (options.json) await terminal.printJson(results);
  return code;
}
