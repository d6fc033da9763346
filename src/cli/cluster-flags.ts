import type { BrokerClusterOptions } from "../broker/options.ts";
import { type ClusterOptions, MAX_CLUSTER_BODY_BYTES } from "../net/cluster-options.ts";
import type { Flag, StringFlag } from "./flag.ts";
import { allFlags, type FlagTable } from "./flags.ts";
import { type Layer, prefixOf } from "./settings.ts";

const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const KIB = 1024;
const MIB = 1024 * KIB;
const TIB = 1024 * 1024 * MIB;
const MAX_REPLICAS = 16;

/** The flags of the cluster that brokers and lookup servers have alike. */
export function clusterFlags(): FlagTable<ClusterOptions>["options"] {
  return {
    etcdEndpoints: {
      name: "etcd-endpoints",
      kind: "list",
      own: true,
      default: [],
      doc: "<addr>:<port> or URL of each member of the etcd that the cluster agrees by (docs/cluster.md); if not given, the server belongs to no cluster",
    },
    etcdCa: {
      name: "etcd-ca",
      kind: "string",
      own: true,
      default: "",
      doc: "path of the certificates (PEM) that sign etcd's; if not given, those of the system",
    },
    etcdCert: { name: "etcd-cert", kind: "string", own: true, default: "", doc: "path of the certificate (PEM) that etcd is shown" },
    etcdKey: { name: "etcd-key", kind: "string", own: true, default: "", doc: "path of the private key (PEM) of -etcd-cert" },
    etcdUser: { name: "etcd-user", kind: "string", own: true, default: "", doc: "name of the user of etcd" },
    etcdPasswordFile: {
      name: "etcd-password-file",
      kind: "string",
      own: true,
      default: "",
      doc: "path of a file with the password of -etcd-user",
    },
    cluster: {
      name: "cluster",
      kind: "string",
      own: true,
      default: "bunsq",
      doc: "name of the cluster: several may share one etcd",
    },
    clusterLeaseMs: {
      name: "cluster-lease",
      kind: "duration",
      own: true,
      default: 3 * SECOND,
      min: SECOND,
      max: 60 * SECOND,
      doc: "time after which a server that does not say that it is alive counts as gone",
    },
    clusterReplicas: {
      name: "cluster-replicas",
      kind: "int",
      own: true,
      default: 3,
      min: 1,
      max: MAX_REPLICAS,
      doc: "replicas of a topic that is made without saying how many; fewer if there are fewer brokers",
    },
    minInSync: {
      name: "min-in-sync",
      kind: "int",
      own: true,
      default: 0,
      min: 0,
      max: MAX_REPLICAS,
      doc: "replicas that must have a publish before it is acknowledged, for topics of which nobody says; 0: a majority",
    },
  };
}

/** The flags that only brokers of a cluster have. */
export function brokerClusterFlags(): FlagTable<BrokerClusterOptions>["options"] {
  return {
    ...clusterFlags(),
    clusterLagMs: {
      name: "cluster-lag",
      kind: "duration",
      own: true,
      default: 2 * SECOND,
      min: 100,
      max: 5 * MINUTE,
      doc: "time for which publishes wait for a replica that does not keep up, before it does not count any more",
    },
    clusterSuspectMs: {
      name: "cluster-suspect",
      kind: "duration",
      own: true,
      default: SECOND,
      min: 300,
      max: 5 * MINUTE,
      doc: "time without a word after which another broker is taken for dead, and the partitions that it leads are taken over",
    },
    clusterForward: {
      name: "cluster-forward",
      kind: "bool",
      own: true,
      default: true,
      doc: "whether publishes are passed on to the broker that leads their partition, if this one does not",
    },
    clusterCatchUpBytes: {
      name: "cluster-catch-up-rate",
      kind: "int",
      own: true,
      default: 40 * MIB,
      min: KIB,
      max: TIB,
      doc: "bytes a second that replicas which catch up read from this broker, all together, beside what is published meanwhile",
    },
    clusterScrubMs: {
      name: "cluster-scrub",
      kind: "duration",
      own: true,
      default: 24 * HOUR,
      min: 0,
      max: 365 * 24 * HOUR,
      doc: "time in which a broker reads all its replicas once, to find and mend damage before the messages are needed; 0: never",
    },
    replicationAddress: {
      name: "replication-address",
      kind: "string",
      own: true,
      default: "0.0.0.0:4153",
      doc: "<addr>:<port> to listen on for other brokers of the cluster; they reach it at the broadcast address",
    },
    replicationTlsCert: {
      name: "replication-tls-cert",
      kind: "string",
      own: true,
      default: "",
      doc: "path of the certificate to show other brokers; with it they talk over TLS",
    },
    replicationTlsKey: {
      name: "replication-tls-key",
      kind: "string",
      own: true,
      default: "",
      doc: "path of the private key of that certificate",
    },
    replicationTlsCa: {
      name: "replication-tls-ca",
      kind: "string",
      own: true,
      default: "",
      doc: "path of the certificate authorities of other brokers' certificates",
    },
  };
}

/** When the lookup server of a cluster balances. */
export const balanceHoursFlag: StringFlag = {
  name: "balance-hours",
  kind: "string",
  own: true,
  default: "",
  valueName: "hours",
  doc: "hours of the day in UTC, like 2-4, in which the cluster's partitions are moved for balance; if not given, at any time",
};

/**
 * What cannot be meant so: flags of a cluster where none is named, which would be ignored; more replicas in sync than there are to be; and
 * messages that are longer than what brokers send each other.
 *
 * @param table the program's flags, those of a lookup server beside a broker with their prefix
 */
export function clusterErrors<Options>(table: FlagTable<Options>, { values, origins }: Pick<Layer, "values" | "origins">): string[] {
  const known = new Map(allFlags(table).map((flag) => [flag.name, flag]));
  const flags: readonly Flag[] = [...Object.values<Flag>(brokerClusterFlags()), balanceHoursFlag];
  const errors: string[] = [];
  const { etcdEndpoints, clusterReplicas, minInSync } = clusterFlags();
  for (const prefix of ["", prefixOf("lookup")]) {
    const valueFor = ({ name }: Flag) => values.get(prefix + name) ?? known.get(prefix + name)?.default;
    const isGiven = (name: string) => String(values.get(name + etcdEndpoints.name) ?? "") !== "";
    for (const { name } of flags) {
      if (name === etcdEndpoints.name || !known.has(prefix + name) || !values.has(prefix + name)) continue;
      // A lookup server beside a broker is in the broker's cluster, if it is given no etcd of its own.
      if (isGiven(prefix) || (name === balanceHoursFlag.name && isGiven(""))) continue;
      errors.push(
        `${origins.get(prefix + name)} needs -${prefix}${etcdEndpoints.name}, which names the etcd of the cluster that it is for`,
      );
    }
    const [least, replicas] = [valueFor(minInSync), valueFor(clusterReplicas)];
    if (isGiven(prefix) && Number(least) > Number(replicas))
      errors.push(
        `-${prefix}${minInSync.name} is ${least}, but -${prefix}${clusterReplicas.name} is ${replicas}: a topic cannot have more replicas in sync than it has`,
      );
    for (const name of prefix === "" && isGiven("") ? ["max-msg-size", "max-body-size"] : []) {
      if (Number(values.get(name) ?? 0) > MAX_CLUSTER_BODY_BYTES)
        errors.push(`${origins.get(name)} is ${values.get(name)}: in a cluster it is at most ${MAX_CLUSTER_BODY_BYTES}`);
    }
  }
  return errors;
}
