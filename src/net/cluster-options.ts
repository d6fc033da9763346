/** What brokers and lookup servers are told of the cluster that they belong to. Paths and names that are not given are "". */
export interface ClusterOptions {
  /** The members of etcd, as `host:port` or URLs. Empty: the server belongs to no cluster, and the other options mean nothing. */
  etcdEndpoints: string[];
  etcdCa: string;
  etcdCert: string;
  etcdKey: string;
  etcdUser: string;
  etcdPasswordFile: string;
  /** Its name: several clusters may share one etcd. */
  cluster: string;
  /** How long the others wait for a server that does not say that it is alive. */
  clusterLeaseMs: number;
  /** How many replicas a new topic gets if nobody says. */
  clusterReplicas: number;
  /** In how many replicas a publish must be before it is acknowledged, for topics of which nobody says; 0: in a majority. */
  minInSync: number;
}

/** The most that a message or a command's body may have at a broker of a cluster: others get a message in one piece. */
export const MAX_CLUSTER_BODY_BYTES = 100 * 1024 * 1024;
