/**
 * What a client does on each code. The codes are generated from the server's table, and each table here has to name all of them:
 * a code that is added, renamed or misspelt does not compile.
 */
import { CLOSE_CODES, type CloseCode, type ErrorCode, type Reason } from "./codes.js";

/**
 * `write`: something written was refused for want of a good token. `invalid`, `expired`, `user`: the token was refused as such.
 * `join`: the stream cannot be joined. `report`: nothing but to tell the app.
 */
export type ErrorAction = "write" | "invalid" | "expired" | "user" | "join" | "report";

const ERRORS = {
  unauthenticated: "write",
  invalid_token: "invalid",
  token_expired: "expired",
  wrong_user: "user",
  stream_not_found: "join",
  too_many_streams: "join",
} satisfies Partial<Record<ErrorCode, ErrorAction>>;

/** `token`: the post is sent again under its key when there is a better token. `final`: it is refused. */
export type ReasonAction = "token" | "final";

/** `again`: reconnect with back-off. `token`: the same, after a better token. `end`: coming back is of no use. */
export type CloseAction = "again" | "token" | "end";
