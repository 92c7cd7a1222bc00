/**
 * The life of the connection: attempts, back-off, liveness. It decides; `client.ts` holds the socket.
 * A browser shows no WebSocket pings, so silence is probed with a `ping` message of our own. Times are those of a clock that nobody
 * sets.
 */
import { CLOSE } from "./actions.js";
import { BACKOFF_DEFAULT, backoffMs, type BackoffConfig } from "./backoff.js";
import type { ConnectionState, Phase } from "./events.js";
import type { Millis } from "./protocol.js";

export interface ConnectionConfig {
  backoff: BackoffConfig;
  connectTimeoutMs: Millis;
  /** The same for the first two attempts where there is another PoP to try. */
  hurriedTimeoutMs: Millis;
  /** Silence after which the server is asked for a sign of life, and how long it may take to give one. */
  silenceMs: Millis;
  pongTimeoutMs: Millis;
  /** The same when there is reason for doubt: the page or the network is back, or the machine woke up. */
  probeTimeoutMs: Millis;
  /** A connection that held this long starts the back-off anew. */
  stableAfterMs: Millis;
  /** Between two tries while the browser says that there is no network; it is wrong on a machine that serves itself. */
  offlineRetryMs: Millis;
}

export const CONNECTION_DEFAULT: ConnectionConfig = {
  backoff: BACKOFF_DEFAULT,
  connectTimeoutMs: 10_000,
  hurriedTimeoutMs: 3_000,
  silenceMs: 25_000,
  pongTimeoutMs: 10_000,
  probeTimeoutMs: 5_000,
  stableAfterMs: 10_000,
  offlineRetryMs: 15_000,
};

/** What the shell is to do with its socket. `lost` and `changed` are news for the session above. */
export type ConnectionStep = "connect" | "drop" | "ping" | "lost" | "changed";

export class Connection {
  phase: Phase = "idle";
  /** There is another PoP to try. */
  hurried = false;
  private attempt = 0;
  private code: number | null = null;
  private reason = "";
  private openedAtMs: Millis = 0;
  private deadlineMs: Millis | null = null;
  private pingOutstanding = false;
  private offline = false;
  /** Suspended by the browser, not by the app. */
  private frozen = false;
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
      offline: this.offline,
    };
  }

  nextDeadlineMs(): Millis | null {
    return this.deadlineMs;
  }

  start(nowMs: Millis): ConnectionStep[] {
    this.frozen = false;
    if (this.isLive()) return [];
    if (this.phase !== "waiting") this.attempt = 0;
    return this.connect(nowMs);
  }

  /** Lets the socket go without an end: `start` takes up where this stopped. */
  halt(phase: "suspended" | "closed"): ConnectionStep[] {
    const live = this.isLive();
    this.frozen = false;
    this.enter(phase, null);
    return live ? ["drop", "lost", "changed"] : ["changed"];
  }

  /** A new connection in the place of this one, at once: it is sound, but belongs to another user, or another PoP is better. */
  restart(nowMs: Millis): ConnectionStep[] {
    return this.isLive() ? ["drop", "lost", ...this.connect(nowMs)] : [];
  }

  opened(nowMs: Millis): ConnectionStep[] {
    if (this.phase !== "connecting") return [];
    this.openedAtMs = nowMs;
    this.code = null;
    this.reason = "";
    this.offline = false;
    this.enter("open", nowMs + this.config.silenceMs);
    return ["changed"];
  }

  received(nowMs: Millis): void {
    if (this.phase !== "open") return;
    this.pingOutstanding = false;
    this.deadlineMs = nowMs + this.config.silenceMs;
  }

  /** `end`: this code means that coming back is of no use. */
  closed(nowMs: Millis, code: number, reason: string, end: boolean): ConnectionStep[] {
    if (!this.isLive()) return [];
    const held = this.phase === "open" && nowMs - this.openedAtMs >= this.config.stableAfterMs;
    if (held) this.attempt = 0;
    this.code = code;
    this.reason = reason;
    if (end) {
      this.enter("closed", null);
    } else if (this.offline) {
      // A try without a network says nothing of the server.
      this.enter("waiting", nowMs + Math.round(this.config.offlineRetryMs * (0.5 + this.random() / 2)));
    } else {
      this.enter("waiting", nowMs + backoffMs(this.attempt, code, this.random(), this.config.backoff));
      this.attempt += 1;
    }
    return ["lost", "changed"];
  }

  /** The browser says that the network has gone or is back. A connection that opens all the same proves it wrong. */
  network(nowMs: Millis, online: boolean): ConnectionStep[] {
    if (this.offline === !online) return online ? this.nudge(nowMs) : [];
    this.offline = !online;
    if (online) {
      const steps = this.nudge(nowMs);
      return steps.includes("changed") ? steps : [...steps, "changed"];
    }
    if (this.isLive()) {
      const steps = this.closed(nowMs, 1006, "offline", false);
      // Not yet a try: one comes soon, for the case that the server is on this very machine.
      this.deadlineMs = this.soonMs(nowMs);
      return ["drop", ...steps];
    }
    return ["changed"];
  }

  /** The page is back: do not sit out a wait, and do not trust an old socket. */
  nudge(nowMs: Millis): ConnectionStep[] {
    if (this.phase === "waiting" && this.code !== CLOSE.tooMany) {
      const soonMs = this.soonMs(nowMs);
      if (this.deadlineMs !== null && this.deadlineMs <= soonMs) return [];
      this.deadlineMs = soonMs;
      return ["changed"];
    }
    return this.phase === "open" && !this.pingOutstanding ? this.ping(nowMs, this.config.probeTimeoutMs) : [];
  }

  /** The machine may have slept: a probe sent before may have been answered into nothing, an attempt have got stuck. */
  wake(nowMs: Millis): ConnectionStep[] {
    if (this.phase === "open") return this.ping(nowMs, this.config.probeTimeoutMs);
    if (this.phase === "connecting") return ["drop", ...this.connect(nowMs)];
    return this.nudge(nowMs);
  }

  freeze(): ConnectionStep[] {
    if (!this.isLive() && this.phase !== "waiting") return [];
    const steps = this.halt("suspended");
    this.frozen = true;
    return steps;
  }

  thaw(nowMs: Millis): ConnectionStep[] {
    if (!this.frozen) return this.nudge(nowMs);
    this.frozen = false;
    return this.connect(nowMs);
  }

  timer(nowMs: Millis): ConnectionStep[] {
    if (this.deadlineMs === null || nowMs < this.deadlineMs) return [];
    if (this.phase === "waiting") return this.connect(nowMs);
    if (this.phase === "open" && !this.pingOutstanding) return this.ping(nowMs, this.config.pongTimeoutMs);
    // Connecting took too long, or no sign of life came: as lost as a socket that says so.
    return ["drop", ...this.closed(nowMs, 1006, "no answer", false)];
  }

  private isLive(): boolean {
    return this.phase === "connecting" || this.phase === "open";
  }

  private soonMs(nowMs: Millis): Millis {
    return nowMs + Math.round(this.random() * this.config.backoff.baseMs);
  }

  private connect(nowMs: Millis): ConnectionStep[] {
    const { hurriedTimeoutMs, connectTimeoutMs } = this.config;
    this.enter("connecting", nowMs + (this.hurried && this.attempt <= 2 ? hurriedTimeoutMs : connectTimeoutMs));
    return ["connect", "changed"];
  }

  private ping(nowMs: Millis, timeoutMs: Millis): ConnectionStep[] {
    this.pingOutstanding = true;
    this.deadlineMs = nowMs + timeoutMs;
    return ["ping"];
  }

  private enter(phase: Phase, deadlineMs: Millis | null): void {
    this.phase = phase;
    this.deadlineMs = deadlineMs;
    this.pingOutstanding = false;
  }
}
