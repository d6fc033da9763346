import { ClientError, type DrainProgress } from "../../client/bun.ts";
import { DESTRUCTIVE_TABLE, type DestructiveFlags } from "../command/action.ts";
import { type Broker, findBrokers, sourceOf } from "../command/brokers.ts";
import { type Call, command, EXIT_FAILED, EXIT_OK } from "../command/command.ts";
import type { StringFlag } from "../flag.ts";
import { type FlagTable, UsageError } from "../flags.ts";

/** How often a broker is asked how far it is. */
const POLL_MS = 100;

interface DrainFlags extends DestructiveFlags {
  timeout: string;
}

const timeoutFlag: StringFlag = {
  name: "timeout",
  kind: "string",
  own: true,
  default: "",
  defaultDoc: "the broker's --drain-timeout",
  doc: "longest time to wait for messages in flight, as in 30s",
};

const TABLE: FlagTable<DrainFlags> = { options: { ...DESTRUCTIVE_TABLE.options, timeout: timeoutFlag }, others: [] };

/** Drains a broker, and waits until it has ended. @returns what it told last @throws ClientError */
async function drainOne({ terminal, options }: Call<DrainFlags>, { address, client }: Broker): Promise<DrainProgress> {
  let last = await client.drain(options.timeout === "" ? {} : { timeout: options.timeout });
  for (;;) {
    terminal.progress(`${address}: in flight ${last.in_flight}, consumers ${last.consumers}, clients ${last.connections}`);
    await Bun.sleep(POLL_MS);
    try {
      const now = await client.drainProgress();
      // Something has started it again already.
      if (now.state === "serving") break;
      last = now;
    } catch (error) {
      // It answers until it ends.
      if (error instanceof ClientError && error.code === "CONNECT_FAILED") break;
      throw error;
    }
  }
  terminal.progress("");
  return last;
}

/** Whether a broker ended because the time was over, as far as can be told from its last answer. */
function isCutOff({ in_flight: inFlight, elapsed_ms: elapsedMs, timeout_ms: timeoutMs }: DrainProgress): boolean {
  return inFlight > 0 && elapsedMs + 2 * POLL_MS >= timeoutMs;
}

/** `bunsq drain` */
export const drainCommand = command<DrainFlags>({
  name: "drain",
  summary: "Have a broker end once its consumers are done, for a rolling restart",
  about: `The broker leaves the lookup servers, refuses publishes and new consumers, delivers nothing more, and ends when all messages in
flight are answered or the time is over. Clients go on with other brokers. This command ends when the broker has ended.`,
  table: TABLE,
  run: async (call) => {
    const { terminal, options } = call;
    // All brokers that a lookup server knows would be the whole cluster.
    if (sourceOf(call).lookups.length > 0) throw new UsageError("drain stops a broker: name it with --broker");
    const brokers = await findBrokers(call);
    const where = brokers.map(({ address }) => address).join(", ");
    if (!options.yes && !(await terminal.confirm(`drain and stop the broker at ${where}?`))) {
      terminal.warn("nothing was done");
      return EXIT_FAILED;
    }
    const results: object[] = [];
    let code = EXIT_OK;
    for (const broker of brokers) {
      const { address } = broker;
      try {
        const last = await drainOne(call, broker);
        const redelivered = isCutOff(last) ? last.in_flight : 0;
        if (redelivered > 0) code = EXIT_FAILED;
        if (options.json) results.push({ broker: address, ok: redelivered === 0, in_flight: redelivered });
        else if (redelivered === 0) await terminal.print(`drained the broker at ${address}; it has ended\n`);
        else terminal.warn(`the broker at ${address} has ended with messages in flight, which will be delivered again: ${redelivered}`);
      } catch (error) {
        if (!(error instanceof ClientError)) throw error;
        code = EXIT_FAILED;
        if (options.json) results.push({ broker: address, ok: false, error: error.code });
        else terminal.warn(error.message);
      }
    }
    if (options.json) await terminal.printJson(results);
    return code;
  },
});
