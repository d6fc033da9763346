import { describe, expect, test } from "bun:test";
import type { BrokerOptions } from "../../../../src/broker/options.ts";
import { buildServerTls, tlsRequirement } from "../../../../src/broker/tls-options.ts";
import { certificate } from "../../../support/certs/certs.ts";
import { defaultOptions } from "../../../support/in-process.ts";

const PAIR = { tlsCert: certificate("server.pem"), tlsKey: certificate("server.key") };

function build(changes: Partial<BrokerOptions>): ReturnType<typeof buildServerTls> {
  return buildServerTls(defaultOptions(changes));
}

describe("the TLS options", () => {
  test("without certificate and key offer no TLS, and cannot require it", () => {
    expect(build({})).toBeUndefined();
    for (const changes of [{ tlsRequired: "true" }, { tlsRequired: "tcp-https" }, { tlsClientAuthPolicy: "require" }] as const) {
      expect(() => build(changes)).toThrow("cannot require TLS client connections without TLS key and cert");
    }
  });

  test("ask for client certificates by the policy", () => {
    expect(build(PAIR)).toMatchObject({ requestCert: false, rejectUnauthorized: false });
    expect(build({ ...PAIR, tlsClientAuthPolicy: "require" })).toMatchObject({ requestCert: true, rejectUnauthorized: false });
    expect(build({ ...PAIR, tlsClientAuthPolicy: "require-verify" })).toMatchObject({ requestCert: true, rejectUnauthorized: true });
    expect(() => build({ ...PAIR, tlsClientAuthPolicy: "verify" })).toThrow("give require or require-verify");
  });

  test("with a policy require TLS of all clients, unless the options say of which", () => {
    expect(tlsRequirement(defaultOptions())).toBe("false");
    expect(tlsRequirement(defaultOptions({ tlsClientAuthPolicy: "require" }))).toBe("true");
    expect(tlsRequirement(defaultOptions({ tlsClientAuthPolicy: "require", tlsRequired: "tcp-https" }))).toBe("tcp-https");
  });

  test("name the file that is missing or has the wrong content", () => {
    expect(() => build({ tlsCert: PAIR.tlsCert })).toThrow("-tls-key is missing");
    expect(() => build({ tlsKey: PAIR.tlsKey })).toThrow("-tls-cert is missing");
    expect(() => build({ ...PAIR, tlsCert: certificate("nobody.pem") })).toThrow(/-tls-cert .*nobody\.pem: ENOENT/);
    expect(() => build({ ...PAIR, tlsCert: PAIR.tlsKey })).toThrow("has no certificate in PEM");
    expect(() => build({ ...PAIR, tlsKey: PAIR.tlsCert })).toThrow("has no key in PEM");
    expect(() => build({ ...PAIR, tlsKey: certificate("client.key") })).toThrow("does not match the certificate");
    expect(() => build({ ...PAIR, tlsRootCaFile: PAIR.tlsKey })).toThrow("it has no certificate");
  });
});
