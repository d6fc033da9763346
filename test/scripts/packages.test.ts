import { expect, test } from "bun:test";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { installedPackages, lockedPackages } from "../../scripts/check-packages.ts";
import { removeFolder, temporaryFolder } from "../support/in-process.ts";

const ROOT = join(import.meta.dir, "../..");
const EXACT = /^\d+\.\d+\.\d+(?:-[\w.]+)?$/;

interface Manifest {
  dependencies: Record<string, string>;
  devDependencies: Record<string, string>;
  overrides: Record<string, string>;
}

test("package.json pins every package that npm installs, also those that others ask for by a range", () => {
  const manifest = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8")) as Manifest;
  const pinned = { ...manifest.dependencies, ...manifest.devDependencies, ...manifest.overrides };
  const lock = readFileSync(join(ROOT, "bun.lock"), "utf8");
  const locked = lockedPackages(lock);
  for (const [name, version] of Object.entries(pinned)) {
    expect(version).toMatch(EXACT);
    expect([`${name}@${version}`, locked.has(`${name}@${version}`)]).toEqual([`${name}@${version}`, true]);
  }
  const ranges = [...lock.matchAll(/"((?:@[\w.-]+\/)?[\w.-]+)": "([~^*<>=][^"]*)"/g)].map(([, name = ""]) => name);
  const optional = new Set([...lock.matchAll(/"optionalPeers": \["([^"]+)"/g)].map(([, name]) => name));
  expect(ranges.filter((name) => pinned[name] === undefined && !optional.has(name))).toEqual([]);
});

test("installed packages are found in scopes and in each other", () => {
  const folder = temporaryFolder();
  try {
    const add = (path: string, name: string, version: string) => {
      mkdirSync(join(folder, path), { recursive: true });
      writeFileSync(join(folder, path, "package.json"), JSON.stringify({ name, version }));
    };
    add("a", "a", "1.0.0");
    add("a/node_modules/b", "b", "2.0.0");
    add("@scope/c", "@scope/c", "3.0.0");
    mkdirSync(join(folder, ".bin"));
    expect(installedPackages(folder).sort()).toEqual(["@scope/c@3.0.0", "a@1.0.0", "b@2.0.0"]);
    expect([...lockedPackages('    "a/b": ["b@2.0.0", "", {}, "sha"],\n    "@scope/c": ["@scope/c@3.0.0", {}],\n')]).toEqual([
      "b@2.0.0",
      "@scope/c@3.0.0",
    ]);
  } finally {
    removeFolder(folder);
  }
});
