/** What codes mean, in plain words. A code that is not known is shown as it is: better than nothing said. */
import type { ConnectionState, MeasuredPop, OwnPost, Phase, ProtocolError } from "../sdk/index.js";

/** Why a post was refused: the reasons of receipts, and the codes of errors that end a post. */
export const REASON_WORDS: Record<string, string> = {
  blocked_word: "it has a word that is not allowed here",
  spam: "it looks like spam",
  duplicate: "you have just said the same",
  rate_limited: "you are writing too fast",
  slow_mode: "this stream is in slow mode",
  banned: "you cannot write in this stream",
  muted: "you are muted in this stream",
  comments_off: "comments are switched off",
  followers_only: "only followers may write here",
  subscribers_only: "only subscribers may write here",
  emote_only: "only emotes may be written here",
  too_long: "it is too long",
  empty: "it is empty",
  invalid: "the server could not read it",
  denied: "a moderator did not let it through",
  unavailable: "the service is not available right now; it was not stored",
  unauthenticated: "you are not signed in",
  invalid_token: "your sign-in is no longer valid",
  token_expired: "your sign-in has expired",
  stream_ended: "the stream has ended",
  stream_not_found: "there is no such stream",
  not_joined: "this page is not connected to the stream",
  forbidden: "you may not do that here",
  comment_not_found: "there is no such comment",
};

const CLOSED: Record<number, string> = {
  1000: "Disconnected",
  4401: "Your sign-in is no longer valid",
  4403: "You may not enter here",
};

export function seconds(ms: number): string {
  const whole = Math.max(1, Math.ceil(ms / 1000));
  return whole < 90 ? `${whole} s` : `${Math.ceil(whole / 60)} min`;
}

/** The state of an own comment, with the symbol that stands before it. */
export function fate(post: OwnPost, nowMs: number): { symbol: string; text: string } {
  const waitMs = (post.retryAtMs ?? 0) - nowMs;
  switch (post.status) {
    case "sending":
      return { symbol: "◌", text: "sending…" };
    case "accepted":
      return { symbol: "◌", text: "sending…" };
    case "durable":
      return { symbol: "✓", text: "delivered" };
    case "sampled_out":
      return { symbol: "✓", text: "stored; too busy to show it to everyone live" };
    case "held":
      return { symbol: "⏸", text: "waits for a moderator" };
    case "rejected": {
      const why = REASON_WORDS[post.reason ?? ""] ?? post.message ?? post.reason ?? "no reason given";
      const wait = post.retryAtMs === null ? "" : waitMs > 0 ? `; try again in ${seconds(waitMs)}` : "; you can try again now";
      return { symbol: "✕", text: `not posted: ${why}${wait}` };
    }
    case "unconfirmed":
      return post.attempts === 0
        ? { symbol: "!", text: "not sent: there was no connection" }
        : { symbol: "!", text: "not confirmed: it may or may not have been posted" };
  }
}

/** What the stream is to this viewer now. */
export type Standing = "connecting" | "live" | "scheduled" | "ended" | "unknown" | "offline";

export function standing(now: { phase: Phase; joined: boolean; status: string | null; missing: boolean }): Standing {
  if (now.missing) return "unknown";
  if (now.status === "ended") return "ended";
  if (now.phase === "closed" || now.phase === "suspended") return "offline";
  if (!now.joined) return "connecting";
  return now.status === "scheduled" ? "scheduled" : "live";
}

export function standingWords(standing: Standing): string {
  switch (standing) {
    case "connecting":
      return "Connecting";
    case "live":
      return "Live";
    case "scheduled":
      return "Not started";
    case "ended":
      return "Ended";
    case "unknown":
      return "Unknown";
    case "offline":
      return "Offline";
  }
}

/** Why nothing can be written, or null where it can. */
export function closedWords(standing: Standing, commentsEnabled: boolean): string | null {
  if (standing === "unknown") return "There is no such stream";
  if (standing === "ended") return "The stream has ended";
  return commentsEnabled ? null : "Comments are switched off";
}

export function connectionWords(state: ConnectionState, nowMs: number): string {
  if (state.offline) return "No network";
  switch (state.phase) {
    case "idle":
    case "connecting":
      return state.attempt === 0 ? "Connecting…" : "Reconnecting…";
    case "open":
      return "Connected";
    case "waiting":
      return `Reconnecting in ${seconds((state.retryAtMs ?? nowMs) - nowMs)}`;
    case "suspended":
      return "Paused";
    case "closed":
      return CLOSED[state.code ?? 1000] ?? `Disconnected (${state.code})`;
  }
}

/** How near a PoP is, in the list of all. */
export function roundTripWords({ state, rttMs }: MeasuredPop): string {
  if (state === "draining") return "is closing";
  return rttMs === null ? "no answer" : milliseconds(rttMs);
}

export function milliseconds(ms: number): string {
  return ms < 1 ? "< 1 ms" : `${Math.round(ms)} ms`;
}

export function noticeWords(notice: { kind: string; [field: string]: unknown }): string {
  const share = typeof notice["rate"] === "number" ? `about ${Math.round(notice["rate"] * 100)} %` : "a part";
  switch (notice.kind) {
    case "sampling":
      return notice["rate"] === 1 ? "All comments are shown again." : `Very busy: ${share} of the comments is shown live. All are stored.`;
    case "slow_mode":
      return "Slow mode is on: please leave time between two comments.";
    case "degraded":
      return "Some services are out of order: comments may take longer.";
    default:
      return typeof notice["message"] === "string" ? notice["message"] : notice.kind.replaceAll("_", " ");
  }
}

/** An error that no post and no sign-in shows; null for those that something else on the page tells of. */
export function errorWords(error: ProtocolError): string | null {
  if (error.client_id !== undefined || TOLD_ELSEWHERE.has(error.code)) return null;
  if (error.code === "rate_limited") return "You are reacting too fast: the last ones were not counted.";
  return `The server refused: ${error.message}`;
}

/** The sign-in, the status of the stream and the connection say these. */
const TOLD_ELSEWHERE = new Set(["unauthenticated", "invalid_token", "token_expired", "wrong_user", "stream_not_found", "stream_ended"]);
