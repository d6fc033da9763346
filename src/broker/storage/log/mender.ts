import { UnreadableFile } from "../disk/unreadable-file.ts";

/** Gets records of a replicated log from its other replicas where this one's are damaged. */
export interface Mender {
  /**
   * Messages [from, to) are damaged, missing or cannot be read. Called again and again while somebody waits for them.
   *
   * @returns whether they are on their way; false: no other replica has them either
   */
  need(from: number, to: number, problem: Error): boolean;
}

/** Damaged records are read from another replica. Whoever reads them waits, as for a file that cannot be read now. */
export class RecordsAreMended extends UnreadableFile {
  override name = "RecordsAreMended";

  /** @param path of the file that has them */
  constructor(path: string, from: number, to: number) {
    super(
      path,
      Object.assign(new Error(`messages ${from} to ${to - 1} are damaged, and are read from another replica`), { code: "EBADMSG" }),
    );
  }
}

/** The kernel's codes for a file that is gone or damaged. Others pass, as when too many files are open. */
const DAMAGE_CODES = new Set(["EIO", "ENOENT", "ENODATA", "EBADMSG", "EUCLEAN", "EILSEQ"]);

export function isDamage({ code }: UnreadableFile): boolean {
  return DAMAGE_CODES.has(code);
}
