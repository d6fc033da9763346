import type { LookupMember } from "../../../cluster/member/lookup-member.ts";
import type { ClusterRefusal, RefusalReason } from "../../../cluster/placement/cluster-refusal.ts";
import { Refusal } from "../../../http/server/reply.ts";
import type { ClusterTopics } from "../../cluster-topics.ts";
import type { LookupCall } from "../call.ts";

/** The status of each answer that says no. */
const STATUSES: Record<RefusalReason, number> = {
  "no-such-topic": 404,
  "no-such-partition": 404,
  "no-such-broker": 404,
  "topic-exists": 400,
  "too-few-brokers": 400,
  "fewer-partitions": 400,
  "no-prefixes": 400,
  "may-lose-messages": 400,
  invalid: 400,
  changing: 409,
  "unknown-outcome": 503,
};

/** The lookup server's part in the cluster, once it knows what that has. @throws Refusal 400 NO_CLUSTER, 503 ETCD_AWAY */
export function memberOf({ lookup }: LookupCall): LookupMember {
  const { cluster } = lookup;
  if (cluster?.member.isLoaded === true) return cluster.member;
  if (lookup.isJoining) throw new Refusal(503, "ETCD_AWAY: etcd has not answered yet");
  throw new Refusal(400, `NO_CLUSTER: this lookup server was started without -${lookup.flagName("etcd-endpoints")}`);
}

/** @throws Refusal if there is one */
export function accept(refusal: ClusterRefusal | undefined): void {
  if (refusal !== undefined) throw refusalOf(refusal);
}

/** @returns the answer `REASON: sentence` */
export function refusalOf({ reason, message }: ClusterRefusal): Refusal {
  return new Refusal(STATUSES[reason], `${reason.toUpperCase().replaceAll("-", "_")}: ${message}`);
}

/** The cluster's topics; undefined: the lookup server is in no cluster. @throws Refusal 503 ETCD_AWAY */
export function clusterTopicsOf(call: LookupCall): ClusterTopics | undefined {
  if (call.lookup.options.etcdEndpoints.length === 0) return undefined;
  memberOf(call);
  return call.lookup.cluster;
}
