import { describe, expect, test } from "bun:test";
import { tmpdir } from "node:os";
import { readListenerTls } from "../../src/net/listener-tls.ts";
import { certificate } from "../support/certs/certs.ts";

const PAIR = { tlsCert: certificate("server.pem"), tlsKey: certificate("server.key") };
const read = (changes: Partial<typeof PAIR>) => readListenerTls({ tlsCert: "", tlsKey: "", ...changes }, "tls1.2", "admin-");

describe("a listener's certificate and key", () => {
  test("are read with the lowest version, and need not be there", () => {
    expect(read({})).toBeUndefined();
    expect(read(PAIR)).toEqual({
      cert: expect.stringContaining("BEGIN CERTIFICATE"),
      key: expect.stringContaining("PRIVATE KEY"),
      minVersion: 0x0303,
    });
  });

  test("name the flag with its prefix if a file is missing, cannot be read, or is something else", () => {
    const missing = "failed to build TLS config: -admin-tls-key is missing; give both -admin-tls-cert and -admin-tls-key";
    expect(() => read({ tlsCert: PAIR.tlsCert })).toThrow(missing);
    expect(() => read({ tlsKey: PAIR.tlsKey })).toThrow("-admin-tls-cert is missing");
    expect(() => read({ ...PAIR, tlsCert: certificate("nobody.pem") })).toThrow(/-admin-tls-cert \S*nobody\.pem: ENOENT/);
    expect(() => read({ ...PAIR, tlsKey: tmpdir() })).toThrow(/-admin-tls-key \S+: EISDIR/);
    expect(() => read({ ...PAIR, tlsCert: PAIR.tlsKey })).toThrow(/-admin-tls-cert \S*server\.key has no certificate in PEM/);
    expect(() => read({ ...PAIR, tlsKey: PAIR.tlsCert })).toThrow(/-admin-tls-key \S*server\.pem has no key in PEM/);
    expect(() => read({ ...PAIR, tlsKey: certificate("client.key") })).toThrow(
      /the key in -admin-tls-key \S*client\.key does not match the certificate in -admin-tls-cert \S*server\.pem/,
    );
  });
});
