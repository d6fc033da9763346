/**
 * Puts lines of statsd together into packets of whole lines: `key:value|c` for counters and `key:value|g` for gauges
 * (https://github.com/statsd/statsd/blob/master/docs/metric_types.md).
 */
export class Packets {
  private readonly packets: string[] = [];
  private open = "";
  private openBytes = 0;

  /**
   * @param prefix of every key
   * @param packetBytes the limit for a packet; a longer line is a packet of its own
   */
  constructor(
    private readonly prefix: string,
    private readonly packetBytes: number,
  ) {}

  /** Adds a counter's increase. */
  increment(key: string, count: number): void {
    this.add(`${this.prefix}${key}:${count}|c\n`);
  }

  /** Adds a gauge's value. */
  gauge(key: string, value: number): void {
    this.add(`${this.prefix}${key}:${value}|g\n`);
  }

  /** Ends the last packet. @returns all packets */
  end(): string[] {
    this.close();
    return this.packets;
  }

  private add(line: string): void {
    const bytes = Buffer.byteLength(line);
    if (this.openBytes + bytes > this.packetBytes) this.close();
    this.open += line;
    this.openBytes += bytes;
  }

  private close(): void {
    if (this.openBytes > 0) this.packets.push(this.open);
    this.open = "";
    this.openBytes = 0;
  }
}
