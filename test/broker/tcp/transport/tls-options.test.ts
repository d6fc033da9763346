import { describe, expect, test } from "bun:test";
import type { BrokerOptions } from "../../../../src/broker/options.ts";
import { buildServerTls, tlsRequirement } from "../../../../src/broker/tls-options.ts";
import { certificate } from "../../../support/certs/certs.ts";
import { defaultOptions } from "../../../support/in-process.ts";

const PAIR = { tlsCert: certificate("server.pem"), tlsKey: certificate("server.key") };

function build(changes: Partial<BrokerOptions>): ReturnType<typeof buildServerTls> {
  return buildServerTls(defaultOptions(changes));
}

describe("the options of TLS", () => {
  test("without certificate and key mean no TLS, and cannot require it", () => {
    expect(build({})).toBeUndefined();
    for (const changes of [{ tlsRequired: "true" }, { tlsRequired: "tcp-https" }, { tlsClientAuthPolicy: "require" }] as const) {
      expect(() => build(changes)).toThrow("cannot require TLS client connections without TLS key and cert");
    }
  });

  test("ask for client certificates as the policy says", () => {
    expect(build(PAIR)).toMatchObject({ requestCert: false, rejectUnauthorized: false });
    expect(build({ ...PAIR, tlsClientAuthPolicy: "require" })).toMatchObject({ requestCert: true, rejectUnauthorized: false });
    expect(build({ ...PAIR, tlsClientAuthPolicy: "require-verify" })).toMatchObject({ requestCert: true, rejectUnauthorized: true });
    expect(() => build({ ...PAIR, tlsClientAuthPolicy: "verify" })).toThrow("must be require or require-verify");
  });

  test("with a policy require TLS of everybody, unless they say of whom", () => {
    expect(tlsRequirement(defaultOptions())).toBe("false");
    expect(tlsRequirement(defaultOptions({ tlsClientAuthPolicy: "require" }))).toBe("true");
    expect(tlsRequirement(defaultOptions({ tlsClientAuthPolicy: "require", tlsRequired: "tcp-https" }))).toBe("tcp-https");
  });

  test("name the file that is missing, or not what it should be", () => {
    expect(() => build({ tlsCert: PAIR.tlsCert })).toThrow("-tls-key is missing");
    expect(() => build({ tlsKey: PAIR.tlsKey })).toThrow("-tls-cert is missing");
    expect(() => build({ ...PAIR, tlsCert: certificate("nobody.pem") })).toThrow(/-tls-cert .*nobody\.pem: ENOENT/);
    expect(() => build({ ...PAIR, tlsCert: PAIR.tlsKey })).toThrow("holds no certificate in PEM");
    expect(() => build({ ...PAIR, tlsKey: PAIR.tlsCert })).toThrow("holds no key in PEM");
    expect(() => build({ ...PAIR, tlsKey: certificate("client.key") })).toThrow("is not that of the certificate");
    expect(() => build({ ...PAIR, tlsRootCaFile: PAIR.tlsKey })).toThrow("there is no certificate in it");
  });
});
