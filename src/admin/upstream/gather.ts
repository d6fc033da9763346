import { UpstreamError } from "./upstream.ts";

/** What several servers have answered, with the failures of those that have not. */
export interface Found<Value> {
  value: Value;
  failures: UpstreamError[];
}

/** No server has answered; also if there is none to ask. */
export class AllFailed extends Error {
  override name = "AllFailed";

  constructor(
    /** What kind of server. */
    kind: "nsqd" | "nsqlookupd",
    readonly failures: readonly UpstreamError[],
  ) {
    super(`failed to query any ${kind}: ${failures.map(({ message }) => message).join("\n")}`);
  }
}

/**
 * Asks several servers at the same time.
 *
 * @param ask rejects with UpstreamError if the server does not answer
 * @returns the answers, in the order of the servers; rejects with AllFailed if no server has answered
 */
export async function gather<Server, Answer>(
  kind: "nsqd" | "nsqlookupd",
  servers: readonly Server[],
  ask: (server: Server) => Promise<Answer>,
): Promise<Found<Answer[]>> {
  const failures: UpstreamError[] = [];
  const value: Answer[] = [];
  for (const outcome of await Promise.allSettled(servers.map(ask))) {
    if (outcome.status === "fulfilled") value.push(outcome.value);
    else if (outcome.reason instanceof UpstreamError) failures.push(outcome.reason);
    else throw outcome.reason;
  }
  if (value.length === 0) throw new AllFailed(kind, failures);
  return { value, failures };
}

/** For an action of which a part is done already: that nobody has answered is then no failure of the whole. Throws other errors. */
export function foundNothing(error: unknown): Found<never[]> {
  if (!(error instanceof AllFailed)) throw error;
  return { value: [], failures: [...error.failures] };
}
