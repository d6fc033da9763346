import { exchange, type HttpPeer, type HttpRequest, type HttpResponse, type RequestLimits } from "../../http/client/exchange.ts";
import { withoutBrackets } from "../../net/address.ts";

/** A request to a program that is no server of NSQ's: its URL comes from a flag. */
export interface UrlRequest extends Omit<HttpRequest, "path"> {
  url: URL;
  /** For https. */
  tls: Bun.TLSOptions;
}

/** Sends a request. A user and password in the URL are sent as basic authentication. Rejects with an Error that says what went wrong. */
export function requestUrl({ url, tls, ...request }: UrlRequest, limits: RequestLimits, signal?: AbortSignal): Promise<HttpResponse> {
  const secure = url.protocol === "https:";
  const peer: HttpPeer = {
    hostname: withoutBrackets(url.hostname),
    port: Number(url.port) || (secure ? 443 : 80),
    ...(secure ? { tls } : {}),
  };
  const account = `${decodeURIComponent(url.username)}:${decodeURIComponent(url.password)}`;
  const headers = {
    ...request.headers,
    ...(account === ":" ? {} : { Authorization: `Basic ${Buffer.from(account).toString("base64")}` }),
  };
  return exchange(peer, { ...request, path: `${url.pathname}${url.search}`, headers }, limits, signal);
}

/** A URL as it may be shown: without its password. */
export function shownUrl(url: URL): string {
  const shown = new URL(url);
  if (shown.password !== "") shown.password = "xxxxx";
  return shown.href;
}
