/** What codes mean, in plain words. A code that is not known is shown as it is: better than nothing said. */
import type { ConnectionState, OwnPost } from "../sdk/index.js";

const REASONS: Record<string, string> = {
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
      const why = REASONS[post.reason ?? ""] ?? post.message ?? post.reason ?? "no reason given";
      const wait = post.retryAtMs === null ? "" : waitMs > 0 ? `; try again in ${seconds(waitMs)}` : "; you can try again now";
      return { symbol: "✕", text: `not posted: ${why}${wait}` };
    }
    case "unconfirmed":
      return post.attempts === 0
        ? { symbol: "!", text: "not sent: there was no connection" }
        : { symbol: "!", text: "not confirmed: it may or may not have been posted" };
  }
}

export function connectionWords(state: ConnectionState, nowMs: number): string {
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
