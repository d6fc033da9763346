import type { Logger } from "../base/logger.ts";
import type { BrokerOptions } from "../broker/options.ts";
import { startBroker } from "../broker/server.ts";
import { runProcess } from "./process.ts";

/** Runs a process with a broker. @returns when it has ended: whether it ended without an error */
export function runBroker(options: BrokerOptions, logger: Logger): Promise<boolean> {
  return runProcess(logger, async (opened) => {
    await startBroker(options, logger, opened);
  });
}
