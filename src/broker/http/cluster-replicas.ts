import { encodeJson } from "../../base/go/json.ts";
import { empty, encodedJson, Refusal } from "../../http/server/reply.ts";
import { inSlices, TextSlices } from "../../http/server/slices.ts";
import type { ReplicaReport } from "../metrics/cluster-report.ts";
import { validTopic } from "./arguments.ts";
import type { HttpCall } from "./call.ts";

/** GET /cluster/replicas[?topic=]: the partitions that this broker has of its cluster. A long answer is written in slices. */
export function clusterReplicas({ broker, query }: HttpCall): Response {
  const { clusterReport } = broker;
  if (clusterReport === undefined) throw new Refusal(400, "NO_CLUSTER");
  const out = new TextSlices();
  return encodedJson(inSlices(out, write(clusterReport.uid, clusterReport.list(query.get("topic")), out)));
}

/** POST /cluster/adopt?topic=: makes a topic that this broker has alone one of the cluster, which can have more replicas then. */
export async function adoptTopic({ broker, query }: HttpCall): Promise<Response> {
  if (broker.cluster === undefined) throw new Refusal(400, "NO_CLUSTER");
  const name = validTopic(query.get("topic"));
  const refusal = await broker.cluster.adopt(name);
  if (refusal !== undefined) throw new Refusal(400, `NOT_ADOPTED: ${refusal.message}`);
  return empty();
}

function* write(uid: string, replicas: Iterable<ReplicaReport>, out: TextSlices): Generator<void> {
  out.write(`{"uid":${encodeJson(uid)},"replicas":[`);
  let separator = "";
  for (const replica of replicas) {
    out.write(separator + encodeJson(replica));
    separator = ",";
    yield;
  }
  out.write("]}");
}
