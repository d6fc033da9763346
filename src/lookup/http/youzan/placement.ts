import { empty, Refusal } from "../../../http/server/reply.ts";
import type { LookupCall } from "../call.ts";
import { needed, partitionOf } from "../cluster/arguments.ts";
import { accept, memberOf } from "../cluster/member.ts";
import { isSet } from "./topic-arguments.ts";

// What Youzan's operators ask for in a cluster. Brokers are named by Youzan's ids, `ip:rpc port:tcp port:worker id`, or as in other calls.

/** POST /topic/partition/move?topic=&partition=&move_from=&move_to=[&move_leader=true]: moves a replica, or has another one lead. */
export async function movePartition(call: LookupCall): Promise<Response> {
  const { operators, names, view } = memberOf(call);
  const [topic, partition] = [call.topicName(), partitionOf(call)];
  const [from, to] = [needed(call, "move_from"), needed(call, "move_to")];
  if (!isSet(call, "move_leader")) {
    accept(await operators.move(topic, partition, from, to));
    return empty();
  }
  const leader = view.partitions.get(`${topic}/${partition}`)?.value.leader;
  if (leader !== undefined && names.find(from) !== leader) throw new Refusal(400, "move from not the topic leader");
  accept(await operators.lead(topic, partition, to));
  return empty();
}

/** POST /cluster/node/remove?remove_node=: has a broker drained. */
export async function removeYouzanNode(call: LookupCall): Promise<Response> {
  accept(await memberOf(call).operators.removeNode(needed(call, "remove_node")));
  return empty();
}
