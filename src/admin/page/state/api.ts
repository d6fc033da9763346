import type { ActionRequest, ActionResult } from "../../console-api.ts";
import type { MessagesRequest, MessagesResult } from "../../message-api.ts";
import { ApiError } from "./api-error.ts";

/** How long a call may take: a search in messages looks at many. */
const TIMEOUT_MS = 30_000;

/** Called when a call needs a login. */
let onUnauthorized = (): void => {};

export function whenUnauthorized(callback: () => void): void {
  onUnauthorized = callback;
}

/** The address of a call of the console's API. @param path from behind `/api/v1` */
export function apiUrl(path: string): string {
  return new URL(`api/v1${path}`, document.baseURI).href;
}

/** @throws ApiError */
export async function get<T>(path: string, signal?: AbortSignal): Promise<T> {
  return await send<T>(apiUrl(path), { signal: withTimeout(signal) });
}

/** A call of nsqadmin's API. @param path from behind `/api` @throws ApiError */
export async function getLegacy<T>(path: string, signal?: AbortSignal): Promise<T> {
  return await send<T>(new URL(`api${path}`, document.baseURI).href, { signal: withTimeout(signal) });
}

/** @throws ApiError */
export async function post<T>(path: string, body: unknown, method: "POST" | "DELETE" = "POST"): Promise<T> {
  return await send<T>(apiUrl(path), {
    method,
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
    signal: withTimeout(),
  });
}

/** @throws ApiError */
export function act(request: ActionRequest): Promise<ActionResult> {
  return post("/actions", request);
}

/** @throws ApiError */
export function actOnMessages(request: MessagesRequest): Promise<MessagesResult> {
  return post("/messages", request);
}

function withTimeout(signal?: AbortSignal): AbortSignal {
  const timeout = AbortSignal.timeout(TIMEOUT_MS);
  return signal === undefined ? timeout : AbortSignal.any([signal, timeout]);
}

async function send<T>(url: string, init: RequestInit): Promise<T> {
  let response: Response;
  try {
    response = await fetch(url, { ...init, credentials: "same-origin" });
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    const text = error instanceof DOMException && error.name === "TimeoutError" ? "no answer in 30 s" : "the console does not answer";
    throw new ApiError(0, "UNREACHABLE", text);
  }
  const body: unknown = await response.json().catch(() => undefined);
  if (response.ok && body !== undefined) return body as T;
  if (response.status === 401) onUnauthorized();
  const { message, detail } = (body ?? {}) as { message?: unknown; detail?: unknown };
  throw new ApiError(
    response.status,
    typeof message === "string" ? message : response.ok ? "NOT_JSON" : `HTTP ${response.status}`,
    typeof detail === "string" ? detail : "",
  );
}

/** An error as a sentence. */
export function errorText(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
