/** How fast comments come: above what anybody can read one by one, or be read out to. No clock. */

const WINDOW_MS = 5_000;
/** Comments within the window from which the stream counts as fast, and below which it does no longer. */
const FAST = 15;
const SLOW = 6;

export class Pace {
  fast = false;
  private readonly arrivals: { atMs: number; count: number }[] = [];
  private sum = 0;

  /** Returns whether `fast` changed. Call it now and then with a count of 0, so that silence is seen. */
  arrived(count: number, nowMs: number): boolean {
    if (count > 0) this.arrivals.push({ atMs: nowMs, count });
    this.sum += count;
    for (let first = this.arrivals[0]; first && first.atMs <= nowMs - WINDOW_MS; first = this.arrivals[0]) {
      this.sum -= first.count;
      this.arrivals.shift();
    }
    const fast = this.fast ? this.sum >= SLOW : this.sum >= FAST;
    const changed = fast !== this.fast;
    this.fast = fast;
    return changed;
  }
}
