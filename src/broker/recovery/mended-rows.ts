import type { Logger } from "../../base/logger.ts";
import type { TopicIdentity } from "../storage/log/topic-file.ts";
import type { TopicFolder } from "../storage/metadata/metadata-backup.ts";
import type { MetadataStore } from "../storage/metadata/metadata-store.ts";
import type { ChannelRow, TopicRow } from "../storage/metadata/rows.ts";
import type { TopicRegistry } from "../topics/topic-registry.ts";

/** A topic's folder, and what its topic file says; undefined: an earlier release made the folder. */
interface FoundFolder extends TopicFolder {
  readonly topic: TopicIdentity | undefined;
}

/** Rows of the metadata store that were damaged, and what takes their places. */
export class MendedRows {
  /** Ids of topics whose rows were damaged. */
  private readonly ids = new Set<number>();

  constructor(
    private readonly parts: { readonly metadata: MetadataStore; readonly logger: Logger },
    private readonly registry: Pick<TopicRegistry, "countCorrupt">,
  ) {}

  has(id: number): boolean {
    return this.ids.has(id);
  }

  /** Replaces a damaged row. Number and name are those of its folder, and no message in the log counts as released. */
  topic<Folder extends FoundFolder>(row: TopicRow, folders: readonly Folder[], identify: (folder: Folder) => void): TopicRow {
    const rows = this.parts.metadata.topics().filter(({ damaged }) => damaged !== true);
    const free = folders.filter((folder) => !rows.some(({ number, name }) => number === folder.number && name === folder.name));
    for (const folder of free) identify(folder);
    const folder =
      free.find(({ topic }) => topic?.id === row.id) ??
      free.find(({ number, topic }) => topic === undefined && number === row.number) ??
      free.find(({ name, topic }) => topic === undefined && name === row.name);
    const mended: TopicRow = {
      id: row.id,
      number: folder?.number ?? row.number,
      name: folder?.name ?? row.name,
      paused: false,
      released: 0,
      prefix: folder?.topic?.prefix,
    };
    this.ids.add(row.id);
    if (folder !== undefined) this.parts.metadata.updateTopic(mended);
    this.registry.countCorrupt(mended.name);
    this.parts.logger.error(
      `TOPIC(${mended.name}): its row in the metadata store is damaged; it is not paused any more, and all messages in its log wait for a first channel`,
    );
    return mended;
  }

  /** Replaces a damaged row. Its cursor could skip messages, so the channel starts at the beginning of the log. */
  channel(topicName: string, row: ChannelRow): ChannelRow {
    this.registry.countCorrupt(topicName);
    this.parts.logger.error(
      `CHANNEL(${row.name}) of ${topicName}: its row in the metadata store is damaged; it starts at the beginning of the log, and finished messages may be delivered again`,
    );
    const { id, topicId, name } = row;
    return { id, topicId, name, paused: row.paused, voidBefore: 0, requeuesVoidBefore: 0, floor: 0, progress: new Uint8Array() };
  }
}
