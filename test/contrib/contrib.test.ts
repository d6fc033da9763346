import { describe, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { CONFIG_EXAMPLE_PATH, configExample } from "../../scripts/config-example.ts";
import { apiRouter as brokerRouter } from "../../src/broker/http/routes.ts";
import { drainCommand } from "../../src/cli/commands/drain.ts";
import { configKey, loadConfigFile, readConfig } from "../../src/cli/config-file.ts";
import { isSettableIn } from "../../src/cli/flag.ts";
import { allFlags } from "../../src/cli/flags.ts";
import { adminProgramFlags, allProgramFlags, brokerProgramFlags, lookupProgramFlags, programScope } from "../../src/cli/modes.ts";
import { selectProgram } from "../../src/cli/program.ts";
import { apiRouter as lookupRouter } from "../../src/lookup/http/routes.ts";
import { TOOLS } from "../../src/tools/tools.ts";
import { missing, testUnless } from "../support/needs.ts";
import { MAIN, startProcess } from "../support/server.ts";

const CONTRIB = join(import.meta.dir, "../../contrib");

function inFolder(use: (folder: string) => void): void {
  const folder = mkdtempSync(join(tmpdir(), "bunsq-contrib-"));
  try {
    use(folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

describe("contrib/bunsq.toml", () => {
  const table = allProgramFlags({ mode: undefined });
  const scopes = {
    all: programScope(table, { name: "bunsq", alone: undefined }),
    broker: programScope(brokerProgramFlags({ mode: undefined }), { name: "bunsq", alone: undefined }),
    lookup: programScope(lookupProgramFlags({ mode: undefined }), { name: "bunsq", alone: "lookup" }),
    admin: programScope(adminProgramFlags({ mode: undefined }), { name: "bunsq", alone: "admin" }),
  };

  test("equals the flag tables (npm run docs regenerates it)", () => {
    expect(readFileSync(CONFIG_EXAMPLE_PATH, "utf8")).toBe(configExample());
  });

  test("loads as it is and sets nothing, in every mode", async () => {
    for (const scope of Object.values(scopes)) {
      const { values, warnings, errors } = readConfig(scope, loadConfigFile(CONFIG_EXAMPLE_PATH));
      expect([[...values], warnings, errors]).toEqual([[], [], []]);
    }
    const folder = mkdtempSync(join(tmpdir(), "bunsq-contrib-"));
    const ports = ["tcp-address", "http-address", "lookup-tcp-address", "lookup-http-address", "admin-http-address"].map(
      (flag) => `--${flag}=127.0.0.1:0`,
    );
    const running = await startProcess("bunsq", [
      process.execPath,
      MAIN,
      `--config=${CONFIG_EXAMPLE_PATH}`,
      `--data-path=${folder}`,
      ...ports,
    ]);
    try {
      expect(running.log()).not.toContain("WARNING");
      expect(await running.stop()).toBe(0);
    } finally {
      await running.stop("SIGKILL");
      rmSync(folder, { recursive: true, force: true });
    }
  }, 30_000);

  test("has every setting with its default behind the #, and loads with all of them", () => {
    inFolder((folder) => {
      const path = join(folder, "all.toml");
      writeFileSync(path, readFileSync(CONFIG_EXAMPLE_PATH, "utf8").replaceAll(/^# (?=\w+ = )/gm, ""));
      for (const scope of Object.values(scopes)) {
        const { warnings, errors } = readConfig(scope, loadConfigFile(path));
        expect([warnings, errors]).toEqual([[], []]);
      }
      const { values } = readConfig(scopes.all, loadConfigFile(path));
      const settable = allFlags(table).filter((flag) => isSettableIn(flag, "config") && flag.idle === undefined);
      expect([...values.keys()].sort()).toEqual(settable.map((flag) => flag.name).sort());
      for (const flag of settable.filter((flag) => flag.defaultDoc === undefined)) {
        expect([configKey(flag), values.get(flag.name)]).toEqual([configKey(flag), flag.default]);
      }
    });
  });
});

describe("contrib/bunsq@.service", () => {
  const unit = readFileSync(join(CONTRIB, "bunsq@.service"), "utf8");

  test("starts bunsq with words that it knows, in each of its modes", () => {
    const [program = "", instance, ...flags] = /^ExecStart=(.*)$/m.exec(unit)?.[1]?.split(" ") ?? [];
    expect([instance, flags]).toEqual(["%i", ["--config=/etc/bunsq/bunsq.toml"]]);
    for (const mode of ["all", "broker", "lookup", "admin"]) expect(selectProgram(program, [mode])).toMatchObject({ name: "bunsq", mode });
  });

  testUnless(missing("systemd-analyze"))("is taken by systemd without a complaint", () => {
    inFolder((folder) => {
      // systemd looks whether the program is there.
      writeFileSync(join(folder, "bunsq@.service"), unit.replace(/^ExecStart=\S+/m, `ExecStart=${process.execPath}`));
      const { exitCode, stderr } = Bun.spawnSync(["systemd-analyze", "verify", join(folder, "bunsq@broker.service")], { stderr: "pipe" });
      expect([exitCode, stderr.toString()]).toEqual([0, ""]);
    });
  });
});

describe("contrib/Dockerfile", () => {
  const lines = readFileSync(join(CONTRIB, "Dockerfile"), "utf8");

  test("has NSQ's programs by name, and every port that is listened on by default", () => {
    const [, made = ""] = /for name in (.*?); do/.exec(lines) ?? [];
    const [, links = ""] = /for name in bunsq (.*?); do/.exec(lines) ?? [];
    expect(made).toBe(links);
    const [nsqd, nsqlookupd, nsqadmin, ...tools] = links.split(" ");
    for (const name of [nsqd, nsqlookupd, nsqadmin]) expect(selectProgram(`/${name}`, [])?.name).toBe(name as "nsqd");
    expect(tools.sort()).toEqual(Object.keys(TOOLS).sort());
    // npm reads its settings from .npmrc, and the lock file is not of its own.
    expect(/^COPY package\.json (.*) \.\/$/m.exec(lines)?.[1]?.split(" ")).toEqual(["bun.lock", ".npmrc"]);
    const exposed = /^EXPOSE (.*)$/m.exec(lines)?.[1]?.split(" ") ?? [];
    const defaults = allFlags(allProgramFlags({ mode: "all" })).flatMap((flag) =>
      flag.name.endsWith("-address") && flag.kind === "string" ? (/:(\d+)$/.exec(flag.default)?.[1] ?? []) : [],
    );
    expect(exposed.sort()).toEqual(defaults.sort());
  });
});

describe("contrib/kubernetes.yaml", () => {
  interface Container {
    name: "broker" | "lookup";
    command: string[];
    ports: { name: string; containerPort: number }[];
    lifecycle?: { preStop: { exec: { command: string[] } } };
  }
  type Resource = { kind: string; spec: { ports: { port: number }[]; template: { spec: { containers: Container[] } } } };
  const resources = Bun.YAML.parse(readFileSync(join(CONTRIB, "kubernetes.yaml"), "utf8")) as Resource[];
  const containers = resources.filter(({ kind }) => kind === "StatefulSet").flatMap(({ spec }) => spec.template.spec.containers);
  const routers = { broker: brokerRouter(false), lookup: lookupRouter(false) };
  const tables = {
    broker: () => allFlags(brokerProgramFlags({ mode: "broker" })),
    lookup: () => allFlags(lookupProgramFlags({ mode: "lookup" })),
  };

  test("runs a broker and a lookup server, with flags that they have, at the ports of their services", () => {
    expect(containers.map(({ name }) => name).sort()).toEqual(["broker", "lookup"]);
    for (const { name, command, ports } of containers) {
      const [program = "", word = "", ...flags] = command;
      expect(selectProgram(program, [word])).toMatchObject({ mode: name });
      const known = tables[name]();
      for (const flag of flags) expect([flag, known.some((one) => flag.startsWith(`--${one.name}=`))]).toEqual([flag, true]);
      const defaults = known.flatMap((flag) => (flag.kind === "string" && /^(tcp|http)-address$/.test(flag.name) ? [flag.default] : []));
      expect(ports.map(({ containerPort }) => `0.0.0.0:${containerPort}`)).toEqual(defaults.sort());
    }
    const services = resources.filter(({ kind }) => kind === "Service").map(({ spec }) => spec.ports.map(({ port }) => port));
    expect(services.sort()).toEqual(containers.map(({ ports }) => ports.map(({ containerPort }) => containerPort)).sort());
  });

  test("asks for paths that there are, and drains with flags that the command has", () => {
    for (const container of containers) {
      const probes = Object.entries(container).filter(([key]) => key.endsWith("Probe")) as [string, { httpGet: { path: string } }][];
      expect(probes.map(([key]) => key)).toContain("readinessProbe");
      for (const [, { httpGet }] of probes) expect(routers[container.name].findEndpoint("GET", httpGet.path)).toBeDefined();
    }
    const [stop] =
      containers
        .flatMap(({ lifecycle }) => lifecycle?.preStop.exec.command ?? [])
        .join(" ")
        .match(/(?<=^\/bunsq drain ).*/) ?? [];
    for (const flag of stop?.split(" ") ?? []) expect(drainCommand.flags.map(({ name }) => `--${name}`)).toContain(flag);
    expect(stop).toBeDefined();
  });
});
