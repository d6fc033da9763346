/** A kind of machine that there is a binary for. */
export interface Target {
  /** Ends the binary's name. */
  name: string;
  /** Bun's name of it. */
  bun: Bun.Build.CompileTarget;
  os: "linux" | "darwin";
  cpu: "x64" | "arm64";
  libc?: "glibc" | "musl";
  /** The package with Bun for it. Without one, Bun downloads itself. */
  runtime?: string;
}

/** All that a release has. On x64 Bun needs AVX2, unless it is the baseline. */
export const TARGETS: readonly Target[] = [
  { name: "linux-x64", bun: "bun-linux-x64", os: "linux", cpu: "x64", libc: "glibc", runtime: "bun-linux-x64" },
  { name: "linux-x64-baseline", bun: "bun-linux-x64-baseline", os: "linux", cpu: "x64", libc: "glibc" },
  { name: "linux-arm64", bun: "bun-linux-arm64", os: "linux", cpu: "arm64", libc: "glibc", runtime: "bun-linux-aarch64" },
  { name: "linux-x64-musl", bun: "bun-linux-x64-musl", os: "linux", cpu: "x64", libc: "musl", runtime: "bun-linux-x64-musl" },
  { name: "linux-arm64-musl", bun: "bun-linux-arm64-musl", os: "linux", cpu: "arm64", libc: "musl", runtime: "bun-linux-aarch64-musl" },
  { name: "darwin-x64", bun: "bun-darwin-x64", os: "darwin", cpu: "x64", runtime: "bun-darwin-x64" },
  { name: "darwin-arm64", bun: "bun-darwin-arm64", os: "darwin", cpu: "arm64", runtime: "bun-darwin-aarch64" },
];

/** Whether a binary can run on the machine that builds. */
export function runsHere({ os, cpu, libc }: Target): boolean {
  const here = process.report.getReport() as { header?: { glibcVersionRuntime?: string } };
  const isGlibc = here.header?.glibcVersionRuntime !== undefined;
  return os === process.platform && cpu === process.arch && (os !== "linux" || (libc === "glibc") === isGlibc);
}
