import { EtcdError } from "../../../../src/cluster/etcd/etcd-error.ts";
import { EtcdHttp } from "../../../../src/cluster/etcd/etcd-http.ts";
import { ClusterKeys } from "../../../../src/cluster/state/keys.ts";
import type { BrokerRecord, PartitionRecord, TopicRecord } from "../../../../src/cluster/state/records.ts";

const CALL_LIMIT_MS = 3_000;

/** A partition, as etcd has it. */
export interface Placed {
  readonly topic: string;
  readonly partition: number;
  readonly record: PartitionRecord;
}

/** Reads from etcd what a cluster has agreed on. */
export class ClusterRecords {
  private readonly etcd: EtcdHttp;
  private readonly keys = new ClusterKeys("bunsq");
  /** Where each data path was last, by its uid: a broker that is dead has no record any more. */
  private readonly addresses = new Map<string, string>();

  constructor(endpoints: readonly string[]) {
    this.etcd = new EtcdHttp({ endpoints, callLimitMs: CALL_LIMIT_MS });
  }

  /** @param topics only of these @throws Error if etcd does not answer */
  async partitions(topics?: readonly string[]): Promise<Placed[]> {
    await this.brokers();
    const entries = await this.read<PartitionRecord>("partitions/");
    return entries
      .map(({ name, record }) => {
        const slash = name.lastIndexOf("/");
        return { topic: name.slice(0, slash), partition: Number(name.slice(slash + 1)), record };
      })
      .filter(({ topic }) => topics?.includes(topic) ?? true);
  }

  /** The `host:port` of the TCP sides of the brokers that are alive. */
  async brokers(): Promise<string[]> {
    const entries = await this.read<BrokerRecord>("brokers/");
    for (const { record } of entries) this.addresses.set(record.uid, record.tcp);
    return entries.map(({ record }) => record.tcp);
  }

  async topics(): Promise<string[]> {
    return (await this.read<TopicRecord>("topics/")).map(({ name }) => name);
  }

  /** The `host:port` of a data path's broker; undefined: it was never seen alive. */
  addressOf(uid: string): string | undefined {
    return this.addresses.get(uid);
  }

  /** The revision that etcd is at: how many writes it has seen. */
  async revision(): Promise<number> {
    const range = await this.etcd.range(`${this.keys.prefix}brokers/`);
    if (range instanceof EtcdError) throw range;
    return range.revision;
  }

  private async read<Record>(kind: string): Promise<{ name: string; record: Record }[]> {
    const prefix = this.keys.prefix + kind;
    const range = await this.etcd.range(prefix);
    if (range instanceof EtcdError) throw range;
    return range.entries.map(({ key, value }) => ({ name: key.slice(prefix.length), record: JSON.parse(value) as Record }));
  }
}
