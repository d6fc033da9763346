import { exchange, type RequestLimits } from "../../../http/client/exchange.ts";
import { Refusal } from "../../../http/server/reply.ts";
import { withoutBrackets } from "../../../net/address.ts";
import type { LookupCall } from "../call.ts";
import { memberOf } from "./member.ts";

/** The broker answers when it leads all partitions. */
const LIMITS: RequestLimits = { connectTimeoutMs: 2_000, requestTimeoutMs: 15_000, responseBytes: 64 * 1024 };
const KNOWN_MS = 2_000;
const POLL_MS = 10;

/**
 * Has a broker that has a topic alone make it one of the cluster. Nothing is done for topics of the cluster, and for those that nobody has.
 *
 * @throws Refusal 400, in the broker's words, or if several brokers have one of this name; 503
 */
export async function adoptLone(call: LookupCall, name: string): Promise<void> {
  const { view } = memberOf(call);
  if (view.topics.has(name)) return;
  const nodes = call.registry.topic(name)?.nodes.items.filter(({ gone }) => !gone) ?? [];
  const [node] = nodes;
  if (node === undefined) return;
  const where = nodes.map(({ httpAddress }) => httpAddress).join(", ");
  if (nodes.length > 1)
    throw new Refusal(
      400,
      `NOT_ADOPTED: several brokers have a topic ${name} of their own: ${where}; copy the messages of all but one with nsq_to_nsq, and delete it there`,
    );
  const server = { hostname: withoutBrackets(node.info.broadcastAddress), port: Number(node.info.httpPort) };
  const path = `/cluster/adopt?topic=${encodeURIComponent(name)}`;
  let answer: { status: number; body: Buffer };
  try {
    answer = await exchange(server, { method: "POST", path }, LIMITS);
  } catch (error) {
    throw new Refusal(503, `BROKERS_FAILED: ${where}: ${(error as Error).message}`);
  }
  if (answer.status !== 200) throw new Refusal(400, reasonOf(answer.body, where));
  call.lookup.logger.info(`CLUSTER: topic ${name} of ${where} is one of the cluster now`, call.about({ topic: name }));
  const endMs = performance.now() + KNOWN_MS;
  while (!view.topics.has(name) && performance.now() < endMs) await Bun.sleep(POLL_MS);
}

/** What a broker says in its error; NSQ's does not know the call. */
function reasonOf(body: Buffer, where: string): string {
  try {
    const { message } = JSON.parse(body.toString()) as { message?: unknown };
    if (typeof message === "string" && message.startsWith("NOT_ADOPTED: ")) return message;
  } catch {
    // It is no JSON.
  }
  return `NOT_ADOPTED: ${where} is no broker of the cluster`;
}
