import type { NumberQueue } from "../../../../base/number-queue.ts";
import type { Chunk } from "../../../storage/log/chunk.ts";
import { DETAIL_DAMAGED, DETAIL_SAMPLED } from "../../../trace/record.ts";
import { ELSEWHERE } from "../../locality.ts";
import type { ChannelSettings } from "../channel-settings.ts";
import type { Consumer } from "../consumer.ts";
import { asUnreadable, Dispatcher, type DispatcherParts, REDELIVERIES_PER_TURN } from "../dispatcher.ts";
import { IN_FLIGHT } from "../window.ts";
import type { DeadLetters } from "./dead-letters.ts";
import { HeaderFilter } from "./header-filter.ts";
import { type FoundRecord, RecordFinder } from "./record-finder.ts";
import type { Selection } from "./selection.ts";
import { TakerGroups } from "./taker-groups.ts";

/** How many messages a turn takes from the backlog to find some that a consumer takes. The others get a turn in between. */
const ADMITTED_PER_TURN = 8192;
/** How many messages at most are taken from the backlog at a time. */
const ADMITTED_AT_ONCE = 1024;
/** How many messages that do not enter the channel cost as much as one that is admitted. */
const FILTERED_PER_ADMITTED = 8;
/** How much work (HeaderFilter.work) a turn may do: some milliseconds. Others get a turn in between. */
const WORK_PER_TURN = 50_000;
/** The longest run that one consumer gets at a time. */
const MAX_RUN_BYTES = 1024 * 1024;
/** While a dead letter is being published, its message is looked at again after this long. */
const DEAD_LETTER_MS = 10_000;

/**
 * Delivers the messages of a channel that chooses: by the order of keys or of the partition, by the tags and filters of its consumers, and
 * by its own filter. It takes messages from the backlog into the window as long as a consumer could take more and none of those that may
 * be delivered is for it; selection.ts has what is known of them. Those that may be delivered are in `inFlight.ready`; where consumers
 * have tags or filters they are sorted from there by who takes them (taker-sets.ts).
 */
export class SelectiveDispatcher extends Dispatcher {
  /** The unfinished message that was delivered most often, of those that were delivered again; -1: none. */
  private worst = -1;
  private readonly groups: TakerGroups;
  private readonly finder: RecordFinder;
  private againLeft = 0;
  /** What HeaderFilter.work is when this turn has done enough. */
  private workEnd = 0;
  /** How many consumers take messages now: where all of them take the same ones, of the nearest. */
  private takers = 0;
  private nearest = ELSEWHERE;

  constructor(
    parts: DispatcherParts,
    private readonly settings: ChannelSettings,
    private readonly selection: Selection,
    private readonly deadLetters: DeadLetters,
  ) {
    super(parts);
    this.groups = new TakerGroups(parts.group.consumers, parts.log);
    this.finder = new RecordFinder(parts.inFlight, parts.log, parts.parts);
  }

  override onConsumersChanged(): void {
    if (this.groups.update()) this.selection.sorted.moveTo(this.inFlight.ready);
  }

  /** The message that was delivered most often of those that were delivered again and are not finished; undefined: none is known. */
  get mostTried(): { sequence: number; attempts: number } | undefined {
    if (this.worst < 0 || !this.inFlight.isUnfinished(this.worst)) return undefined;
    return { sequence: this.worst, attempts: this.inFlight.slotOf(this.worst).attempts };
  }

  protected override deliverAll(nowMs: number): void {
    if (this.selection.isOrdered && !this.order.admits()) return;
    this.againLeft = REDELIVERIES_PER_TURN;
    this.workEnd = HeaderFilter.work + WORK_PER_TURN;
    let admitLeft = ADMITTED_PER_TURN;
    for (;;) {
      const wanted = Math.min(this.countTakers(), this.mostNow);
      if (wanted === 0) return;
      if (this.groups.any) this.sortReady();
      if (this.serveAll(nowMs) > 0) continue;
      if (this.hasWorkedEnough) return this.signals.markDirty();
      const taken = this.admit(Math.min(wanted, ADMITTED_AT_ONCE));
      if (taken === 0) break;
      admitLeft -= taken;
      if (admitLeft <= 0) return this.signals.markDirty();
    }
    if (this.againLeft === 0) this.signals.markDirty();
  }

  /** Counts the consumers that take messages now. @returns how many messages they take together */
  private countTakers(): number {
    // Where consumers take different messages, a farther one may be the only one for some.
    const { any } = this.groups;
    let wanted = 0;
    this.takers = 0;
    this.nearest = ELSEWHERE;
    for (const consumer of this.consumers) {
      if (!this.serves(consumer) || (consumer.nearness > this.nearest && !any)) continue;
      if (consumer.nearness < this.nearest && !any) {
        this.nearest = consumer.nearness;
        this.takers = wanted = 0;
      }
      this.takers++;
      wanted += consumer.capacity;
    }
    return wanted;
  }

  /** How many messages the channel's rate lets pass now. */
  private get mostNow(): number {
    return this.group.rate?.available ?? Number.POSITIVE_INFINITY;
  }

  private get hasWorkedEnough(): boolean {
    return HeaderFilter.work > this.workEnd;
  }

  // ---- who takes what

  /** Looks at the messages that may be delivered, and tells which groups of consumers take them. */
  private sortReady(): void {
    const { inFlight, groups, selection } = this;
    const { ready } = inFlight;
    let unreadable = 0;
    let hasFailed = false;
    while (ready.length > unreadable && !this.hasWorkedEnough) {
      const sequence = ready.first;
      const retry = inFlight.slotOf(sequence).attempts === 0 ? this.freshRetry : this.againRetry;
      const isWaiting = retry.isWaiting;
      const found = isWaiting ? undefined : this.find(sequence, retry);
      ready.shift();
      if (found === undefined) {
        // The others may be in other files.
        ready.push(sequence);
        unreadable++;
        hasFailed ||= !isWaiting;
      } else if (found.isDamaged) this.discard(sequence);
      else if (groups.find(found.buffer, found.from) > 0 || !groups.allFilter)
        selection.sorted.setOf(groups.found, groups.foundCount).queue.push(sequence);
      else this.finishFiltered(sequence);
    }
    // The next try begins with another message.
    if (hasFailed) ready.push(ready.shift());
  }

  private finishFiltered(sequence: number): void {
    this.meter.filteredCount++;
    this.finish(sequence);
  }

  /** Drops a message whose record is damaged. */
  private discard(sequence: number): void {
    this.inFlight.trace?.discarded(sequence, 1, DETAIL_DAMAGED);
    this.finish(sequence);
  }

  /** Removes a message that is in no queue. */
  private finish(sequence: number): void {
    const stored = this.inFlight.remove(sequence);
    if (stored !== undefined) this.parts.deferred.finish(stored);
    this.signals.markProgress();
  }

  /** @returns undefined if it cannot be read now */
  private find(sequence: number, retry = this.againRetry): FoundRecord | undefined {
    try {
      return this.finder.find(sequence);
    } catch (error) {
      retry.failed(asUnreadable(error));
      return undefined;
    }
  }

  // ---- to consumers

  private serveAll(nowMs: number): number {
    const { group, consumers, groups } = this;
    const count = consumers.length;
    const share = Math.ceil(Math.max(1, this.inFlight.waitingCount - this.selection.blocked) / Math.max(1, this.takers));
    const first = group.turn % count;
    group.turn = first + 1;
    const most = this.mostNow;
    let delivered = 0;
    for (let i = 0; i < count; i++) {
      const index = (first + i) % count;
      const consumer = consumers[index];
      if (consumer.nearness > this.nearest || !this.serves(consumer)) continue;
      const given = this.give(consumer, groups.groupAt(index), Math.min(consumer.capacity, share, most - delivered), nowMs);
      this.deliveredBy[consumer.nearness] += given;
      delivered += given;
    }
    this.meter.deliveredCount += delivered;
    if (delivered > 0) this.signals.markUnsaved();
    return delivered;
  }

  private give(consumer: Consumer, group: number, want: number, nowMs: number): number {
    const { groups, selection, inFlight } = this;
    let given = 0;
    while (given < want && consumer.capacity > 0) {
      const queue = groups.any ? selection.sorted.oldestFor(group) : inFlight.ready;
      if (queue === undefined || queue.length === 0) break;
      const more = this.deliverFrom(queue, consumer, want - given, nowMs);
      if (more === 0) break;
      given += more;
    }
    return given;
  }

  /** Delivers one message of a queue, or a run of new ones. @returns how many */
  private deliverFrom(queue: NumberQueue, consumer: Consumer, want: number, nowMs: number): number {
    const { inFlight, settings } = this;
    for (let looked = queue.length; looked > 0 && queue.length > 0; looked--) {
      const sequence = queue.first;
      const slot = inFlight.slotOf(sequence);
      if (slot.attempts === 0 && inFlight.isInWindow(sequence)) return this.deliverNew(queue, sequence, consumer, want, nowMs);
      if (this.againRetry.isWaiting) {
        queue.push(queue.shift());
        continue;
      }
      if (this.againLeft === 0) return 0;
      this.againLeft--;
      if (settings.maxAttempts > 0 && slot.attempts >= settings.maxAttempts) {
        if (!this.bury(queue, sequence, nowMs)) return 0;
      } else if (this.isForAnother(slot.owner, consumer)) {
        queue.push(queue.shift());
      } else {
        return this.deliverAgain(queue, sequence, consumer, nowMs);
      }
    }
    return 0;
  }

  /** Whether a message timed out with a consumer, and another one takes messages: a late FIN would finish this delivery. */
  private isForAnother(owner: number, consumer: Consumer): boolean {
    return this.selection.isOrdered && owner === consumer.id && this.takers > 1 && !this.groups.any;
  }

  /** Delivers the first message of a queue, which is new, and those in the queue behind it that follow it in the log. */
  private deliverNew(queue: NumberQueue, sequence: number, consumer: Consumer, want: number, nowMs: number): number {
    const { inFlight, log } = this;
    const { window } = inFlight;
    const { mask, position, attempts } = window;
    if (this.freshRetry.isWaiting) return 0;
    let chunk: Chunk;
    try {
      const found = log.chunkAt(position[sequence & mask], true);
      if (found.isGap) {
        queue.shift();
        this.discard(sequence);
        return 0;
      }
      chunk = found;
    } catch (error) {
      this.freshRetry.failed(asUnreadable(error));
      return 0;
    }
    const isSampled = consumer.sampleRate > 0 && !this.selection.isOrdered;
    if (isSampled && Math.floor(Math.random() * 100) > consumer.sampleRate) {
      queue.shift();
      inFlight.trace?.finished(consumer.traceName, sequence, 1, 1, DETAIL_SAMPLED);
      this.finish(sequence);
      return 1;
    }
    const { view, start } = chunk;
    const from = chunk.offsetOf(position[sequence & mask]);
    const end = Math.min(chunk.end - start, from + MAX_RUN_BYTES);
    const deadlineMs = nowMs + consumer.msgTimeoutMs;
    const most = isSampled ? 1 : want;
    let at = from;
    let count = 0;
    for (let i = sequence & mask; ; ) {
      queue.shift();
      window.state[i] = IN_FLIGHT;
      attempts[i] = 1;
      window.owner[i] = consumer.id;
      window.deadlineMs[i] = deadlineMs;
      window.deliveredAtMs[i] = nowMs;
      at += 4 + view.getUint32(at);
      count++;
      if (count === most || at >= end || queue.first !== sequence + count) break;
      i = (sequence + count) & mask;
      if (attempts[i] !== 0 || position[i] !== start + at) break;
    }
    inFlight.addRun(count, deadlineMs);
    this.meter.onDeliver(view, start, from, sequence, count);
    if (inFlight.trace !== undefined) inFlight.trace.delivered(consumer.traceName, sequence, count, 1);
    this.group.rate?.spend(count, at - from);
    consumer.sendRun(log, chunk, from, at, count);
    return count;
  }

  private deliverAgain(queue: NumberQueue, sequence: number, consumer: Consumer, nowMs: number): number {
    const found = this.find(sequence);
    if (found === undefined) {
      // The next try begins with another message, which may be in another file.
      queue.push(queue.shift());
      return 0;
    }
    queue.shift();
    if (found.isDamaged) {
      this.discard(sequence);
      return 0;
    }
    const { inFlight } = this;
    const attempts = inFlight.redeliver(sequence, consumer, nowMs, nowMs + consumer.msgTimeoutMs);
    if (attempts > (this.mostTried?.attempts ?? 1)) this.worst = sequence;
    this.group.rate?.spend(1, found.to - found.from);
    consumer.sendAgain(this.log, found.buffer, found.from, found.to, attempts, found.position);
    return 1;
  }

  /** Sends a message to the dead letters that was delivered too often. Until it is there, it holds its key. @returns false if it cannot be read */
  private bury(queue: NumberQueue, sequence: number, nowMs: number): boolean {
    const found = this.find(sequence);
    if (found === undefined) return false;
    queue.shift();
    if (found.isDamaged) {
      this.discard(sequence);
      return true;
    }
    const { attempts } = this.inFlight.slotOf(sequence);
    this.inFlight.defer(sequence, nowMs + DEAD_LETTER_MS);
    this.deadLetters.move(sequence, found, attempts, this.settings.deadLetterTopic);
    return true;
  }

  // ---- from the backlog

  /**
   * Takes up to `want` messages from the backlog, as far as they enter the channel.
   *
   * @returns what that cost: 0 if there are none, or there is no room
   */
  private admit(want: number): number {
    const { backlog, selection, inFlight } = this;
    const { window } = inFlight;
    if (this.freshRetry.isWaiting) return 0;
    const before = window.cursor;
    try {
      backlog.advance();
      const { admission } = this.settings;
      const limit = selection.room <= 0 ? 0 : backlog.runLimit(Math.min(admission === undefined ? want : ADMITTED_AT_ONCE, selection.room));
      const chunk = limit > 0 ? backlog.chunk() : undefined;
      if (chunk === undefined) return window.cursor - before;
      if (admission === undefined) backlog.admit(chunk, limit, selection);
      else return this.admitFiltered(chunk, limit, want);
    } catch (error) {
      this.freshRetry.failed(asUnreadable(error));
    }
    return window.cursor - before;
  }

  private admitFiltered(chunk: Chunk, limit: number, want: number): number {
    const { admission } = this.settings;
    const { backlog } = this;
    const { buffer, view, start } = chunk;
    const end = chunk.end - start;
    let at = chunk.offsetOf(backlog.position);
    let passed = 0;
    while (passed < limit && at < end && admission?.takes(buffer, at) === false) {
      at += 4 + view.getUint32(at);
      passed++;
      if (this.hasWorkedEnough) break;
    }
    if (passed > 0) {
      backlog.passOver(passed, start + at);
      this.meter.filteredCount += passed;
      this.signals.markTrimmable();
      this.signals.markUnsaved();
      return Math.ceil(passed / FILTERED_PER_ADMITTED);
    }
    let taken = 0;
    while (taken < want && taken < limit && at < end && admission?.takes(buffer, at) === true) {
      at += 4 + view.getUint32(at);
      taken++;
      if (this.hasWorkedEnough) break;
    }
    backlog.admit(chunk, taken, this.selection);
    return taken;
  }
}
