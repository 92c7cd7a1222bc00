/** Who the viewer is: a development token kept for this window alone, so two windows can be two people. */
import { devToken, RestError } from "../sdk/index.js";

const KEY = "chorus.session";

export interface Session {
  username: string;
  token: string;
}

export function savedSession(): Session | null {
  try {
    const saved = JSON.parse(sessionStorage.getItem(KEY) ?? "null") as Partial<Session> | null;
    return typeof saved?.token === "string" && typeof saved.username === "string" ? (saved as Session) : null;
  } catch {
    return null;
  }
}

/** `base`: of the PoP, `https://host`. */
export async function signIn(base: string, username: string): Promise<Session> {
  const { token } = await devToken(base, username);
  return keep({ username, token });
}

/** A new token for the same name, not kept yet; null when this server gives none, a throw when it cannot be reached. */
export async function renewed(base: string, { username }: Session): Promise<Session | null> {
  try {
    return { username, token: (await devToken(base, username)).token };
  } catch (error) {
    if (error instanceof RestError && error.status < 500 && error.status !== 429) return null;
    throw error;
  }
}

export function keep(session: Session): Session {
  try {
    sessionStorage.setItem(KEY, JSON.stringify(session));
  } catch {
    // Storage may be denied: the session then lasts as long as the page.
  }
  return session;
}

export function forgetSession(): void {
  try {
    sessionStorage.removeItem(KEY);
  } catch {
    // Storage may be denied: then nothing was kept.
  }
}

export function signInProblem(error: unknown): string {
  if (error instanceof RestError && error.status === 404) return "This server gives no guest names.";
  if (error instanceof RestError) return `That did not work: ${error.message}`;
  return "The server cannot be reached. Please try again.";
}
