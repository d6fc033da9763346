import type { HttpCall } from "./call.ts";

/**
 * A call that changes a topic or its channels: where other brokers have the topic as well, it is answered once those have the change that
 * would go on if this one were gone.
 */
export function shared(work: (call: HttpCall) => Response | Promise<Response>): (call: HttpCall) => Response | Promise<Response> {
  return (call) => (call.broker.cluster === undefined ? work(call) : untilShared(call, work));
}

async function untilShared(call: HttpCall, work: (call: HttpCall) => Response | Promise<Response>): Promise<Response> {
  const response = await work(call);
  await call.broker.registry.topics.get(call.query.get("topic") ?? "")?.untilShared();
  return response;
}
