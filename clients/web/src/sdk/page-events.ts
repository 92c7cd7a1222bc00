/** What a browser tells of the network and of the page, as inputs for the core; a worker hears of the network alone. */
import type { Input } from "./inputs.js";

/** Returns the function that ends it. Without a network at the start, that is said at once. */
export function watchPage(feed: (input: Input) => void): () => void {
  const ends: (() => void)[] = [];
  const on = (target: EventTarget, type: string, input: () => Input | null): void => {
    const listener = (): void => {
      const next = input();
      if (next) feed(next);
    };
    target.addEventListener(type, listener);
    ends.push(() => target.removeEventListener(type, listener));
  };
  const scope: Partial<EventTarget> = typeof window === "undefined" ? globalThis : window;
  if (typeof scope.addEventListener === "function") {
    on(scope as EventTarget, "online", () => ({ type: "network", online: true }));
    on(scope as EventTarget, "offline", () => ({ type: "network", online: false }));
    on(scope as EventTarget, "pageshow", () => ({ type: "thaw" }));
  }
  if (typeof document !== "undefined") {
    // A frozen page runs no timers and reads no socket: the server would take it for a reader that is too slow.
    on(document, "freeze", () => ({ type: "freeze" }));
    on(document, "resume", () => ({ type: "thaw" }));
    on(document, "visibilitychange", () => (document.visibilityState === "visible" ? { type: "nudge" } : null));
  }
  if (typeof navigator !== "undefined" && navigator.onLine === false) feed({ type: "network", online: false });
  return () => ends.forEach((end) => end());
}
