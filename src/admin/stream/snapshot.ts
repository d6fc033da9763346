/** A view as JSON, in the parts that a delta is made of. Each part is encoded once, for all that watch the view. */
export class Snapshot {
  /** The rows of a page by their keys, in their order; undefined for a view that is no page. */
  private readonly rows: Map<string, string> | undefined;
  /** All other members. */
  private readonly members = new Map<string, string>();

  constructor(data: object) {
    for (const [name, value] of Object.entries(data)) {
      if (name === "rows" && Array.isArray(value)) this.rows = new Map(value.map((row) => [keyOf(row), JSON.stringify(row)]));
      else if (value !== undefined) this.members.set(name, JSON.stringify(value));
    }
  }

  /** The whole view. */
  full(): string {
    const rows = this.rows === undefined ? [] : [`"rows":[${[...this.rows.values()].join(",")}]`];
    return `{${[...rows, ...membersJson(this.members)].join(",")}}`;
  }

  /**
   * What makes this view of one of before: a Delta as JSON.
   *
   * @returns "" if nothing has changed; undefined if a delta cannot say it
   */
  deltaFrom(before: Snapshot): string | undefined {
    // A member that is gone cannot be told.
    if ((this.rows === undefined) !== (before.rows === undefined)) return undefined;
    for (const name of before.members.keys()) if (!this.members.has(name)) return undefined;
    const parts: string[] = [];
    if (this.rows !== undefined && before.rows !== undefined) parts.push(...rowsDelta(before.rows, this.rows));
    const changed = new Map([...this.members].filter(([name, json]) => before.members.get(name) !== json));
    if (changed.size > 0) parts.push(`"set":{${membersJson(changed).join(",")}}`);
    return parts.length === 0 ? "" : `{${parts.join(",")}}`;
  }
}

function rowsDelta(before: ReadonlyMap<string, string>, after: ReadonlyMap<string, string>): string[] {
  const changed = [...after].filter(([key, json]) => before.get(key) !== json).map(([, json]) => json);
  const order = [...after.keys()];
  const isInOrder = order.length === before.size && [...before.keys()].every((key, i) => key === order[i]);
  return [...(changed.length === 0 ? [] : [`"rows":[${changed.join(",")}]`]), ...(isInOrder ? [] : [`"order":${JSON.stringify(order)}`])];
}

function membersJson(members: ReadonlyMap<string, string>): string[] {
  return [...members].map(([name, json]) => `${JSON.stringify(name)}:${json}`);
}

/** A row's `key`, its `address`, or its topic and channel. */
function keyOf(row: unknown): string {
  const { key, address, topic, channel } = row as { key?: string; address?: string; topic?: string; channel?: string };
  return key ?? address ?? (channel === undefined ? String(topic) : `${topic} ${channel}`);
}
