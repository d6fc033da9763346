import { signal } from "@preact/signals";
import type { Session } from "../../console-api.ts";
import { errorText, get, post, whenUnauthorized } from "./api.ts";
import { live } from "./event-stream.ts";
import { grants, type Role } from "./roles.ts";

/** Who is here and what they may do; undefined until the console has said. */
export const session = signal<Session | undefined>(undefined);
/** Why there is no session. */
export const sessionError = signal("");

export async function loadSession(): Promise<void> {
  try {
    session.value = await get<Session>("/session");
    sessionError.value = "";
  } catch (error) {
    sessionError.value = errorText(error);
  }
}

/** @throws ApiError */
export async function logIn(credentials: { user: string; password: string } | { token: string }): Promise<void> {
  session.value = await post<Session>("/session", credentials);
  live.reset();
}

/** @throws ApiError */
export async function logOut(): Promise<void> {
  await post("/session", {}, "DELETE");
  live.reset();
  await loadSession();
}

whenUnauthorized(() => {
  const { value } = session;
  if (value !== undefined && !value.needs_login) session.value = { ...value, user: "", needs_login: true };
});

/** Whether the page offers something. The console decides again when it is done. @param topic empty: of the cluster as a whole */
export function may(role: Role, topic = ""): boolean {
  return grants(session.value?.roles ?? {}, role, topic);
}
