import { type Address, formatAddress } from "../../net/address.ts";
import { exchange, type RequestLimits } from "./exchange.ts";

/**
 * Sends a GET to another server of the NSQ family.
 *
 * @param path with the query
 * @returns the body of a 200; rejects with an Error that says what went wrong
 */
export async function get(server: Address, path: string, limits: RequestLimits): Promise<string> {
  try {
    const { status, statusText, body } = await exchange(server, { method: "GET", path }, limits);
    if (status !== 200) throw new Error(`answered ${statusText} ${JSON.stringify(body.toString())}`);
    return body.toString();
  } catch (error) {
    throw new Error(`http://${formatAddress(server.hostname, server.port)}${path}: ${(error as Error).message}`);
  }
}
