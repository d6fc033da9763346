import { expect, test } from "bun:test";
import { type ReadyConnection, ReadyDistribution } from "../../src/client/ready.ts";
import { Random, seedFromEnvironment } from "../support/random.ts";
import { SimulatedClock } from "../support/simulated-clock.ts";

const SEED = seedFromEnvironment();
console.log(`seed of the distribution: ${SEED}`);

/** One way between client and broker, ms. */
const ONE_WAY_MS = 0.15;

/** A broker and the connection to it, in simulated time. */
class Broker implements ReadyConnection {
  readonly maxReady = 2500;
  readonly roundTripMs = 2 * ONE_WAY_MS;
  received = 0;
  /** What the client knows. */
  inFlight = 0;
  readonly sent: number[] = [];
  /** What the broker knows. */
  ready = 0;
  held = 0;
  /** When each waiting message was published. */
  readonly waiting: number[] = [];

  constructor(private readonly stage: Stage) {}

  sendReady(count: number): void {
    this.sent.push(count);
    this.stage.clock.callAfter(ONE_WAY_MS, () => {
      this.ready = count;
      this.deliver();
    });
  }

  publish(): void {
    this.waiting.push(this.stage.clock.steadyMs());
    this.deliver();
  }

  private deliver(): void {
    while (this.held < this.ready && this.waiting.length > 0) {
      const publishedMs = this.waiting.shift() as number;
      this.held++;
      this.stage.onHeld();
      this.stage.clock.callAfter(ONE_WAY_MS, () => this.receive(publishedMs));
    }
  }

  private receive(publishedMs: number): void {
    const { stage } = this;
    this.inFlight++;
    this.received++;
    stage.latenciesMs.push(stage.clock.steadyMs() - publishedMs);
    stage.clock.callAfter(stage.handlingMs, () => {
      this.inFlight--;
      stage.distribution.onAnswered(this);
      stage.clock.callAfter(ONE_WAY_MS, () => {
        this.held--;
        this.deliver();
      });
    });
  }
}

class Stage {
  readonly clock = new SimulatedClock(0);
  readonly latenciesMs: number[] = [];
  readonly brokers: Broker[];
  readonly distribution: ReadyDistribution;
  mostHeld = 0;

  constructor(
    count: number,
    maxInFlight: number,
    random: Random,
    readonly handlingMs = 0.05,
  ) {
    this.distribution = new ReadyDistribution(maxInFlight, this.clock, () => random.next());
    this.brokers = Array.from({ length: count }, () => new Broker(this));
    for (const broker of this.brokers) this.distribution.add(broker);
  }

  onHeld(): void {
    this.mostHeld = Math.max(
      this.mostHeld,
      this.brokers.reduce((sum, { held }) => sum + held, 0),
    );
  }

  percentile(part: number): number {
    return this.latenciesMs.toSorted((a, b) => a - b)[Math.floor(part * (this.latenciesMs.length - 1))] as number;
  }
}

for (const maxInFlight of [1, 10]) {
  test(`with ${maxInFlight} in flight over 40 connections every message comes within 200 ms, and no more are in flight`, () => {
    const random = new Random(SEED);
    const stage = new Stage(40, maxInFlight, random);
    for (let i = 0; i < 500; i++) {
      stage.clock.advance(random.int(0, 80 - 1));
      stage.brokers[random.int(0, 40 - 1)]?.publish();
    }
    stage.clock.advance(1_000);
    expect(stage.latenciesMs).toHaveLength(500);
    expect(stage.percentile(0.99)).toBeLessThan(200);
    expect(stage.mostHeld).toBeLessThanOrEqual(maxInFlight);
  });
}

test("one busy broker among idle ones gets half of the time, and the idle ones are still asked", () => {
  const random = new Random(SEED);
  const stage = new Stage(40, 1, random);
  const [busy, idle] = stage.brokers as [Broker, Broker];
  for (let i = 0; i < 100_000; i++) busy.waiting.push(0);
  stage.clock.advance(2_000);
  const before = stage.latenciesMs.length;
  stage.clock.advance(2_000);
  // A message takes 0.35 ms here: 2,857 fit into a second.
  expect(stage.latenciesMs.length - before).toBeGreaterThan(2_000);
  stage.latenciesMs.length = 0;
  idle.publish();
  stage.clock.advance(400);
  expect(idle.waiting).toHaveLength(0);
  expect(stage.mostHeld).toBe(1);
});

test("with enough in flight each connection has go-nsq's share, also when connections come and go", () => {
  const stage = new Stage(0, 10, new Random(1));
  const brokers = Array.from({ length: 4 }, () => new Broker(stage));
  const [first, second, third, fourth] = brokers as [Broker, Broker, Broker, Broker];
  stage.brokers.push(...brokers);
  const readies = () => brokers.map(({ ready }) => ready);
  stage.distribution.add(first);
  stage.clock.advance(10);
  expect(readies()).toEqual([10, 0, 0, 0]);
  stage.distribution.add(second);
  stage.distribution.add(third);
  stage.clock.advance(10);
  expect(readies()).toEqual([3, 3, 3, 0]);
  stage.distribution.add(fourth);
  stage.clock.advance(10);
  expect(readies()).toEqual([2, 2, 2, 2]);
  for (const gone of [first, second, third]) stage.distribution.remove(gone);
  stage.clock.advance(10);
  expect(fourth.ready).toBe(10);
  expect(stage.mostHeld).toBe(0);
});

test("RDY is lowered before it is given to another, so that the sum stays within the maximum", () => {
  const random = new Random(SEED);
  const stage = new Stage(1, 100, random, 20);
  const [first] = stage.brokers as [Broker];
  for (let i = 0; i < 10_000; i++) first.waiting.push(0);
  stage.clock.advance(50);
  for (let i = 0; i < 9; i++) {
    const broker = new Broker(stage);
    for (let j = 0; j < 10_000; j++) broker.waiting.push(0);
    stage.brokers.push(broker);
    stage.distribution.add(broker);
    stage.clock.advance(random.int(0, 30 - 1));
  }
  stage.clock.advance(200);
  expect(stage.brokers.map(({ ready }) => ready)).toEqual(Array(10).fill(10));
  expect(stage.mostHeld).toBe(100);
});

test("nothing comes during a pause, one message to try, and then everything again", () => {
  const stage = new Stage(3, 9, new Random(1), 100);
  const readies = () => stage.brokers.map(({ ready }) => ready);
  stage.clock.advance(5);
  stage.distribution.pause();
  stage.clock.advance(5);
  expect(readies()).toEqual([0, 0, 0]);
  expect(stage.distribution.probe()).toBe(true);
  stage.clock.advance(1);
  expect(readies().reduce((sum, ready) => sum + ready)).toBe(1);
  stage.distribution.resume();
  stage.clock.advance(5);
  expect(readies()).toEqual([3, 3, 3]);
  stage.distribution.setMaxInFlight(0);
  stage.clock.advance(5);
  expect(readies()).toEqual([0, 0, 0]);
});

test("a broker's own maximum is kept", () => {
  const stage = new Stage(0, 5000, new Random(1));
  const broker = new Broker(stage);
  stage.distribution.add(broker);
  expect(broker.sent).toEqual([2500]);
});
