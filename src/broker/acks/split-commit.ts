import type { Committed } from "./pending-publish.ts";

/** What a batch waits for that went to several places: all of them. One that fails refuses it, though the others have their messages. */
export class SplitCommit implements Committed {
  constructor(private readonly parts: readonly Committed[]) {}

  get failure(): Error | undefined {
    for (const { failure } of this.parts) if (failure !== undefined) return failure;
    return undefined;
  }

  get fsync(): boolean {
    return this.parts.some(({ fsync }) => fsync);
  }

  get syncFailure(): Error | undefined {
    for (const { fsync, syncFailure } of this.parts) if (fsync && syncFailure !== undefined) return syncFailure;
    return undefined;
  }
}
