import { afterAll, beforeAll, expect } from "bun:test";
import { type Etcd, type EtcdEvent, type EtcdWatcher, MAX_TXN_OPERATIONS } from "../../../src/cluster/etcd/etcd.ts";
import { EtcdError } from "../../../src/cluster/etcd/etcd-error.ts";
import { describeUnless, testUnless } from "../../support/needs.ts";

/** An etcd that the suite is played on. */
export interface EtcdUnderTest extends AsyncDisposable {
  readonly etcd: Etcd;
  /** Waits for a call; a simulated etcd answers only while somebody waits. */
  settle<T>(promise: Promise<T>): Promise<T>;
  until(what: string, condition: () => boolean): Promise<void>;
  /** Lets time pass, at least. */
  pass(ms: number): Promise<void>;
  /** The time that etcd's leases go by, ms. */
  nowMs(): number;
  /** Forgets all revisions but the newest. */
  compact(): Promise<void>;
}

/** Notes what a watch tells. */
class Notes implements EtcdWatcher {
  readonly revisions: number[] = [];
  readonly events: EtcdEvent[] = [];
  compacted = 0;
  onEvents(revision: number, events: readonly EtcdEvent[]): void {
    this.revisions.push(revision);
    this.events.push(...events);
  }
  onCompacted(): void {
    this.compacted++;
  }
  onTrouble(error: EtcdError): void {
    throw error;
  }
  get told(): string[] {
    return this.events.map(({ key, entry }) => `${key}=${entry?.value}`);
  }
}

/** The answer of a call that succeeds. */
function ok<T>(answer: T | EtcdError): T {
  if (answer instanceof EtcdError) throw answer;
  return answer;
}

/** What any Etcd does, whether it is real or made up: the simulator rests on both being the same. */
export function playEtcdSuite(name: string, skipped: string | undefined, start: () => Promise<EtcdUnderTest>): void {
  const test = testUnless(skipped);
  describeUnless(skipped)(name, () => {
    let on: EtcdUnderTest;
    let etcd: Etcd;
    let folders = 0;
    /** Keys of its own for each test. */
    const folder = () => `/suite/${folders++}/`;
    const settle = async <T>(promise: Promise<T | EtcdError>): Promise<T> => ok(await on.settle(promise));

    beforeAll(async () => {
      on = await start();
      etcd = on.etcd;
    });
    afterAll(async () => {
      await on?.[Symbol.asyncDispose]();
    });

    test("a key is put, read and removed, and each change has a revision of its own", async () => {
      const key = `${folder()}grün`;
      const first = await settle(etcd.put(key, "eins → 1"));
      const second = await settle(etcd.put(key, ""));
      expect(second.revision).toBe(first.revision + 1);
      const { entry, revision } = await settle(etcd.get(key));
      expect(entry).toEqual({ key, value: "", createRevision: first.revision, modRevision: second.revision, lease: "" });
      expect(revision).toBe(second.revision);
      expect((await settle(etcd.remove(key))).revision).toBe(revision + 1);
      expect(await settle(etcd.get(key))).toEqual({ entry: undefined, revision: revision + 1 });
      // Nothing is changed by removing what is not there.
      expect((await settle(etcd.remove(key))).revision).toBe(revision + 1);
    });

    test("a range has what begins with its prefix, in the order of the keys, over several pages", async () => {
      const prefix = folder();
      const keys = Array.from({ length: 1_100 }, (_, i) => `${prefix}k${String(i).padStart(5, "0")}`);
      for (let i = 0; i < keys.length; i += MAX_TXN_OPERATIONS) {
        const puts = keys.slice(i, i + MAX_TXN_OPERATIONS).map((key) => ({ put: key, value: key }));
        await settle(etcd.txn([], puts));
      }
      await settle(etcd.put(`${prefix.slice(0, -1)}0`, "beside it"));
      const range = await settle(etcd.range(prefix));
      expect(range.entries.map(({ key }) => key)).toEqual(keys);
      expect(range.revision).toBe((await settle(etcd.get(prefix))).revision);
    });

    test("a transaction does the one or the other, by the revisions of keys", async () => {
      const prefix = folder();
      const [a, b] = [`${prefix}a`, `${prefix}b`];
      const made = await settle(etcd.txn([{ key: a, modRevision: 0 }], [{ put: a, value: "1" }, { get: b }]));
      expect(made).toEqual({ succeeded: true, revision: made.revision, entries: [undefined] });
      const again = await settle(etcd.txn([{ key: a, modRevision: 0 }], [{ put: a, value: "2" }], [{ get: b }, { get: a }]));
      expect(again.succeeded).toBe(false);
      expect(again.revision).toBe(made.revision);
      expect(again.entries.map((entry) => entry?.value)).toEqual([undefined, "1"]);
      const conditions = [
        { key: a, modRevision: made.revision },
        { key: b, modRevision: 0 },
      ];
      const both = await settle(etcd.txn(conditions, [{ remove: a }, { put: b, value: "3" }, { get: b }]));
      expect(both.succeeded).toBe(true);
      expect(both.entries[0]?.modRevision).toBe(both.revision);
      expect((await settle(etcd.range(prefix))).entries.map(({ key, value }) => `${key}=${value}`)).toEqual([`${b}=3`]);
    });

    test("of two transactions on one revision one succeeds", async () => {
      const key = `${folder()}leader`;
      const { revision } = await settle(etcd.put(key, "old"));
      const attempts = ["one", "other"].map((value) =>
        settle(etcd.txn([{ key, modRevision: revision }], [{ put: key, value }], [{ get: key }])),
      );
      const [one, other] = await Promise.all(attempts);
      expect([one?.succeeded, other?.succeeded].sort()).toEqual([false, true]);
      const winner = one?.succeeded ? "one" : "other";
      expect((one?.succeeded ? other : one)?.entries[0]?.value).toBe(winner);
    });

    test("a transaction that etcd refuses changes nothing, and says so", async () => {
      const key = `${folder()}twice`;
      const twice = await on.settle(
        etcd.txn(
          [],
          [
            { put: key, value: "1" },
            { put: key, value: "2" },
          ],
        ),
      );
      expect(twice).toMatchObject({ reason: "refused", outcome: "none" });
      const many = Array.from({ length: MAX_TXN_OPERATIONS + 1 }, (_, i) => ({ put: `${key}${i}`, value: "" }));
      expect(await on.settle(etcd.txn([], many))).toMatchObject({ reason: "refused", outcome: "none" });
      expect(await on.settle(etcd.txn([], [{ put: key, value: "", lease: "12345" }]))).toMatchObject({
        reason: "lease-gone",
        outcome: "none",
      });
      expect((await settle(etcd.range(key))).entries).toEqual([]);
    });

    test("keys end with their lease, and live on while it is renewed", async () => {
      const prefix = folder();
      const { revision } = await settle(etcd.get(prefix));
      const notes = new Notes();
      const watch = etcd.watch(prefix, revision + 1, notes);
      const { lease, ttlMs } = await settle(etcd.grant(3_000));
      expect(ttlMs).toBeGreaterThanOrEqual(3_000);
      await settle(etcd.put(`${prefix}a`, "1", lease));
      await settle(etcd.put(`${prefix}b`, "2", lease));
      await on.until("both are told", () => notes.told.length >= 2);
      let renewedMs = on.nowMs();
      for (let i = 0; i < 4; i++) {
        await on.pass(ttlMs / 2);
        const sentMs = on.nowMs();
        const renewed = await on.settle(etcd.keepAlive(lease));
        // A machine that stands still for longer than the lease has really lost it.
        if (on.nowMs() - renewedMs > ttlMs) break;
        expect(renewed).toEqual({ lease, ttlMs });
        renewedMs = sentMs;
      }
      expect(notes.told.slice(0, 2)).toEqual([`${prefix}a=1`, `${prefix}b=2`]);
      await on.until("the lease has ended", () => notes.told.length === 4);
      expect(notes.told.slice(2)).toEqual([`${prefix}a=undefined`, `${prefix}b=undefined`]);
      // Both end by one change.
      expect(notes.revisions.length).toBe(3);
      expect(await on.settle(etcd.keepAlive(lease))).toMatchObject({ reason: "lease-gone", outcome: "none" });
      expect(await on.settle(etcd.put(`${prefix}a`, "1", lease))).toMatchObject({ reason: "lease-gone", outcome: "none" });
      watch.close();
    });

    test("a put without the lease keeps the key beyond it", async () => {
      const key = `${folder()}kept`;
      const { lease } = await settle(etcd.grant(60_000));
      await settle(etcd.put(key, "1", lease));
      expect((await settle(etcd.get(key))).entry?.lease).toBe(lease);
      await settle(etcd.put(key, "2"));
      expect((await settle(etcd.get(key))).entry).toMatchObject({ value: "2", lease: "" });
    });

    test("a watch tells what its prefix had from a revision on, in order, each revision once", async () => {
      const prefix = folder();
      const first = await settle(etcd.put(`${prefix}a`, "1"));
      const notes = new Notes();
      const watch = etcd.watch(prefix, first.revision, notes);
      await settle(etcd.put("/suite/other", "x"));
      await settle(etcd.txn([], [{ put: `${prefix}b`, value: "2" }, { remove: `${prefix}a` }]));
      const last = await settle(etcd.put(`${prefix}a`, "3"));
      await on.until("all is told", () => notes.revisions.length >= 3);
      expect(notes.told).toEqual([`${prefix}a=1`, `${prefix}b=2`, `${prefix}a=undefined`, `${prefix}a=3`]);
      expect(notes.revisions).toEqual([first.revision, last.revision - 1, last.revision]);
      expect(notes.events[3]?.entry).toMatchObject({ createRevision: last.revision, modRevision: last.revision });
      watch.close();
      await settle(etcd.put(`${prefix}a`, "4"));
      const later = new Notes();
      const second = etcd.watch(prefix, last.revision + 1, later);
      await on.until("another watch is told", () => later.revisions.length === 1);
      expect(notes.revisions.length).toBe(3);
      second.close();
    });

    test("a watch from before a compaction says so and ends", async () => {
      const prefix = folder();
      const { revision } = await settle(etcd.put(`${prefix}a`, "1"));
      await settle(etcd.put(`${prefix}a`, "2"));
      await settle(etcd.put(`${prefix}a`, "3"));
      await on.compact();
      const notes = new Notes();
      etcd.watch(prefix, revision, notes);
      await on.until("the watch ends", () => notes.compacted > 0);
      await settle(etcd.put(`${prefix}a`, "4"));
      expect([notes.compacted, notes.told]).toEqual([1, []]);
      // The newest revision is still there.
      const newest = new Notes();
      const watch = etcd.watch(prefix, revision + 2, newest);
      await on.until("the newest revisions are told", () => newest.revisions.length === 2);
      expect(newest.told).toEqual([`${prefix}a=3`, `${prefix}a=4`]);
      watch.close();
    });
  });
}
