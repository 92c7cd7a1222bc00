/** The time of the shell, and its one timer. */
import type { Millis } from "./protocol.js";

export interface Clock {
  /** For every duration: never set back nor forward. Near `Date.now()` at first, so that it can be shown. */
  nowMs(): Millis;
  /** The time of day. Its user may set it: it is shown, and tells that the machine slept. */
  wallMs(): Millis;
  /** Calls back after `ms`; returns the function that cancels. */
  after(ms: Millis, run: () => void): () => void;
}

const monotonic = typeof performance === "object" ? performance : null;
const originMs = monotonic ? Date.now() - monotonic.now() : 0;

export const systemClock: Clock = {
  nowMs: () => (monotonic ? originMs + monotonic.now() : Date.now()),
  wallMs: () => Date.now(),
  after: (ms, run) => {
    const timer = setTimeout(run, ms);
    return () => clearTimeout(timer);
  },
};

/** More than this between the time that passed and the time that should have: the machine slept, or was busy. */
const SLEPT_MS = 5_000;

/**
 * Notices that the machine slept. Browsers do not tell, and differ in whether timers and the monotonic clock go on
 * meanwhile: a timer that comes late shows it on some, the time of day that ran ahead on the others.
 */
export class SleepWatch {
  private readonly clock: Clock;
  private dueMs: Millis | null = null;
  private offsetMs: Millis;

  constructor(clock: Clock) {
    this.clock = clock;
    this.offsetMs = clock.wallMs() - clock.nowMs();
  }

  /** The timer is set to `dueMs`. */
  expect(dueMs: Millis): void {
    this.dueMs = dueMs;
  }

  /** True when the machine may have slept since the last call. A clock that was set looks the same: it costs one probe. */
  woke(): boolean {
    const nowMs = this.clock.nowMs();
    const offsetMs = this.clock.wallMs() - nowMs;
    const late = this.dueMs !== null && nowMs - this.dueMs > SLEPT_MS;
    const jumped = Math.abs(offsetMs - this.offsetMs) > SLEPT_MS;
    this.offsetMs = offsetMs;
    this.dueMs = null;
    return late || jumped;
  }
}
