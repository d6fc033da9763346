import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describeUnless, missing } from "../../../support/needs.ts";
import { type Program, type Server, startServer } from "../../../support/server.ts";
import { againAfterStalls } from "../../../support/stall-monitor.ts";
import { Session } from "./session.ts";

/**
 * Which broker is compared with Go's. `BUNSQ_DIFFERENTIAL_SUBJECT=nsqd` plays Go against Go, which proves that a
 * scenario's transcript is the same twice; any difference then is the scenario's own fault.
 */
const SUBJECT: Program = process.env.BUNSQ_DIFFERENTIAL_SUBJECT === "nsqd" ? "nsqd" : "bunsq";
/** `BUNSQ_DIFFERENTIAL_PRINT=1` prints what Go showed in each scenario: for writing scenarios. */
const PRINT = process.env.BUNSQ_DIFFERENTIAL_PRINT === "1";
/** A scenario's time on both brokers, played again included; most of it is waiting. */
const SCENARIO_TIMEOUT_MS = 90_000;

/** A difference from Go's nsqd that is meant: docs/compatibility.md has a line for each by this name. */
export interface Difference {
  name: string;
  /** What bunsq must show where Go showed `go`. */
  expected: (go: string[]) => string[];
}

export type Scenario<Own = Session> = (session: Own) => Promise<void>;
export type DefineScenario<Own = Session> = (name: string, scenario: Scenario<Own>, differences?: Difference[]) => void;

/** The original, and what stands in for it. */
export type Side = "go" | "subject";

/** Two programs on which scenarios are played. */
export interface Pair<Own> {
  /** Go's program. Without it every scenario is skipped. */
  original: string;
  /** Differences that may show in any scenario; one that a scenario names must show in it. */
  anywhere?: Difference[] | undefined;
  /** One scenario after another, for those that see the whole server. */
  serial?: boolean | undefined;
  /** Before the first scenario, and after the last. */
  open(): Promise<void>;
  close(): Promise<void>;
  /** Plays a scenario on one side. @returns its transcript */
  play(side: Side, topic: string, scenario: Scenario<Own>): Promise<string[]>;
}

/** Whether Go's program takes the place of ours. */
export const PLAYS_ORIGINAL_TWICE = SUBJECT !== "bunsq";

/** Plays each scenario on both sides and compares the transcripts line by line. */
export function describePair<Own>(title: string, pair: Pair<Own>, define: (scenario: DefineScenario<Own>) => void): void {
  describeUnless(missing(pair.original))(title, () => {
    beforeAll(() => pair.open(), 60_000);
    afterAll(() => pair.close());
    let count = 0;
    define((name, scenario, differences = []) => {
      const compare = async () => {
        const topic = `topic${++count}`;
        const [expected, shown] = await Promise.all([pair.play("go", topic, scenario), pair.play("subject", topic, scenario)]);
        if (PRINT) console.log(`## ${name}\n${expected.join("\n")}`);
        expect(shown).toEqual(PLAYS_ORIGINAL_TWICE ? expected : applyDifferences(expected, differences, pair.anywhere ?? []));
      };
      const run = () => againAfterStalls(compare);
      (pair.serial ? test : test.concurrent)(name, run, SCENARIO_TIMEOUT_MS);
    });
  });
}

export interface PairOptions {
  /** Flags of both brokers. */
  args: string[];
  /** Flags that only make Go comparable, for instance faster timers. */
  goArgs?: string[];
  /** Differences that may show in any scenario; one that a scenario names must show in it. */
  anywhere?: Difference[];
  /** One scenario after another, for those that see the whole broker. */
  serial?: boolean;
  /** Brokers of its own for each scenario, which may stop and start them: `session.restart()`. */
  restartable?: boolean;
}

/**
 * Starts Go's nsqd and the broker under test with the same flags, plays each scenario on both and compares the
 * transcripts line by line. Without nsqd on PATH or in NSQD_BIN every scenario is skipped.
 */
export function describeAgainstNsqd(title: string, options: PairOptions, define: (scenario: DefineScenario) => void): void {
  const goArgs = [...options.args, ...(options.goArgs ?? [])];
  const programs: Record<Side, Program> = { go: "nsqd", subject: SUBJECT };
  const start = (side: Side, dataPath?: string) => {
    const program = programs[side];
    return startServer({ program, args: program === "nsqd" ? goArgs : options.args, ...(dataPath === undefined ? {} : { dataPath }) });
  };
  let shared: Record<Side, Server> | undefined;
  describePair<Session>(
    title,
    {
      original: "nsqd",
      anywhere: options.anywhere,
      serial: options.serial,
      open: async () => {
        if (options.restartable !== true) shared = { go: await start("go"), subject: await start("subject") };
      },
      close: async () => {
        await Promise.all([shared?.go.stop(), shared?.subject.stop()]);
      },
      play: (side, topic, scenario) =>
        shared === undefined ? playAlone((dataPath) => start(side, dataPath), topic, scenario) : play(shared[side], topic, scenario),
    },
    define,
  );
}

async function play(server: Server, topic: string, scenario: Scenario): Promise<string[]> {
  const session = new Session(server, topic);
  try {
    await scenario(session);
  } finally {
    session.dispose();
  }
  return session.transcript;
}

/** Plays a scenario on a broker of its own, whose data outlives its process. */
async function playAlone(start: (dataPath: string) => Promise<Server>, topic: string, scenario: Scenario): Promise<string[]> {
  const dataPath = mkdtempSync(join(tmpdir(), "bunsq-differential-"));
  const session = new Session(await start(dataPath), topic, () => start(dataPath));
  try {
    await scenario(session);
  } finally {
    session.dispose();
    await session.server.stop();
    rmSync(dataPath, { recursive: true, force: true });
  }
  return session.transcript;
}

/** What bunsq must show. A named difference that changes nothing no longer describes one: it has to go, so it fails. */
function applyDifferences(go: string[], named: Difference[], anywhere: Difference[]): string[] {
  let expected = go;
  for (const difference of named) {
    const next = difference.expected(expected);
    if (Bun.deepEquals(next, expected)) {
      throw new Error(`the difference "${difference.name}" does not apply to what Go shows:\n${expected.join("\n")}`);
    }
    expected = next;
  }
  return anywhere.reduce((lines, difference) => difference.expected(lines), expected);
}
