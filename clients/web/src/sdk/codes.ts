/** The codes of client protocol 1, written by `protocol/tests/codes.rs`: do not edit. */

/** The `code` of an `error` and of a REST problem. */
export const ERROR_CODES = [
  /** the message or the request cannot be read */
  "invalid_message",
  /** there is no message of this type */
  "unknown_type",
  /** the stream has no such reaction */
  "unknown_reaction",
  /** this server does not serve that yet */
  "not_available",
  /** a token is needed */
  "unauthenticated",
  /** the token is refused: a new one is needed */
  "invalid_token",
  /** the token has expired: reading goes on, writing needs a new one */
  "token_expired",
  /** the connection belongs to another user: open a new one */
  "wrong_user",
  /** this user may not do that */
  "forbidden",
  /** there is no such stream */
  "stream_not_found",
  /** the stream has ended: it can be read */
  "stream_ended",
  /** the stream is not joined */
  "not_joined",
  /** the stream is joined already */
  "already_joined",
  /** the connection holds as many streams as it may: leave one first */
  "too_many_streams",
  /** too many in too short a time: see `retry_after_ms` */
  "rate_limited",
  /** the outcome of a post is not known: the same `client_id` may be sent again */
  "unconfirmed",
  /** the stream has no such comment */
  "comment_not_found",
  /** REST: there is no such resource */
  "not_found",
  /** REST: the resource has other methods: see `Allow` */
  "method_not_allowed",
  /** REST: it exists already */
  "conflict",
  /** REST: the body is too large */
  "too_large",
  /** REST: the body is not `application/json` */
  "unsupported_media_type",
  /** REST: the request or its answer did not come in time */
  "timeout",
  /** it cannot be done now: see `retry_after_ms` or `Retry-After` */
  "unavailable",
  /** a fault of the server */
  "internal",
] as const;
export type ErrorCode = (typeof ERROR_CODES)[number];

/** The `reason` of a rejected receipt. */
export const REASONS = [
  /** nothing that can be seen was written */
  "empty",
  /** more scalar values than a comment may have */
  "too_long",
  /** the text or a field of the post is not allowed */
  "invalid",
  /** too many comments in too short a time: see `retry_after_ms` */
  "rate_limited",
  /** the stream is in slow mode: see `retry_after_ms` */
  "slow_mode",
  /** planned: the same text was written before */
  "duplicate",
  /** planned: it looks like spam */
  "spam",
  /** planned: it has a word that the stream refuses */
  "blocked_word",
  /** planned: the author may not write here */
  "banned",
  /** the stream takes no comments now */
  "comments_off",
  /** planned: only followers may write */
  "followers_only",
  /** planned: only subscribers may write */
  "subscribers_only",
  /** planned: only emotes may be written */
  "emote_only",
  /** the stream has ended */
  "stream_ended",
  /** there is no such stream */
  "stream_not_found",
  /** the stream is not joined on this connection */
  "not_joined",
  /** a token is needed to write */
  "unauthenticated",
  /** the token has expired: the same post may be sent again after a new one */
  "token_expired",
  /** this user may not do that */
  "forbidden",
  /** the stream has no such comment */
  "comment_not_found",
  /** certainly not stored; it may be tried again after `retry_after_ms` */
  "unavailable",
] as const;
export type Reason = (typeof REASONS)[number];

/** The `status` of a receipt. */
export const RECEIPT_STATUSES = [
  /** the PoP took it; no id yet */
  "accepted",
  /** the comment log holds it on a quorum; `comment_id` is known, and it can be read from then on */
  "durable",
  /** planned: stored, not shown live: the stream is too busy to show all */
  "sampled_out",
  /** planned: stored, waits for a moderator */
  "held",
  /** refused, with a `reason`; it may come first and alone, or after `durable` (then it is taken away) */
  "rejected",
  /** of a removal or a moderator's action: in force from now on */
  "applied",
] as const;
export type ReceiptStatus = (typeof RECEIPT_STATUSES)[number];

/** The `reason` of `comments_removed`. */
export const REMOVAL_REASONS = [
  /** its author took it away */
  "author",
  /** a moderator or the broadcaster took it away */
  "moderator",
] as const;
export type RemovalReason = (typeof REMOVAL_REASONS)[number];

/** The `kind` of a notice. */
export const NOTICE_KINDS = [
  /** planned: only a share of the comments is shown; `rate` */
  "sampling",
  /** planned: how long to wait between two comments */
  "slow_mode",
  /** planned: a part of the service is away */
  "degraded",
] as const;
export type NoticeKind = (typeof NOTICE_KINDS)[number];

/** What the server closes with; `reconnect` says whether to come back. What is not here means yes. */
export const CLOSE_CODES = {
  /** normal */
  1000: { reconnect: false },
  /** the server is going away: elsewhere if it can be chosen */
  1001: { reconnect: true },
  /** a malformed frame */
  1002: { reconnect: false },
  /** a kind of frame that the encoding has no use for */
  1003: { reconnect: false },
  /** a text frame that is not UTF-8 */
  1007: { reconnect: false },
  /** a message over the limit */
  1009: { reconnect: false },
  /** the message made the server's logic fail */
  1011: { reconnect: true },
  /** bad or expired token: get a new one first */
  4401: { reconnect: false },
  /** banned or forbidden */
  4403: { reconnect: false },
  /** too slow a reader */
  4408: { reconnect: true },
  /** too many connections or messages: not at once */
  4429: { reconnect: true },
} as const satisfies Record<number, { reconnect: boolean }>;
