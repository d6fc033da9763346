/** A host that was chosen. Whether it did what was asked has to be told once. */
export interface Choice {
  readonly host: string;
  done(isGood: boolean): void;
}

/** Chooses among hosts for each request. */
export interface HostChooser {
  choose(): Choice;
}

/** How long a host that failed is left alone, ms: at first, and at most. It doubles with each attempt that is made meanwhile. */
const FIRST_PAUSE_MS = 30_000;
const LONGEST_PAUSE_MS = 900_000;

interface Host {
  readonly host: string;
  isDown: boolean;
  retryAtMs: number;
  pauseMs: number;
}

/** One after the other, whether or not they fail. It begins with the second, as NSQ's tools do. */
export class RoundRobin implements HostChooser {
  private turn = 0;

  constructor(private readonly hosts: readonly string[]) {}

  choose(): Choice {
    this.turn = (this.turn + 1) % this.hosts.length;
    return { host: this.hosts[this.turn] ?? "", done: () => {} };
  }
}

/** One after the other, without those that failed lately. If all have failed, all are tried again. */
export class HostPool implements HostChooser {
  protected readonly hosts: Host[];
  private next = 0;

  /** @param nowMs a clock */
  constructor(
    hosts: readonly string[],
    protected readonly nowMs: () => number = () => performance.now(),
  ) {
    this.hosts = hosts.map((host) => ({ host, isDown: false, retryAtMs: 0, pauseMs: FIRST_PAUSE_MS }));
  }

  choose(): Choice {
    return this.choiceOf(this.nextInTurn());
  }

  protected choiceOf(host: Host): Choice {
    return { host: host.host, done: (isGood) => this.onDone(host, isGood) };
  }

  protected isUsable(host: Host): boolean {
    return !host.isDown || host.retryAtMs < this.nowMs();
  }

  /** A host that is down is tried, once in each pause. */
  protected startRetry(host: Host): void {
    host.pauseMs = Math.min(host.pauseMs * 2, LONGEST_PAUSE_MS);
    host.retryAtMs = this.nowMs() + host.pauseMs;
  }

  protected nextInTurn(): Host {
    const { hosts } = this;
    for (let i = 0; i < hosts.length; i++) {
      const at = (this.next + i) % hosts.length;
      const host = hosts[at] as Host;
      if (!this.isUsable(host)) continue;
      if (host.isDown) this.startRetry(host);
      this.next = at + 1;
      return host;
    }
    for (const host of hosts) host.isDown = false;
    this.next = 0;
    return hosts[0] as Host;
  }

  private onDone(host: Host, isGood: boolean): void {
    if (isGood) {
      host.isDown = false;
    } else if (!host.isDown) {
      host.isDown = true;
      host.pauseMs = FIRST_PAUSE_MS;
      host.retryAtMs = this.nowMs() + FIRST_PAUSE_MS;
    }
  }
}

/** Response times are remembered for this time, ms, which is divided into as many parts. */
const PARTS = 120;
const MEMORY_MS = 300_000;
/** The part of the requests that goes round robin, to learn about all hosts: at first, its factor after each, and at least. */
const FIRST_EXPLORATION = 0.3;
const EXPLORATION_DECAY = 0.9;
const LEAST_EXPLORATION = 0.01;

/** The times of a host's answers. */
interface Times {
  readonly counts: number[];
  readonly sumsMs: number[];
}

/** Prefers hosts that answer fast: each gets a share of the requests that is inverse to its response time. */
export class EpsilonGreedyPool extends HostPool {
  private readonly times: Map<string, Times>;
  private exploration = FIRST_EXPLORATION;
  private part = 0;
  private partEndMs: number;

  constructor(
    hosts: readonly string[],
    nowMs?: () => number,
    private readonly random: () => number = Math.random,
  ) {
    super(hosts, nowMs);
    const none = () => new Array<number>(PARTS).fill(0);
    this.times = new Map(hosts.map((host) => [host, { counts: none(), sumsMs: none() }]));
    this.partEndMs = this.nowMs() + MEMORY_MS / PARTS;
  }

  override choose(): Choice {
    this.forget();
    const host = this.pick();
    const { done } = this.choiceOf(host);
    const startMs = this.nowMs();
    return {
      host: host.host,
      done: (isGood) => {
        if (isGood) this.remember(host.host, Math.trunc(this.nowMs() - startMs));
        done(isGood);
      },
    };
  }

  private pick(): Host {
    if (this.random() < this.exploration) {
      this.exploration = Math.max(LEAST_EXPLORATION, this.exploration * EXPLORATION_DECAY);
      return this.nextInTurn();
    }
    const known = this.hosts
      .filter((host) => this.isUsable(host))
      .map((host) => ({ host, ms: this.averageMs(host.host) }))
      .filter(({ ms }) => ms > 0);
    let rest = this.random() * known.reduce((sum, { ms }) => sum + 1 / ms, 0);
    for (const { host, ms } of known) {
      rest -= 1 / ms;
      if (rest > 0) continue;
      if (host.isDown) this.startRetry(host);
      return host;
    }
    return this.nextInTurn();
  }

  private remember(host: string, ms: number): void {
    const times = this.times.get(host) as Times;
    times.counts[this.part] = (times.counts[this.part] ?? 0) + 1;
    times.sumsMs[this.part] = (times.sumsMs[this.part] ?? 0) + ms;
  }

  /** Begins new parts as time goes on, each in place of the oldest. */
  private forget(): void {
    for (let i = 0; i < PARTS && this.nowMs() >= this.partEndMs; i++) {
      this.partEndMs += MEMORY_MS / PARTS;
      this.part = (this.part + 1) % PARTS;
      for (const { counts, sumsMs } of this.times.values()) {
        counts[this.part] = 0;
        sumsMs[this.part] = 0;
      }
    }
    this.partEndMs = Math.max(this.partEndMs, this.nowMs());
  }

  /** The average of the parts, the newer the heavier. */
  private averageMs(host: string): number {
    const { counts, sumsMs } = this.times.get(host) as Times;
    let average = 0;
    let last = 0;
    for (let age = 1; age <= PARTS; age++) {
      const part = (this.part + age) % PARTS;
      const count = counts[part] ?? 0;
      if (count > 0) last = (sumsMs[part] ?? 0) / count;
      average += (last * age) / PARTS;
    }
    return average;
  }
}
