/** What a browser tells of the network and of the page, as inputs for the core. Nothing elsewhere. */
import type { Input } from "./inputs.js";

/** Says first whether there is a network; returns the function that ends it. */
export function watchPage(feed: (input: Input) => void): () => void {
  if (typeof window === "undefined" || typeof document === "undefined") return () => {};
  const ends: (() => void)[] = [];
  const on = (target: EventTarget, type: string, input: () => Input | null): void => {
    const listener = (): void => {
      const next = input();
      if (next) feed(next);
    };
    target.addEventListener(type, listener);
    ends.push(() => target.removeEventListener(type, listener));
  };
  on(window, "online", () => ({ type: "network", online: true }));
  on(window, "offline", () => ({ type: "network", online: false }));
  on(window, "pageshow", () => ({ type: "thaw" }));
  // A frozen page runs no timers and reads no socket: the server would take it for a reader that is too slow.
  on(document, "freeze", () => ({ type: "freeze" }));
  on(document, "resume", () => ({ type: "thaw" }));
  on(document, "visibilitychange", () => (document.visibilityState === "visible" ? { type: "nudge" } : null));
  if (typeof navigator !== "undefined" && navigator.onLine === false) feed({ type: "network", online: false });
  return () => ends.forEach((end) => end());
}
