import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { clusterErrors } from "../../src/cli/cluster-flags.ts";
import { type FlagTable, parseFlags } from "../../src/cli/flags.ts";
import { allProgramFlags, brokerProgramFlags, lookupProgramFlags } from "../../src/cli/modes.ts";
import { commandLineLayer } from "../../src/cli/settings.ts";
import { MAX_FRAME_BYTES } from "../../src/cluster/replication/wire.ts";
import { cleanEnvironment, MAIN } from "../support/server.ts";

const MODE = { mode: undefined };
const ETCD = "--etcd-endpoints=127.0.0.1:2379";

function errors<Options>(table: FlagTable<Options>, ...args: string[]): string[] {
  return clusterErrors(table, commandLineLayer(parseFlags(table, args).given));
}

describe("flags of a cluster", () => {
  const [all, broker, lookup] = [allProgramFlags(MODE), brokerProgramFlags(MODE), lookupProgramFlags(MODE)] as const;

  test("are refused where none is named, by their names", () => {
    const needed = (name: string, prefix = "") =>
      `-${prefix}${name} needs -${prefix}etcd-endpoints, which names the etcd of the cluster that it is for`;
    expect(errors(broker, "--cluster=prod", "--replication-address=127.0.0.1:4153")).toEqual(
      ["cluster", "replication-address"].map((name) => needed(name)),
    );
    expect(errors(broker, "--etcd-endpoints=", "--min-in-sync=2")).toEqual([needed("min-in-sync")]);
    expect(errors(lookup, "--balance-hours=2-4", "--etcd-ca=ca.pem")).toEqual(["etcd-ca", "balance-hours"].map((name) => needed(name)));
    expect(errors(all, "--lookup-balance-hours=2-4")).toEqual([needed("balance-hours", "lookup-")]);
    expect(errors(all, ETCD, "--lookup-cluster=prod")).toEqual([needed("cluster", "lookup-")]);
    expect(errors(all, ETCD, "--cluster=prod", "--lookup-balance-hours=2-4")).toEqual([]);
    expect(errors(broker, "--http-address=127.0.0.1:4151")).toEqual([]);
  });

  test("cannot ask for more replicas in sync than there are to be", () => {
    const most = (least: number, replicas: number) =>
      `-min-in-sync is ${least}, but -cluster-replicas is ${replicas}: a topic cannot have more replicas in sync than it has`;
    expect(errors(broker, ETCD, "--min-in-sync=4")).toEqual([most(4, 3)]);
    expect(errors(lookup, ETCD, "--min-in-sync=2", "--cluster-replicas=1")).toEqual([most(2, 1)]);
    expect(errors(all, ETCD, "--min-in-sync=2", "--cluster-replicas=1")).toEqual([most(2, 1)]);
    expect(errors(broker, ETCD, "--min-in-sync=3")).toEqual([]);
  });

  test("cannot go with messages that are longer than what brokers send each other", () => {
    const most = MAX_FRAME_BYTES - 28 * 1024 * 1024;
    const tooLong = (name: string) => `-${name} is ${most + 1}: in a cluster it is at most ${most}`;
    expect(errors(broker, ETCD, `--max-msg-size=${most + 1}`, `--max-body-size=${most + 1}`)).toEqual(
      ["max-msg-size", "max-body-size"].map(tooLong),
    );
    expect(errors(all, ETCD, `--max-msg-size=${most}`)).toEqual([]);
    expect(errors(broker, `--max-msg-size=${most + 1}`)).toEqual([]);
  });
});

describe("a server", () => {
  let folder: string;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), "bunsq-cluster-flags-"));
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  function run(environment: Record<string, string>, ...args: string[]) {
    const { exitCode, stderr } = Bun.spawnSync([process.execPath, MAIN, ...args], {
      cwd: folder,
      env: { ...cleanEnvironment(), ...environment },
      stdout: "ignore",
      stderr: "pipe",
      // One that starts after all.
      timeout: 20_000,
    });
    return { code: exitCode, said: stderr.toString() };
  }

  test("does not start with flags of a cluster alone, wherever they are given", () => {
    const config = join(folder, "it.toml");
    writeFileSync(config, "cluster_replicas = 2\n");
    const broker = run({}, "broker", "--data-path=.", "--tcp-address=127.0.0.1:0", "--http-address=127.0.0.1:0", `--config=${config}`);
    expect(broker.said).toContain(`FATAL: cluster_replicas in ${config} needs -etcd-endpoints`);
    expect(broker.code).toBe(1);
    const lookup = run({ BUNSQ_CLUSTER: "prod" }, "lookup", "--tcp-address=127.0.0.1:0", "--http-address=127.0.0.1:0");
    expect(lookup.said).toContain("FATAL: BUNSQ_CLUSTER needs -etcd-endpoints");
    expect(lookup.code).toBe(1);
  }, 60_000);
});
