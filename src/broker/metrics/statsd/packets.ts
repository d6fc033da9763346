/**
 * Lines of statsd, `key:value|c` for counters and `key:value|g` for gauges
 * (https://github.com/statsd/statsd/blob/master/docs/metric_types.md), put together into packets of whole lines.
 */
export class Packets {
  private readonly packets: string[] = [];
  private open = "";
  private openBytes = 0;

  /**
   * @param prefix in front of every key
   * @param packetBytes that a packet has at most; a line that is longer by itself is a packet of its own
   */
  constructor(
    private readonly prefix: string,
    private readonly packetBytes: number,
  ) {}

  /** Something that happened `count` more times. */
  increment(key: string, count: number): void {
    this.add(`${this.prefix}${key}:${count}|c\n`);
  }

  /** Something's value now. */
  gauge(key: string, value: number): void {
    this.add(`${this.prefix}${key}:${value}|g\n`);
  }

  /** All that was put together. */
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
