import { chmodSync, copyFileSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { commit } from "./build/commit.ts";
import { embedPage } from "./build/page.ts";

// Makes dist/package/, which is what `npm pack` takes: the client as JavaScript with types, and the program for Bun with the console's page.

const ROOT = join(import.meta.dir, "..");
const TARGET = join(ROOT, "dist/package");

/** Compiles the client: one file for each of ours, with its types. */
function compileClient(): void {
  const tsc = join(ROOT, "node_modules/.bin/tsc");
  const { exitCode, stdout } = Bun.spawnSync([tsc, "-p", "tsconfig.package.json"], { cwd: ROOT, stderr: "inherit" });
  if (exitCode !== 0) throw new Error(`tsc:\n${stdout}`);
  // The compiler rewrites what JavaScript imports, and leaves what types import.
  for (const path of readdirSync(TARGET, { recursive: true, encoding: "utf8" }).filter((name) => name.endsWith(".d.ts"))) {
    const file = join(TARGET, path);
    const text = readFileSync(file, "utf8").replace(/((?:from|import\()\s*"\.[^"]*)\.ts"/g, '$1.js"');
    writeFileSync(file, `/// <reference lib="esnext.disposable" />\n${text}`);
  }
}

/** Bundles the program. Its packages are installed beside it. The files of the console's page are in page/. */
async function bundleProgram(): Promise<void> {
  const built = mkdtempSync(join(tmpdir(), "bunsq-page-"));
  await Bun.build({
    entrypoints: [join(ROOT, "src/main.ts")],
    root: join(ROOT, "src"),
    outdir: TARGET,
    target: "bun",
    packages: "external",
    naming: { asset: "page/[name]-[hash].[ext]" },
    plugins: [await embedPage(ROOT, built)],
    define: { BUNSQ_COMMIT: JSON.stringify(commit()) },
    sourcemap: "linked",
  });
  rmSync(built, { recursive: true });
  const launcher = join(TARGET, "bunsq.js");
  copyFileSync(join(ROOT, "scripts/launcher.js"), launcher);
  chmodSync(launcher, 0o755);
}

rmSync(TARGET, { recursive: true, force: true });
compileClient();
await bundleProgram();
