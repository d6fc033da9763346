import type { AdminOptions } from "../admin/options.ts";
import { startAdmin } from "../admin/server.ts";
import type { Logger } from "../base/logger.ts";
import { runProcess } from "./process.ts";

/** Runs a process with the console. @returns when it has ended: whether it ended without an error */
export function runAdmin(options: AdminOptions, logger: Logger): Promise<boolean> {
  return runProcess(logger, ({ opened }) => {
    const admin = startAdmin(options, logger);
    opened(() => admin.stop());
  });
}
