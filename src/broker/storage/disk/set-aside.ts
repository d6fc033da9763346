import type { Disk } from "./disk.ts";

const MAX_SET_ASIDE = 1000;

/** The name of a file or folder that was set aside. */
export const SET_ASIDE_NAME = /\.damaged(-\d+)?$/;

/** Renames a damaged file or folder, because an operator may be able to use it. @returns its new path */
export function setAside(disk: Disk, path: string): string {
  for (let i = 1; i < MAX_SET_ASIDE; i++) {
    const aside = `${path}.damaged${i === 1 ? "" : `-${i}`}`;
    if (disk.exists(aside)) continue;
    disk.rename(path, aside);
    return aside;
  }
  throw new Error(`there are ${MAX_SET_ASIDE} damaged files beside ${path}; remove those that you do not need`);
}
