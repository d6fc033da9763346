import { isMissing, type SourceFiles, systemFiles } from "./files.ts";
import { NSQD_METADATA_NAME, oldMetadataNames } from "./nsqd-metadata.ts";
import { listQueues } from "./queue-files.ts";

/**
 * Whether a folder contains files of Go's nsqd: metadata or queues.
 *
 * @returns false if there is no such folder
 * @throws the kernel's error if the folder cannot be listed
 */
export function isNsqdDataPath(folder: string, files: SourceFiles = systemFiles): boolean {
  try {
    if (files.list(folder).includes(NSQD_METADATA_NAME)) return true;
    return oldMetadataNames(folder, files).length > 0 || listQueues(folder, files).length > 0;
  } catch (error) {
    if (isMissing(error)) return false;
    throw error;
  }
}
