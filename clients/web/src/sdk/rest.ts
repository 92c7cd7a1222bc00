/** The two REST calls a page needs: a development token, and comments older than the live view. */
import type { Comment } from "./protocol.js";

/** An answer that is not 2xx: `application/problem+json`, as far as it could be read. */
export class RestError extends Error {
  readonly status: number;
  constructor(status: number, message: string) {
    super(message);
    this.name = "RestError";
    this.status = status;
  }
}

/** Exists on servers in the development mode only; elsewhere it is a `RestError` of 404. */
export async function devToken(
  base: string,
  username: string,
  role?: string,
): Promise<{ token: string; user_id: string }> {
  const body = JSON.stringify(role === undefined ? { username } : { username, role });
  const headers = { "content-type": "application/json" };
  return (await answerOf(await fetch(`${base}/api/dev/token`, { method: "POST", headers, body }))) as {
    token: string;
    user_id: string;
  };
}

/** Newest first; `before` is a comment id. `next` is null at the end. `fetch`: `Chorus.fetch`, to read as the viewer. */
export async function history(
  base: string,
  streamId: string,
  options: { before?: string; limit?: number; fetch?: (url: string) => Promise<Response> } = {},
): Promise<{ comments: Comment[]; next: string | null }> {
  const query = new URLSearchParams();
  if (options.before !== undefined) query.set("before", options.before);
  if (options.limit !== undefined) query.set("limit", String(options.limit));
  const url = `${base}/api/streams/${encodeURIComponent(streamId)}/comments?${query}`;
  return (await answerOf(await (options.fetch ?? fetch)(url))) as {
    comments: Comment[];
    next: string | null;
  };
}

async function answerOf(response: Response): Promise<unknown> {
  if (response.ok) return response.json();
  const problem = (await response.json().catch(() => ({}))) as { title?: string; detail?: string };
  throw new RestError(response.status, problem.detail ?? problem.title ?? `HTTP ${response.status}`);
}
