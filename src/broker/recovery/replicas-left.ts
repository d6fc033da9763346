import { join } from "node:path";
import type { Disk } from "../storage/disk/disk.ts";
import { reading } from "../storage/disk/unreadable-file.ts";
import { decodeHeader, INDEX_HEADER_BYTES, isHeaderIntact } from "../storage/log/index-format.ts";
import { topicFolders } from "../storage/metadata/metadata-backup.ts";

/**
 * Whether any log has an epoch, and so is a replica of a cluster. The metadata store says it otherwise: this is for one that is lost.
 *
 * @throws UnreadableFile
 */
export function hasReplicas(disk: Disk, directory: string): boolean {
  return topicFolders(disk, directory).some(({ folder }) =>
    reading(folder, () => disk.list(folder).some((name) => name.endsWith(".idx") && epochOf(disk, join(folder, name)) > 0)),
  );
}

function epochOf(disk: Disk, path: string): number {
  const header = Buffer.alloc(INDEX_HEADER_BYTES);
  const file = disk.open(path, "r");
  try {
    const read = disk.read(file, header, 0, INDEX_HEADER_BYTES, 0);
    return read === INDEX_HEADER_BYTES && isHeaderIntact(header) ? decodeHeader(header).epoch : 0;
  } finally {
    disk.close(file);
  }
}
