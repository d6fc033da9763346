import type { Logger } from "../../base/logger.ts";
import { Refusal } from "../../http/server/reply.ts";
import type { Views } from "../views/views.ts";
import type { Sight } from "../watch/sight.ts";
import { Snapshot } from "./snapshot.ts";

/** A view that is streamed. It is made once after each poll, for however many streams. */
export class Feed {
  /** Counts the changes. 0: it has not been made yet. */
  version = 0;
  /** Called when the version has changed. */
  readonly watchers = new Set<() => void>();
  private snapshot: Snapshot | undefined;
  /** From the version before to this one; undefined if it must be sent in full. */
  private delta: string | undefined;
  /** What a GET of the view is answered, if it is refused. */
  private refusal: string | undefined;
  private isBusy = false;

  constructor(
    readonly view: string,
    readonly sight: Sight,
    private readonly views: Views,
    private readonly logger: Logger,
  ) {}

  /** Makes the view anew, unless that is under way. */
  async refresh(): Promise<void> {
    if (this.isBusy) return;
    this.isBusy = true;
    try {
      this.show(new Snapshot(await this.views.read(this.view, this.sight)));
    } catch (error) {
      this.refuse(error);
    } finally {
      this.isBusy = false;
    }
  }

  /** The event for a stream that was sent a version; 0: none. @returns "" if it has the newest */
  eventAfter(version: number): string {
    if (version === this.version) return "";
    if (this.refusal !== undefined) return this.event("error", this.refusal);
    // A stream that has missed one gets the newest state and not what was between.
    if (version === this.version - 1 && this.delta !== undefined) return this.event("delta", this.delta);
    return this.event("full", this.snapshot!.full());
  }

  private show(snapshot: Snapshot): void {
    const delta = this.snapshot === undefined || this.refusal !== undefined ? undefined : snapshot.deltaFrom(this.snapshot);
    this.snapshot = snapshot;
    this.refusal = undefined;
    if (delta !== "") this.change(delta);
  }

  private refuse(error: unknown): void {
    if (!(error instanceof Refusal)) this.logger.error(`STREAM: cannot make ${this.view} - ${(error as Error).stack}`);
    const { status, code } = error instanceof Refusal ? error : new Refusal(500, "INTERNAL_ERROR");
    const refusal = JSON.stringify({ status, message: code });
    if (refusal === this.refusal) return;
    this.refusal = refusal;
    this.change(undefined);
  }

  private change(delta: string | undefined): void {
    this.delta = delta;
    this.version++;
    for (const watcher of this.watchers) watcher();
  }

  private event(name: string, data: string): string {
    return `event: ${name}\ndata: {"view":${JSON.stringify(this.view)},"data":${data}}\n\n`;
  }
}
