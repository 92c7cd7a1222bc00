/**
 * The keyboard in the feed, which is one tab stop however many lines it has: the arrows move from line to line, Tab goes
 * on to the buttons of the present line and then out of the list.
 */
import { reachable } from "./item.js";

export interface RovingMoves {
  /** The line to begin with. */
  last(): Element | null;
  /** There is no further line: draw or load more of them. */
  more(direction: "up" | "down"): void;
  newest(): void;
  reply(line: HTMLElement): void;
  /** Takes back what a line asks; false when none does. */
  cancel(): boolean;
  /** Leaves the feed for the composer. */
  write(): void;
}

/** What `neighbour` needs of an element. */
interface InRow {
  readonly nextElementSibling: InRow | null;
  readonly previousElementSibling: InRow | null;
}

/** Where the focus goes when its line leaves the list: the next line that stays, or else the one before. */
export function neighbour<Line extends InRow>(line: Line, stays: (other: Line) => boolean): Line | null {
  for (const step of ["nextElementSibling", "previousElementSibling"] as const) {
    let other = line[step] as Line | null;
    while (other !== null && !stays(other)) other = other[step] as Line | null;
    if (other !== null) return other;
  }
  return null;
}

export function roving(scroller: HTMLElement, list: HTMLElement, moves: RovingMoves): void {
  const step = (line: Element | null, direction: "up" | "down"): Element | null =>
    direction === "up" ? (line?.previousElementSibling ?? null) : (line?.nextElementSibling ?? null);

  function move(line: Element | null, direction: "up" | "down"): void {
    let next = line === null ? moves.last() : step(line, direction);
    if (next === null && line !== null) {
      moves.more(direction);
      next = step(line, direction);
    }
    if (!(next instanceof HTMLElement)) return;
    next.focus({ preventScroll: true });
    next.scrollIntoView({ block: "nearest" });
  }

  scroller.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey || event.isComposing) return;
    const target = event.target as HTMLElement;
    const line = target.closest<HTMLElement>("li");
    if (target !== scroller && line === null) return;
    switch (event.key) {
      case "ArrowUp":
        move(line, "up");
        break;
      case "ArrowDown":
        move(line, "down");
        break;
      case "End":
        moves.newest();
        break;
      case "Escape":
        if (!moves.cancel()) moves.write();
        break;
      case "Enter":
        if (target !== line) return;
        moves.reply(line);
        break;
      default:
        return;
    }
    event.preventDefault();
  });

  list.addEventListener("focusin", (event) => {
    const line = (event.target as Element).closest<HTMLElement>("li");
    if (line) reachable(line, true);
  });
  list.addEventListener("focusout", (event) => {
    const line = (event.target as Element).closest<HTMLElement>("li");
    if (line && !line.contains(event.relatedTarget as Node | null)) reachable(line, false);
  });
}
