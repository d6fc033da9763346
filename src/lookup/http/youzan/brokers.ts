import { exchange, type RequestLimits } from "../../../http/client/exchange.ts";
import { Refusal } from "../../../http/server/reply.ts";
import { withoutBrackets } from "../../../net/address.ts";
import type { RegisteredNode } from "../../registered-node.ts";
import type { LookupCall } from "../call.ts";

/** A broker makes a thousand partitions in a few seconds. An answer of these calls has some hundred bytes. */
const LIMITS: RequestLimits = { connectTimeoutMs: 2_000, requestTimeoutMs: 30_000, responseBytes: 64 * 1024 };
const MAX_PORT = 65_535;

/** A call of a broker's HTTP API. */
export interface BrokerCall {
  readonly node: RegisteredNode;
  readonly path: string;
  readonly query: Readonly<Record<string, string>>;
}

/**
 * Makes calls of brokers, all at once.
 *
 * @param accepted a status beside 200 that is none of a failure: the broker does not have what is to be deleted
 * @throws Refusal 503 that says which brokers have not carried out their calls, and why
 */
export async function callBrokers(call: LookupCall, calls: readonly BrokerCall[], accepted?: number): Promise<void> {
  const problems = await Promise.all(calls.map((one) => problemOf(one, accepted)));
  const failed = problems.filter((problem) => problem !== undefined);
  if (failed.length === 0) return;
  call.lookup.logger.error(`broker calls failed: ${failed.join("; ")}`, call.about());
  throw new Refusal(503, `BROKERS_FAILED: ${failed.join("; ")}`);
}

async function problemOf({ node, path, query }: BrokerCall, accepted: number | undefined): Promise<string | undefined> {
  const { broadcastAddress, httpPort } = node.info;
  const port = Number(httpPort);
  if (port > MAX_PORT) return `${node.httpAddress} has no HTTP port`;
  const target = `${path}?${new URLSearchParams(query)}`;
  try {
    const { status, body } = await exchange(
      { hostname: withoutBrackets(broadcastAddress), port },
      { method: "POST", path: target },
      LIMITS,
    );
    return status === 200 || status === accepted ? undefined : `${node.httpAddress} answered ${status} ${messageOf(body)}`;
  } catch (error) {
    return `${node.httpAddress}: ${(error as Error).message}`;
  }
}

/** The code of a broker's error; its text if it is none. */
function messageOf(body: Buffer): string {
  const text = body.toString();
  return /^\{"message":"([^"\\]*)"/.exec(text)?.[1] ?? text.slice(0, 100);
}
