/** The list of comments: what the timeline says, brought into the DOM once a frame at the most. */
import type { Chorus, StreamHandle } from "../sdk/index.js";
import { byId } from "./dom.js";
import { renderItem, signature, type ItemActions } from "./item.js";

/** So near to the end counts as at the end. */
const END_PX = 48;

export interface Feed {
  /** Draws anew at the next frame. */
  changed(): void;
  scrollToEnd(): void;
}

export function feed(chorus: Chorus, stream: StreamHandle, actions: ItemActions): Feed {
  const scroller = byId("feed");
  const list = byId("list");
  const empty = byId("empty");
  const more = byId<HTMLButtonElement>("new-comments");
  const drawn = new Map<string, { element: HTMLLIElement; signature: string }>();
  let atEnd = true;
  let unseen = 0;
  let scheduled = false;

  function draw(): void {
    scheduled = false;
    const nowMs = Date.now();
    const items = stream.timeline();
    const keys = new Set(items.map((item) => item.key));
    for (const [key, { element }] of drawn) {
      if (keys.has(key)) continue;
      element.remove();
      drawn.delete(key);
    }
    let cursor = list.firstElementChild;
    for (const item of items) {
      const wanted = signature(item, stream, nowMs);
      let entry = drawn.get(item.key);
      if (!entry) {
        entry = { element: document.createElement("li"), signature: "" };
        drawn.set(item.key, entry);
      }
      if (entry.signature !== wanted) {
        entry.signature = wanted;
        renderItem(entry.element, item, stream, actions, nowMs);
      }
      if (entry.element === cursor) cursor = cursor.nextElementSibling;
      else list.insertBefore(entry.element, cursor);
    }
    empty.hidden = items.length > 0;
    if (atEnd) scroller.scrollTop = scroller.scrollHeight;
    more.hidden = atEnd || unseen === 0;
    more.textContent = unseen === 1 ? "1 new comment ↓" : `${unseen} new comments ↓`;
  }

  function changed(): void {
    if (scheduled) return;
    scheduled = true;
    requestAnimationFrame(draw);
  }

  function scrollToEnd(): void {
    atEnd = true;
    unseen = 0;
    changed();
  }

  function arrived(count: number): void {
    if (!atEnd) unseen += count;
    changed();
  }

  scroller.addEventListener("scroll", () => {
    const now = scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < END_PX;
    if (now === atEnd) return;
    atEnd = now;
    if (atEnd) unseen = 0;
    changed();
  });
  more.addEventListener("click", () => {
    scrollToEnd();
    scroller.focus();
  });
  // A keyboard that opens on a phone takes height from the list: what was at the end stays there.
  new ResizeObserver(() => {
    if (atEnd) scroller.scrollTop = scroller.scrollHeight;
  }).observe(scroller);

  chorus.on("joined", ({ added }) => arrived(added.length));
  chorus.on("comments", ({ added }) => arrived(added.length));
  for (const type of ["removed", "updated", "post", "reactions"] as const) chorus.on(type, changed);
  // The waiting times that are shown count down.
  setInterval(() => {
    if (stream.posts.some((post) => post.retryAtMs !== null)) changed();
  }, 1_000);
  return { changed, scrollToEnd };
}
