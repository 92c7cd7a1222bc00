/** Comment ids: Snowflakes written as decimal strings, larger than a JavaScript number can hold. */

/** Negative when `a` is older than `b`. Exact for any length, without BigInt. */
export function compareIds(a: string, b: string): number {
  if (a.length !== b.length) return a.length - b.length;
  return a < b ? -1 : a > b ? 1 : 0;
}

/** The `sub` and `exp` of a JWT, read and not verified: for display and timing only. */
export function readToken(token: string): { userId: string | null; expiresAtMs: number | null } {
  try {
    const body = (token.split(".")[1] ?? "").replace(/-/g, "+").replace(/_/g, "/");
    const bytes = Uint8Array.from(atob(body), (char) => char.charCodeAt(0));
    const claims = JSON.parse(new TextDecoder().decode(bytes)) as { sub?: unknown; exp?: unknown };
    return {
      userId: typeof claims.sub === "string" ? claims.sub : null,
      expiresAtMs: typeof claims.exp === "number" ? claims.exp * 1000 : null,
    };
  } catch {
    return { userId: null, expiresAtMs: null };
  }
}
