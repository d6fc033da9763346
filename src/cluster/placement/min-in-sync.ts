import type { Logger } from "../../base/logger.ts";

/** The number of replicas that must have a publish. @param flag what `-min-in-sync` says; 0: a majority */
export function minInSyncOf(replicas: number, flag: number): number {
  return flag === 0 ? majorityOf(replicas) : Math.min(flag, replicas);
}

/** Says that a new topic has fewer replicas than are to have each publish. */
export function warnOfFew(logger: Logger, topic: string, replicas: number, flag: number): void {
  if (replicas >= flag) return;
  logger.warn(
    `TOPIC(${topic}): has ${replicas} replicas, fewer than the ${flag} that -min-in-sync has acknowledge a publish; \`bunsq cluster replicas\` gives it more`,
    { topic },
  );
}

export function majorityOf(replicas: number): number {
  return Math.floor(replicas / 2) + 1;
}
