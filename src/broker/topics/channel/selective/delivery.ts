import type { TopicParts } from "../../topic-parts.ts";
import { ChannelSettings } from "../channel-settings.ts";
import { Dispatcher, type DispatcherParts, isOf } from "../dispatcher.ts";
import { heldIn } from "../held-messages.ts";
import { DeadLetters, type DeadLettersOf } from "./dead-letters.ts";
import { Selection } from "./selection.ts";
import { SelectiveDispatcher } from "./selective-dispatcher.ts";
import { isChoosy } from "./taker-groups.ts";

/** How a channel delivers what it has of one partition: its dispatcher, which is exchanged when the settings or the consumers ask for another. */
export class Delivery {
  dispatcher: Dispatcher;
  readonly deadLetters: DeadLetters;
  /** Other settings wait until no message is in flight; nothing is delivered meanwhile. */
  isExchangeDue = false;
  private settings = ChannelSettings.DEFAULT;

  constructor(
    private readonly of: DispatcherParts,
    parts: Pick<TopicParts, "deadLetterDesk" | "rateLimitedLog">,
    deadLettersOf: DeadLettersOf,
  ) {
    this.dispatcher = new Dispatcher(of);
    this.deadLetters = new DeadLetters(deadLettersOf, parts);
  }

  /** The dispatcher, if it is one that chooses. */
  get selective(): SelectiveDispatcher | undefined {
    return this.dispatcher instanceof SelectiveDispatcher ? this.dispatcher : undefined;
  }

  /** Delivers by other settings from now on; a change of the order waits until no message is in flight. */
  apply(settings: ChannelSettings): void {
    this.settings = settings;
    this.isExchangeDue = true;
    this.of.signals.markDirty();
  }

  /** Consumers have come or gone. */
  onConsumersChanged(): void {
    this.dispatcher.onConsumersChanged();
    if (this.selective === undefined && this.hasChoosyConsumers) this.isExchangeDue = true;
  }

  private get hasChoosyConsumers(): boolean {
    return this.of.group.consumers.some((consumer) => isChoosy(consumer) && isOf(consumer, this.of.log));
  }

  /** Exchanges the dispatcher, if one is to be exchanged. @returns whether messages may be delivered */
  exchange(): boolean {
    const { inFlight } = this.of;
    const { order } = this.settings;
    const isReordered = order !== (inFlight.selection?.order ?? "none");
    if (isReordered && inFlight.count > 0) return false;
    if (isReordered && !this.dispatcher.tryFresh(() => this.rewind())) return false;
    this.isExchangeDue = false;
    const chooses = this.settings.isSelective || this.hasChoosyConsumers;
    // One that had to choose goes on so: what its window has left behind is known to it alone.
    if (!chooses && !isReordered && inFlight.selection !== undefined) return this.replace(inFlight.selection);
    if (!chooses) {
      inFlight.selection = undefined;
      return this.replace(undefined);
    }
    const { window, ready } = inFlight;
    if (isReordered || inFlight.selection === undefined) inFlight.selection = new Selection(order, window, ready, this.of.log);
    return this.replace(inFlight.selection);
  }

  private replace(selection: Selection | undefined): boolean {
    const { deliveredBy } = this.dispatcher;
    this.dispatcher.cancelRetries();
    selection?.sorted.moveTo(this.of.inFlight.ready);
    this.dispatcher =
      selection === undefined ? new Dispatcher(this.of) : new SelectiveDispatcher(this.of, this.settings, selection, this.deadLetters);
    for (const [i, count] of deliveredBy.entries()) this.dispatcher.deliveredBy[i] = count;
    return true;
  }

  /** Goes back to the oldest unfinished message, as after a restart: what the window has comes again, in the order of the log. */
  private rewind(): boolean {
    const { backlog, inFlight, log } = this.of;
    const { floor } = inFlight;
    const progress = backlog.progressWith(undefined);
    // Those of a plain channel are not in its progress: they are on their way to the deferred store, or due soon.
    if (inFlight.selection === undefined) progress.held = heldIn(inFlight.window, undefined).concat(progress.held ?? []);
    const position = log.locate(floor);
    inFlight.rewind(floor);
    backlog.restartAt(position);
    backlog.restore(progress);
    return true;
  }
}
