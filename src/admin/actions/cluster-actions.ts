import { Refusal } from "../../http/server/reply.ts";
import { fieldsOf, listOf } from "../upstream/fields.ts";
import { queryOf, type Upstream } from "../upstream/upstream.ts";
import type { Replication } from "../watch/replication.ts";
import type { CheckedAction } from "./action-request.ts";
import { atEach, type Outcome } from "./server-results.ts";

/** Asks a lookup server of a replicated cluster for changes. What was asked for is done by the cluster, later. */
export class ClusterActions {
  constructor(private readonly parts: { readonly upstream: Upstream; readonly watcher: { readonly replication: Replication } }) {}

  /** @throws Refusal 404 NO_CLUSTER */
  carryOut({ action, topic, broker, values }: CheckedAction): Promise<Outcome[]> {
    switch (action) {
      case "remove_node":
        return this.post(`/cluster/remove-node${queryOf({ node: broker })}`);
      case "keep_node":
        return this.post(`/cluster/remove-node${queryOf({ node: broker, cancel: "true" })}`);
      case "balance":
        return this.post("/cluster/balance");
      default:
        return this.post(`/cluster/${action}${queryOf({ topic, ...values })}`);
    }
  }

  /** Gives a topic of the cluster more partitions. @returns undefined: it is none of the cluster's, or there is no cluster */
  async expand(topic: string, partitions: string): Promise<Outcome[] | undefined> {
    const { replication } = this.parts.watcher;
    if (replication.lookup === undefined || !(await this.hasTopic(replication.lookup, topic))) return undefined;
    return this.post(`/cluster/expand${queryOf({ topic, partitions })}`);
  }

  private async hasTopic(lookup: string, topic: string): Promise<boolean> {
    try {
      const answer = fieldsOf(await this.parts.upstream.getJson(lookup, `/cluster/topics${queryOf({ topic })}`));
      return listOf(answer, "topics").length > 0;
    } catch {
      return false;
    }
  }

  private post(path: string): Promise<Outcome[]> {
    const { lookup } = this.parts.watcher.replication;
    if (lookup === undefined) throw new Refusal(404, "NO_CLUSTER");
    return atEach(
      [lookup],
      () => "",
      (server) => this.parts.upstream.post(server, path),
    );
  }
}
