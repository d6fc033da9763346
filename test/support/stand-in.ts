import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { cleanEnvironment } from "./server.ts";

/** What a run that ends by itself shows to a script or a supervisor. */
export interface Ending {
  code: number | null;
  writesToStdout: boolean;
  writesToStderr: boolean;
  firstError: string;
}

/** Runs a program that ends by itself, in a folder. */
export function endingOf(command: readonly string[], folder: string): Ending {
  const { exitCode, stdout, stderr } = Bun.spawnSync([...command], {
    cwd: folder,
    env: cleanEnvironment(),
    stdout: "pipe",
    stderr: "pipe",
    timeout: 20_000,
  });
  const errors = stderr.toString();
  return {
    code: exitCode,
    writesToStdout: stdout.length > 0,
    writesToStderr: errors.length > 0,
    firstError: errors.split("\n", 1)[0] ?? "",
  };
}

/** Files that commandLines() names, made in a folder. */
export function makeFiles(folder: string): void {
  mkdirSync(join(folder, "folder"));
  writeFileSync(join(folder, "torn.cfg"), "tcp_address = \n");
  writeFileSync(join(folder, "level.cfg"), 'log_level = "loud"\n');
  writeFileSync(join(folder, "latin1.cfg"), Uint8Array.of(0x23, 0xe9, 0x0a));
}

/** Command lines on which the programs end by themselves. */
export function commandLines(program: "nsqd" | "nsqlookupd" | "nsqadmin"): string[][] {
  const all = [
    ["-version"],
    ["--version"],
    ["-version=T"],
    ["-version", "-log-level=debug"],
    ["-h"],
    ["--help"],
    ["-nonsense"],
    ["--nonsense=1", "-version"],
    ["-version", "-nonsense"],
    ["-nonsense", "-h"],
    ["-h", "-nonsense"],
    ["---version"],
    ["-=1"],
    ["-version=maybe"],
    ["-verbose=maybe"],
    ["-log-level"],
    ["-log-level="],
    ["-log-level=loud"],
    ["-config"],
    ["-config=missing.cfg"],
    ["-config", "missing.cfg", "-version"],
    ["-config=missing.cfg", "-nonsense"],
    ["-config=folder"],
    ["-config=torn.cfg"],
    ["-config=level.cfg"],
    ["-config=latin1.cfg"],
  ];
  if (program === "nsqadmin")
    return [
      ...all,
      [],
      ["-lookupd-http-address=127.0.0.1:1", "-nsqd-http-address=127.0.0.1:1"],
      ["-lookupd-http-address=nonsense"],
      ["-nsqd-http-address=127.0.0.1:99999"],
      ["-nsqd-http-address=127.0.0.1:1", "-http-client-tls-cert=x"],
      ["-nsqd-http-address=127.0.0.1:1", "-http-client-tls-key=x"],
      ["-nsqd-http-address=127.0.0.1:1", "-http-client-tls-cert=missing.pem", "-http-client-tls-key=missing.pem"],
      ["-nsqd-http-address=127.0.0.1:1", "-http-client-tls-root-ca-file=missing.pem"],
      ["-nsqd-http-address=127.0.0.1:1", "-http-client-tls-root-ca-file=torn.cfg"],
      ["-nsqd-http-address=127.0.0.1:1", "-allow-config-from-cidr=10.0.0.0"],
      ["-nsqd-http-address=127.0.0.1:1", "-allow-config-from-cidr=10.0.0.0/33"],
      ["-nsqd-http-address=127.0.0.1:1", "-http-address=127.0.0.1:99999"],
      ["-statsd-interval=5"],
      ["-proxy-graphite=maybe"],
      ["-node-id=5"],
    ];
  const both = [...all, ["-tcp-address=127.0.0.1:99999"], ["-http-address=127.0.0.1:99999", "-tcp-address=127.0.0.1:0"]];
  if (program === "nsqlookupd")
    return [
      ...both,
      ["-tcp-address=nonsense"],
      ["-tcp-address=127.0.0.1:0", "-http-address=nonsense"],
      ["-tombstone-lifetime=5"],
      ["-tombstone-lifetime"],
      ["-node-id=5"],
    ];
  return [
    ...both,
    ["-node-id=1024"],
    ["-node-id=-1"],
    ["-node-id=x"],
    ["-node-id=99999999999999999999"],
    ["-max-deflate-level=10"],
    ["-msg-timeout=5"],
    ["-msg-timeout=1s1"],
    ["-worker-id=5"],
    ["-data-path=missing"],
    ["-tls-required"],
    ["-tls-required=maybe"],
    ["-tls-min-version=tls9"],
    ["-tls-cert=missing.pem", "-tls-key=missing.pem"],
  ];
}
