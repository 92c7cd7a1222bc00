/** Where the list is scrolled to: pinned to its end, or kept in place while lines come and go around it. */
import { partition } from "./backlog.js";

/** So near to the end counts as at the end. */
const END_PX = 48;
/** So near to an end of what is drawn, more is drawn. */
const EDGE_PX = 600;

export interface ScrollMoves {
  /** The reader scrolls away from the end. */
  up(): void;
  /** The start of what is drawn is near. */
  top(): void;
  /** The end of it is near, or reached. */
  bottom(reached: boolean): void;
  moved(): void;
}

export class Scroll {
  private lastTop = 0;
  private pinned = true;
  private touching = false;
  private readonly scroller: HTMLElement;

  constructor(scroller: HTMLElement, moves: ScrollMoves) {
    this.scroller = scroller;
    const leave = (): void => {
      if (!this.pinned || scroller.scrollHeight <= scroller.clientHeight) return;
      this.pinned = false;
      moves.up();
    };
    const scrolled = (): void => {
      const up = scroller.scrollTop < this.lastTop;
      const down = scroller.scrollTop > this.lastTop;
      this.lastTop = scroller.scrollTop;
      // A list that got shorter moves up without the reader; it is still at its end.
      if (up && this.distance() > 1) leave();
      if (down && this.distance() < EDGE_PX) moves.bottom(!this.touching && this.atEnd());
      if (up && this.atTop()) moves.top();
      moves.moved();
    };
    scroller.addEventListener("scroll", scrolled, { passive: true });
    // Before the first scroll event of a slow movement, which the next frame's pinning would undo.
    scroller.addEventListener("wheel", (event) => event.deltaY < 0 && !event.ctrlKey && leave(), { passive: true });
    scroller.addEventListener("touchmove", () => (this.touching = true), { passive: true });
    for (const type of ["touchend", "touchcancel"] as const) {
      scroller.addEventListener(type, () => {
        this.touching = false;
        if (this.atEnd()) moves.bottom(true);
      }, { passive: true });
    }
    // A keyboard that opens on a phone takes height from the list: what was at the end stays there.
    new ResizeObserver(() => this.settle(this.pinned)).observe(scroller);
  }

  atTop(): boolean {
    return this.scroller.scrollTop < EDGE_PX;
  }

  atEnd(): boolean {
    return this.distance() < END_PX;
  }

  /** After a change of the list: brings its end into sight, where it is pinned. */
  settle(pinned: boolean): void {
    this.pinned = pinned;
    if (pinned) this.scroller.scrollTop = this.scroller.scrollHeight;
    this.lastTop = this.scroller.scrollTop;
  }

  private distance(): number {
    return this.scroller.scrollHeight - this.scroller.scrollTop - this.scroller.clientHeight;
  }
}

/** Remembers where the lines within sight are; the returned function brings the first that is left back there. */
export function keepPlace(scroller: HTMLElement, list: HTMLElement): () => void {
  const { top, bottom } = scroller.getBoundingClientRect();
  const places: { line: Element; top: number }[] = [];
  const first = partition(list.children, (line) => line.getBoundingClientRect().bottom <= top);
  for (let line = list.children[first] ?? null; line; line = line.nextElementSibling) {
    const place = line.getBoundingClientRect().top;
    if (place >= bottom) break;
    places.push({ line, top: place });
  }
  return () => {
    const left = places.find(({ line }) => line.isConnected);
    if (left) scroller.scrollTop += left.line.getBoundingClientRect().top - left.top;
  };
}

/** The last line that is wholly within sight. */
export function lastVisible(scroller: HTMLElement, list: HTMLElement): HTMLElement | undefined {
  const { bottom } = scroller.getBoundingClientRect();
  const after = partition(list.children, (line) => line.getBoundingClientRect().bottom <= bottom + 1);
  return list.children[after - 1] as HTMLElement | undefined;
}
