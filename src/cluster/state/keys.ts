import { isValidName } from "../../frame/names.ts";
import { type Kind, SHAPES } from "./records.ts";

/** What a key is about. `name` is `TOPIC/PARTITION` for a partition, and "" for the controller. */
export interface KeyPlace {
  readonly kind: Kind;
  readonly name: string;
}

/** The ids of brokers, lookup servers and tasks, and the names of clusters. */
const ID = /^[A-Za-z0-9._:@-]{1,200}$/;
const PARTITION = /^([^/]+)\/(0|[1-9]\d{0,3})$/;

/** The keys of one cluster: `/bunsq/NAME/KIND/…`. */
export class ClusterKeys {
  /** All keys of the cluster begin with this. */
  readonly prefix: string;

  /** @throws Error for a name that cannot be part of a key */
  constructor(cluster: string) {
    if (!ID.test(cluster)) throw new Error(`invalid cluster name "${cluster}": use up to 200 letters, digits and . _ : @ -`);
    this.prefix = `/bunsq/${cluster}/`;
  }

  get controller(): string {
    return `${this.prefix}controller`;
  }

  /** @throws Error for an id that cannot be part of a key */
  member(kind: "brokers" | "lookups" | "moves" | "removals" | "deleted" | "requests" | "runs", id: string): string {
    if (!ID.test(id)) throw new Error(`invalid id "${id}": use up to 200 letters, digits and . _ : @ -`);
    return `${this.prefix}${kind}/${id}`;
  }

  topic(topic: string): string {
    return `${this.prefix}topics/${topic}`;
  }

  partition(topic: string, partition: number): string {
    return `${this.prefix}partitions/${topic}/${partition}`;
  }

  /** All partitions of a topic begin with this. */
  partitionsOf(topic: string): string {
    return `${this.prefix}partitions/${topic}/`;
  }

  /** A move's key, by the prefix of its partition: a partition has one at a time. */
  move(prefix: number): string {
    return this.member("moves", String(prefix));
  }

  /** What operators have asked for of the whole cluster. */
  get balanceRequest(): string {
    return this.member("requests", "balance");
  }

  get prefixes(): string {
    return `${this.prefix}prefixes`;
  }

  /** What a key is about; undefined: this release does not know such keys. */
  placeOf(key: string): KeyPlace | undefined {
    if (key === this.controller) return { kind: "controller", name: "" };
    const rest = key.slice(this.prefix.length);
    const slash = rest.indexOf("/");
    if (!key.startsWith(this.prefix) || slash < 0) return undefined;
    const kind = rest.slice(0, slash);
    const name = rest.slice(slash + 1);
    return isKind(kind) && isNameOf(kind, name) ? { kind, name } : undefined;
  }
}

/** The parts of a partition's name in the view. */
export function topicAndPartition(name: string): { topic: string; partition: number } {
  const slash = name.lastIndexOf("/");
  return { topic: name.slice(0, slash), partition: Number(name.slice(slash + 1)) };
}

function isKind(text: string): text is Kind {
  return Object.hasOwn(SHAPES, text);
}

function isNameOf(kind: Kind, name: string): boolean {
  switch (kind) {
    case "topics":
      return isValidName(name);
    case "partitions":
      return isValidName(PARTITION.exec(name)?.[1] ?? "");
    case "controller":
      return false;
    default:
      return ID.test(name);
  }
}
