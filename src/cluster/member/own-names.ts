import { systemRandom } from "../../base/random-source.ts";
import { StartError } from "../../base/start-error.ts";
import { ClusterKeys } from "../state/keys.ts";

const RUN_BYTES = 8;

/** The keys of a cluster that the flags name. @throws StartError for a name that no cluster can have */
export function keysOf(cluster: string): ClusterKeys {
  try {
    return new ClusterKeys(cluster);
  } catch (error) {
    throw new StartError(`-cluster: ${(error as Error).message}`);
  }
}

/** Names this run of the process. */
export function newRun(): string {
  const random = Buffer.alloc(RUN_BYTES);
  systemRandom(random);
  return random.toString("hex");
}
