/** When to connect again. Full jitter: after an outage the viewers of a PoP must not return as one wave. */
import { CLOSE } from "./actions.js";

export interface BackoffConfig {
  baseMs: number;
  capMs: number;
  /** The least wait after 4429: an immediate retry would only be refused again. */
  overloadedMinMs: number;
}

export const BACKOFF_DEFAULT: BackoffConfig = { baseMs: 500, capMs: 30_000, overloadedMinMs: 5_000 };

/** The wait before attempt number `attempt` (0 is the first); `random` is in [0, 1). */
export function backoffMs(attempt: number, code: number, random: number, config: BackoffConfig): number {
  const ceiling = Math.min(config.capMs, config.baseMs * 2 ** Math.min(attempt, 16));
  const floor = code === CLOSE.tooMany ? config.overloadedMinMs : 0;
  return Math.round(floor + random * ceiling);
}
