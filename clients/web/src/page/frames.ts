/** When the list is drawn: in the next frame, or, where comments come fast, no more often than a reader can follow. */

/** The least time between two drawings of what only arrived. */
const LATER_MS = 100;
/** And as many times what the last one took, so that a slow device has time left for the rest of the page. */
const LATER_SHARE = 8;

export class Frames {
  private scheduled = false;
  private timer: ReturnType<typeof setTimeout> | null = null;
  private drawnAtMs = 0;
  private tookMs = 0;
  private readonly draw: () => void;
  private readonly nowMs: () => number;

  constructor(draw: () => void, nowMs: () => number) {
    this.draw = draw;
    this.nowMs = nowMs;
  }

  /** Draws in the next frame. */
  soon(): void {
    if (this.timer !== null) clearTimeout(this.timer);
    this.timer = null;
    if (this.scheduled) return;
    this.scheduled = true;
    requestAnimationFrame(() => this.run());
  }

  /** Draws in a while, together with what else comes until then. */
  later(): void {
    if (this.scheduled || this.timer !== null) return;
    const dueMs = this.drawnAtMs + Math.max(LATER_MS, LATER_SHARE * this.tookMs);
    this.timer = setTimeout(() => this.soon(), Math.max(0, dueMs - this.nowMs()));
  }

  private run(): void {
    this.scheduled = false;
    this.drawnAtMs = this.nowMs();
    this.draw();
    this.tookMs = this.nowMs() - this.drawnAtMs;
  }
}
