export type Role = "viewer" | "operator" | "admin";

const RANK: Record<Role, number> = { viewer: 0, operator: 1, admin: 2 };

/**
 * Whether one of the patterns that fit a topic grants at least this role.
 *
 * @param topic empty: the cluster as a whole, which only the pattern `*` grants
 */
export function grants(roles: Readonly<Record<string, Role>>, role: Role, topic: string): boolean {
  return Object.entries(roles).some(([pattern, granted]) => RANK[granted] >= RANK[role] && fits(pattern, topic));
}

function fits(pattern: string, topic: string): boolean {
  if (pattern === "*") return true;
  if (topic === "") return false;
  const escaped = pattern.replace(/[.+?^${}()|[\]\\]/g, "\\$&").replaceAll("*", ".*");
  return new RegExp(`^${escaped}$`).test(topic);
}
