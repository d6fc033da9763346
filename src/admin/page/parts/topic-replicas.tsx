import type { ClusterDetail, TopicReplication } from "../../cluster-api.ts";
import { askReplicas } from "../dialogs/cluster-dialogs.tsx";
import { may } from "../state/session.ts";
import { useView } from "../state/use-view.ts";
import { ReplicasTable } from "./replicas.tsx";

/** Each partition of a topic with its replicas. */
export function TopicReplicas({ topic, replication }: { topic: string; replication: TopicReplication }) {
  const { data } = useView<ClusterDetail>("/cluster");
  const brokers = data?.brokers ?? [];
  const alive = brokers.filter(({ state }) => state === "alive").length;
  return (
    <section class="panel" aria-labelledby="replicas-title">
      <header class="panel-head">
        <h2 id="replicas-title">Replicas</h2>
        <span class="muted">a publish needs {replication.min_in_sync} in sync</span>
        {may("admin", topic) && (
          <button type="button" class="small" onClick={() => askReplicas(topic, replication.replicas, alive)}>
            Replicas …
          </button>
        )}
      </header>
      <ReplicasTable topic={topic} brokers={brokers} />
    </section>
  );
}
