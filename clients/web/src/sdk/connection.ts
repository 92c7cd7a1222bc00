/**
 * The life of the connection: attempts, back-off, liveness. It decides; `client.ts` holds the socket.
 * A browser shows no WebSocket pings, so silence is probed with a `ping` message of our own.
 */
import { BACKOFF_DEFAULT, backoffMs, shouldReconnect, type BackoffConfig } from "./backoff.js";
import type { ConnectionState, Phase } from "./events.js";
import type { Millis } from "./protocol.js";

export interface ConnectionConfig {
  backoff: BackoffConfig;
  connectTimeoutMs: Millis;
  /** Silence after which the server is asked for a sign of life, and how long it may take to give one. */
  silenceMs: Millis;
  pongTimeoutMs: Millis;
  /** A connection that held this long starts the back-off anew. */
  stableAfterMs: Millis;
}

export const CONNECTION_DEFAULT: ConnectionConfig = {
  backoff: BACKOFF_DEFAULT,
  connectTimeoutMs: 10_000,
  silenceMs: 25_000,
  pongTimeoutMs: 10_000,
  stableAfterMs: 10_000,
};

/** What the shell is to do with its socket. `lost` and `changed` are news for the session above. */
export type ConnectionStep = "connect" | "drop" | "ping" | "lost" | "changed";

export class Connection {
  phase: Phase = "idle";
  private attempt = 0;
  private code: number | null = null;
  private reason = "";
  private openedAtMs: Millis = 0;
  private deadlineMs: Millis | null = null;
  private pingOutstanding = false;
  private readonly config: ConnectionConfig;
  private readonly random: () => number;

  constructor(config: ConnectionConfig, random: () => number) {
    this.config = config;
    this.random = random;
  }

  get state(): ConnectionState {
    return {
      phase: this.phase,
      attempt: this.attempt,
      retryAtMs: this.phase === "waiting" ? this.deadlineMs : null,
      code: this.code,
      reason: this.reason,
    };
  }

  nextDeadlineMs(): Millis | null {
    return this.deadlineMs;
  }

  start(nowMs: Millis): ConnectionStep[] {
    if (this.phase === "connecting" || this.phase === "open") return [];
    if (this.phase !== "waiting") this.attempt = 0;
    return this.connect(nowMs);
  }

  /** Lets the socket go without an end: `start` takes up where this stopped. */
  halt(phase: "suspended" | "closed"): ConnectionStep[] {
    const live = this.phase === "connecting" || this.phase === "open";
    this.enter(phase, null);
    return live ? ["drop", "lost", "changed"] : ["changed"];
  }

  opened(nowMs: Millis): ConnectionStep[] {
    if (this.phase !== "connecting") return [];
    this.openedAtMs = nowMs;
    this.code = null;
    this.reason = "";
    this.enter("open", nowMs + this.config.silenceMs);
    return ["changed"];
  }

  received(nowMs: Millis): void {
    if (this.phase !== "open") return;
    this.pingOutstanding = false;
    this.deadlineMs = nowMs + this.config.silenceMs;
  }

  closed(nowMs: Millis, code: number, reason: string): ConnectionStep[] {
    if (this.phase !== "connecting" && this.phase !== "open") return [];
    const held = this.phase === "open" && nowMs - this.openedAtMs >= this.config.stableAfterMs;
    if (held) this.attempt = 0;
    this.code = code;
    this.reason = reason;
    if (!shouldReconnect(code)) {
      this.enter("closed", null);
      return ["lost", "changed"];
    }
    this.enter("waiting", nowMs + backoffMs(this.attempt, code, this.random(), this.config.backoff));
    this.attempt += 1;
    return ["lost", "changed"];
  }

  /** The network or the page is back: do not sit out a wait, and do not trust an old socket. */
  nudge(nowMs: Millis): ConnectionStep[] {
    if (this.phase === "waiting" && this.code !== 4429) {
      const soonMs = nowMs + Math.round(this.random() * this.config.backoff.baseMs);
      this.deadlineMs = Math.min(this.deadlineMs ?? soonMs, soonMs);
      return ["changed"];
    }
    return this.phase === "open" && !this.pingOutstanding ? this.ping(nowMs) : [];
  }

  timer(nowMs: Millis): ConnectionStep[] {
    if (this.deadlineMs === null || nowMs < this.deadlineMs) return [];
    if (this.phase === "waiting") return this.connect(nowMs);
    if (this.phase === "open" && !this.pingOutstanding) return this.ping(nowMs);
    // Connecting took too long, or no sign of life came: as lost as a socket that says so.
    return ["drop", ...this.closed(nowMs, 1006, "no answer")];
  }

  private connect(nowMs: Millis): ConnectionStep[] {
    this.enter("connecting", nowMs + this.config.connectTimeoutMs);
    return ["connect", "changed"];
  }

  private ping(nowMs: Millis): ConnectionStep[] {
    this.pingOutstanding = true;
    this.deadlineMs = nowMs + this.config.pongTimeoutMs;
    return ["ping"];
  }

  private enter(phase: Phase, deadlineMs: Millis | null): void {
    this.phase = phase;
    this.deadlineMs = deadlineMs;
    this.pingOutstanding = false;
  }
}
