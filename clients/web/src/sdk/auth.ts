/**
 * Who the viewer is. The server alone judges a token, so the clock here is not asked for `exp`: a token is shown, and
 * when any answer says that it will not do, the app is asked for another one, a bounded number of times; else the viewer is signed
 * out and goes on reading. Decides only; `state.ts` sends and `client.ts` asks.
 *
 * The server does not acknowledge `authenticate`. It answers a connection's messages in order, so a `ping` right behind
 * it does: a `pong` of this number without a refusal before it means that the token was taken.
 */
import { tokenUserId } from "./ids.js";
import type { Millis } from "./protocol.js";

/** `signed_in`: there is a token that nobody has refused. `refreshing`: the app is asked for one; posts wait. */
export type AuthStatus = "signed_out" | "signed_in" | "refreshing";

export interface AuthState {
  status: AuthStatus;
  userId: string | null;
  /** The code with which the last token was refused; null when none was, or the app signed out by itself. */
  reason: string | null;
}

export interface AuthConfig {
  /** Questions to the app in a window; at more the viewer is signed out. */
  asksMax: number;
  asksWindowMs: Millis;
  /** The wait before the second question of a window; four times as long before each further one. */
  askAgainMs: Millis;
  /** An app that has brought no good token by then has none. */
  answerTimeoutMs: Millis;
}

export const AUTH_DEFAULT: AuthConfig = { asksMax: 3, asksWindowMs: 60_000, askAgainMs: 1_000, answerTimeoutMs: 15_000 };

/**
 * `authenticate`: send it, and a ping with `sequence`. `ask`: ask the app. `reconnect`: this connection belongs to somebody
 * else. `end_posts`: nobody can answer for the open posts any more. `resend`: the token is taken. `changed`: tell the app.
 */
export type AuthStep = "authenticate" | "ask" | "reconnect" | "end_posts" | "resend" | "changed";

export class Auth {
  status: AuthStatus = "signed_out";
  userId: string | null = null;
  reason: string | null = null;
  token: string | null = null;
  /** The server has taken the token on this connection. */
  confirmed = false;
  /** Number of the last `authenticate`. */
  sequence = 0;
  /** Changes when the app signs in or out itself: answers to earlier questions are void then. */
  round = 0;

  private readonly config: AuthConfig;
  private readonly canRefresh: boolean;
  private readonly random: () => number;
  private open = false;
  /** The user the server knows this connection by; undefined is nobody. */
  private identity: string | null | undefined;
  /** Number of the last `authenticate` that a `pong` has answered. */
  private answered = 0;
  private refusedToken: string | null = null;
  private outByApp = false;
  private asks: Millis[] = [];
  /** One question at a time, however long the app takes. */
  private asking = false;
  private asked = false;
  private askAtMs: Millis | null = null;
  private giveUpAtMs: Millis | null = null;
  private doubted = false;
  private reconnected = false;

  constructor(config: AuthConfig, canRefresh: boolean, random: () => number) {
    this.config = config;
    this.canRefresh = canRefresh;
    this.random = random;
  }

  get state(): AuthState {
    return { status: this.status, userId: this.userId, reason: this.reason };
  }

  nextDeadlineMs(): Millis | null {
    const askAtMs = this.asking ? null : this.askAtMs;
    if (askAtMs === null || this.giveUpAtMs === null) return askAtMs ?? this.giveUpAtMs;
    return Math.min(askAtMs, this.giveUpAtMs);
  }

  /** The app signs in, as whomever the token names, or out. */
  set(token: string | null): AuthStep[] {
    this.round += 1;
    this.outByApp = token === null;
    if (token !== null) return this.take(token);
    // There is no message that signs out: a connection has its user to its end.
    const known = this.open && (this.identity !== undefined || (this.token !== null && !this.confirmed));
    return [...this.signOut(null), ...(known ? ["reconnect" as const] : [])];
  }

  opened(nowMs: Millis): AuthStep[] {
    this.open = true;
    this.answered = this.sequence;
    if (this.status === "signed_in") return ["authenticate"];
    if (this.status === "refreshing") {
      this.giveUpAtMs = nowMs + this.config.answerTimeoutMs;
      return this.asking ? [] : this.plan(nowMs);
    }
    return this.asked ? [] : this.wanted(nowMs);
  }

  lost(): void {
    this.open = false;
    this.confirmed = false;
    this.doubted = false;
    this.identity = undefined;
    // Without a network the app cannot get a token: that is no answer. It is asked again when there is a connection.
    this.giveUpAtMs = null;
    this.askAtMs = null;
  }

  /** Something is to be written without a token: the app may have one now. */
  wanted(nowMs: Millis): AuthStep[] {
    if (this.status !== "signed_out" || this.outByApp || !this.canRefresh) return [];
    return this.hasRoom(nowMs) ? this.begin(nowMs, this.reason) : [];
  }

  answer(nowMs: Millis, round: number, token: string | null, failed: boolean): AuthStep[] {
    this.asking = false;
    if (round !== this.round) return this.timer(nowMs);
    // Late is good enough, unless the app has signed out meanwhile.
    if (token !== null && token !== this.refusedToken && this.status !== "signed_in") return this.take(token);
    if (this.status !== "refreshing") return [];
    if (token === null && !failed) return this.signOut(this.reason);
    if (this.open) return this.plan(nowMs);
    this.asks.pop();
    return [];
  }

  timer(nowMs: Millis): AuthStep[] {
    if (this.status !== "refreshing") return [];
    if (this.giveUpAtMs !== null && nowMs >= this.giveUpAtMs) return this.signOut(this.reason);
    if (this.askAtMs === null || nowMs < this.askAtMs || this.asking) return [];
    this.askAtMs = null;
    this.asking = true;
    this.asked = true;
    this.asks.push(nowMs);
    return ["ask"];
  }

  /** A `pong` with the number of an `authenticate`. */
  pong(sequence: number): AuthStep[] {
    this.answered = Math.max(this.answered, sequence);
    if (sequence !== this.sequence || this.status !== "signed_in" || this.confirmed || !this.open) return [];
    this.confirmed = true;
    this.identity = this.userId;
    this.doubted = false;
    this.reconnected = false;
    return ["resend"];
  }

  /** `invalid_token`: the answer to an `authenticate`, and to which one. */
  invalid(nowMs: Millis, reason: string): AuthStep[] {
    const ofAnEarlierOne = !this.confirmed && this.answered + 1 < this.sequence;
    return ofAnEarlierOne ? [] : this.refuse(nowMs, reason);
  }

  /** `token_expired`. Between an `authenticate` and its pong it may speak of the token before: then it is shown once more. */
  expired(nowMs: Millis, reason: string): AuthStep[] {
    if (this.status !== "signed_in" || this.confirmed || this.doubted) return this.refuse(nowMs, reason);
    this.doubted = true;
    return ["authenticate"];
  }

  /** `wrong_user`: the token may be good, the connection is not. */
  otherUser(nowMs: Millis, reason: string): AuthStep[] {
    if (this.status !== "signed_in" || this.reconnected) return this.refuse(nowMs, reason);
    this.reconnected = true;
    return ["reconnect"];
  }

  /** Something written was refused for want of a good token. What was written before this token says nothing of it. */
  refusedWrite(nowMs: Millis, reason: string): AuthStep[] {
    return this.confirmed ? this.refuse(nowMs, reason) : [];
  }

  /** The token in use will not do. */
  refuse(nowMs: Millis, reason: string): AuthStep[] {
    if (this.status !== "signed_in") return [];
    this.refusedToken = this.token;
    this.token = null;
    this.confirmed = false;
    return this.canRefresh && this.hasRoom(nowMs) ? this.begin(nowMs, reason) : this.signOut(reason);
  }

  private begin(nowMs: Millis, reason: string | null): AuthStep[] {
    this.status = "refreshing";
    this.reason = reason;
    this.giveUpAtMs = this.open ? nowMs + this.config.answerTimeoutMs : null;
    return ["changed", ...this.plan(nowMs)];
  }

  /** The next question: the first of a window at once, the further ones later, and no more than so many. */
  private plan(nowMs: Millis): AuthStep[] {
    if (!this.hasRoom(nowMs)) return this.signOut(this.reason);
    const before = this.asks.length;
    const waitMs = before === 0 ? 0 : this.config.askAgainMs * 4 ** (before - 1) * (0.5 + this.random());
    this.askAtMs = nowMs + Math.round(waitMs);
    return this.timer(nowMs);
  }

  private hasRoom(nowMs: Millis): boolean {
    this.asks = this.asks.filter((atMs) => nowMs - atMs < this.config.asksWindowMs);
    return this.asks.length < this.config.asksMax;
  }

  private take(token: string): AuthStep[] {
    const before = this.userId;
    const identity = this.identity;
    this.token = token;
    this.userId = tokenUserId(token);
    this.status = "signed_in";
    this.reason = null;
    this.confirmed = false;
    this.doubted = false;
    this.reconnected = false;
    this.askAtMs = null;
    this.giveUpAtMs = null;
    // What one user has written is not sent as another.
    const steps: AuthStep[] = before !== null && before !== this.userId ? ["end_posts", "changed"] : ["changed"];
    if (this.open) steps.push(identity !== undefined && identity !== this.userId ? "reconnect" : "authenticate");
    return steps;
  }

  private signOut(reason: string | null): AuthStep[] {
    this.status = "signed_out";
    this.token = null;
    this.userId = null;
    this.reason = reason;
    this.confirmed = false;
    this.askAtMs = null;
    this.giveUpAtMs = null;
    return ["end_posts", "changed"];
  }
}
