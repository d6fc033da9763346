import type { TopicRegistry } from "../../broker/topics/topic-registry.ts";
import type { DiskRecord, LoadRecord } from "../state/records.ts";

/** What differs by less than this part is not told. */
const NOTABLE = 0.1;
/** Rates and sizes below this are all alike. */
const LEAST_BYTES = 64 * 1024;

/** What a broker has to do, as others place partitions by it. */
export interface Load {
  readonly disk: DiskRecord;
  readonly load: LoadRecord;
}

/** What the load is measured by. */
export interface MeteredBroker {
  readonly registry: Pick<TopicRegistry, "partitions" | "channelPartitions">;
  readonly freeSpace: { readonly freeNow: { readonly freeBytes: number; readonly totalBytes: number } | undefined };
}

/** Measures what a broker has to do, and tells when it is worth telling others. */
export class LoadMeter {
  private told: Load = {
    disk: { sizeBytes: 0, freeBytes: 0 },
    load: { inBytesPerSecond: 0, outBytesPerSecond: 0, storedBytes: 0 },
  };
  private bytes = 0;
  private delivered = 0;
  private atMs: number | undefined;

  constructor(private readonly broker: MeteredBroker) {}

  /** @returns undefined: it is about as it was told last */
  notable(nowMs: number): Load | undefined {
    const load = this.measure(nowMs);
    const isOther =
      differ(load.disk.freeBytes, this.told.disk.freeBytes) ||
      load.disk.sizeBytes !== this.told.disk.sizeBytes ||
      differ(load.load.inBytesPerSecond, this.told.load.inBytesPerSecond) ||
      differ(load.load.outBytesPerSecond, this.told.load.outBytesPerSecond) ||
      differ(load.load.storedBytes, this.told.load.storedBytes);
    if (isOther) this.told = load;
    return isOther ? load : undefined;
  }

  private measure(nowMs: number): Load {
    let [bytes, messages, delivered, storedBytes] = [0, 0, 0, 0];
    for (const { messageBytes, messageCount, log } of this.broker.registry.partitions) {
      bytes += messageBytes;
      messages += messageCount;
      storedBytes += log.files?.extent.bytes ?? 0;
    }
    for (const { meter } of this.broker.registry.channelPartitions.values()) delivered += meter.deliveredCount;
    const seconds = this.atMs === undefined ? Number.POSITIVE_INFINITY : Math.max(1, nowMs - this.atMs) / 1_000;
    // How large the delivered ones were is not counted.
    const meanBytes = messages === 0 ? 0 : bytes / messages;
    const perSecond = (now: number, before: number) => Math.max(0, Math.round((now - before) / seconds));
    const load = {
      inBytesPerSecond: perSecond(bytes, this.bytes),
      outBytesPerSecond: perSecond(delivered * meanBytes, this.delivered * meanBytes),
      storedBytes,
    };
    [this.bytes, this.delivered, this.atMs] = [bytes, delivered, nowMs];
    const { freeBytes = 0, totalBytes = 0 } = this.broker.freeSpace.freeNow ?? {};
    return { disk: { sizeBytes: totalBytes, freeBytes }, load };
  }
}

function differ(now: number, before: number): boolean {
  return Math.abs(now - before) > Math.max(LEAST_BYTES, NOTABLE * before);
}
