/**
 * What a client does on each code. The codes are generated from the server's table, and the tables here have to name all of them:
 * a code that is added, renamed or misspelt does not compile.
 */
import { CLOSE_CODES, type ErrorCode, type Reason } from "./codes.js";

/**
 * `write`: something written was refused for want of a good token. `invalid`, `expired`, `user`: the token was refused, as
 * `auth.ts` tells apart. `join`: the stream cannot be joined. `report`: the app is told, and that is all.
 */
export type ErrorAction = "write" | "invalid" | "expired" | "user" | "join" | "report";

const ERROR_ACTIONS = {
  unauthenticated: "write",
  invalid_token: "invalid",
  token_expired: "expired",
  wrong_user: "user",
  stream_not_found: "join",
  too_many_streams: "join",
  invalid_message: "report",
  unknown_type: "report",
  unknown_reaction: "report",
  not_available: "report",
  forbidden: "report",
  stream_ended: "report",
  not_joined: "report",
  already_joined: "report",
  rate_limited: "report",
  unconfirmed: "report",
  comment_not_found: "report",
  not_found: "report",
  method_not_allowed: "report",
  conflict: "report",
  too_large: "report",
  unsupported_media_type: "report",
  timeout: "report",
  unavailable: "report",
  internal: "report",
} satisfies Record<ErrorCode, ErrorAction>;

/** `token`: the post goes out again under its key when there is a better token. `final`: it is refused. */
export type ReasonAction = "token" | "final";

const REASON_ACTIONS = {
  unauthenticated: "token",
  token_expired: "token",
  empty: "final",
  too_long: "final",
  invalid: "final",
  rate_limited: "final",
  slow_mode: "final",
  duplicate: "final",
  spam: "final",
  blocked_word: "final",
  banned: "final",
  comments_off: "final",
  followers_only: "final",
  subscribers_only: "final",
  emote_only: "final",
  stream_ended: "final",
  stream_not_found: "final",
  not_joined: "final",
  forbidden: "final",
  comment_not_found: "final",
  unavailable: "final",
} satisfies Record<Reason, ReasonAction>;

/** `again`: reconnect with back-off. `token`: the same, with a better token or none. `end`: coming back is of no use. */
export type CloseAction = "again" | "token" | "end";

/** A code this client does not know is told to the app: its server is newer. */
export function errorAction(code: string): ErrorAction {
  return Object.hasOwn(ERROR_ACTIONS, code) ? ERROR_ACTIONS[code as ErrorCode] : "report";
}

export function reasonAction(reason: string | null | undefined): ReasonAction {
  return Object.hasOwn(REASON_ACTIONS, reason ?? "") ? REASON_ACTIONS[reason as Reason] : "final";
}

/** The close codes that a client tells apart from the others of their action. */
export const CLOSE = { badToken: 4401, tooMany: 4429 } as const satisfies Record<string, keyof typeof CLOSE_CODES>;

/** Only a code that the server's table knows can end it: proxies, libraries and browsers have codes of their own. */
export function closeAction(code: number): CloseAction {
  if (code === CLOSE.badToken) return "token";
  const known = Object.hasOwn(CLOSE_CODES, code) ? CLOSE_CODES[code as keyof typeof CLOSE_CODES] : null;
  return known === null || known.reconnect ? "again" : "end";
}
