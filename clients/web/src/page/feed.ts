/** The list of comments: what the backlog says is drawn, brought into the DOM once a frame at the most. */
import { history, type Chorus, type Comment, type OwnPost, type StreamHandle, type TimelineItem } from "../sdk/index.js";
import { Backlog, BACKLOG_DEFAULT } from "./backlog.js";
import { COMMENT_ACTIONS, CommentActions, type CommentAction } from "./comment-actions.js";
import { byId, setText } from "./dom.js";
import { Earlier } from "./earlier.js";
import { showEnds } from "./ends.js";
import { renderItem, signature, type ItemContext } from "./item.js";
import { lines } from "./lines.js";
import { Frames } from "./frames.js";
import { Pace } from "./pace.js";
import { neighbour, roving } from "./roving.js";
import { keepPlace, lastVisible, Scroll } from "./scroll.js";
import { fate } from "./words.js";

/** Comments of one page of history. */
const PAGE = 50;

export interface FeedActions {
  /** The viewer's own name and id; null while only reading. */
  me(): ItemContext["me"];
  reply(comment: Comment): void;
  /** Puts the text of a refused post back to be changed and sent anew. */
  edit(post: OwnPost): void;
  /** Moves the focus to where the viewer writes. */
  write(): void;
}

export interface Feed {
  /** Draws anew at the next frame. */
  changed(): void;
  scrollToEnd(): void;
  find(commentId: string): Comment | undefined;
  isRemoved(commentId: string): boolean;
}

export function feed(client: Chorus, stream: StreamHandle, actions: FeedActions): Feed {
  const scroller = byId("feed");
  const list = byId("list");
  const newest = byId<HTMLButtonElement>("new-comments");
  const backlog = new Backlog(BACKLOG_DEFAULT);
  const pace = new Pace();
  const earlier = new Earlier(
    backlog,
    (before) => history(client.restUrl, stream.streamId, { limit: PAGE, ...(before === undefined ? {} : { before }) }),
    () => {
      if (!backlog.following && earlier.state !== "loading" && scroll.atTop()) backlog.moveUp();
      changed();
    },
  );
  const begun = new CommentActions(
    (action, comment) => action.run(stream, comment),
    (failure) => {
      if (failure !== undefined) say(`The comment: ${failure}`);
      changed();
      // While it is asked whether to go on, that comment does not move away.
      hold();
    },
  );
  const drawn = new Map<string, { element: HTMLLIElement; signature: string }>();
  const items = new WeakMap<Element, TimelineItem>();
  /** The newest comment that was within sight. */
  let seenId = "";
  const frames = new Frames(draw, () => client.nowMs());
  /** The newest comment that is drawn. */
  let lastId: string | undefined;
  /** Whether what a join brought has just been drawn: it is not read out. */
  let filling = true;
  /** Reading because the keyboard or a selection is in the list, wherever it is scrolled to. */
  let held = false;

  const scroll = new Scroll(scroller, {
    up: () => {
      held = false;
      read();
    },
    top: () => {
      if (backlog.following) return;
      if (backlog.moveUp()) changed();
      else if (earlier.state === "idle") void earlier.load();
    },
    bottom: (reached) => {
      if (backlog.following) return;
      // Nobody reads on one by one where hundreds come in the meantime.
      if (reached && !held && (backlog.drawn().atEnd || (pace.fast && backlog.skipped === 0))) scrollToEnd();
      else if (backlog.moveDown()) changed();
    },
    moved: () => {
      if (!backlog.following) see(lastVisible(scroller, list)?.dataset["id"]);
      showNewest();
    },
  });

  function draw(): void {
    const restore = backlog.following ? null : keepPlace(scroller, list);
    reconcile(lines(backlog, stream.posts));
    lastId = backlog.drawn().comments.at(-1)?.id;
    showEnds(backlog, earlier, stream);
    if (restore) restore();
    else see(backlog.newestId);
    scroll.settle(backlog.following);
    showNewest();
  }

  function reconcile(wanted: TimelineItem[]): void {
    const me = actions.me();
    const context: ItemContext = {
      me,
      find: (id) => backlog.get(id),
      isRemoved: (id) => backlog.isRemoved(id),
      may: (action, comment) => action.may(comment, me?.userId ?? null, stream.view?.role ?? "anonymous"),
      progress: (action, id) => begun.of(action, id),
      oldestId: backlog.oldestId,
      nowMs: client.nowMs(),
    };
    const keys = new Set(wanted.map((item) => item.key));
    for (const [key, { element }] of drawn) {
      if (keys.has(key)) continue;
      // The focus does not fall out of the feed with its line.
      if (element.contains(document.activeElement)) {
        const next = neighbour<Element>(element, (line) => keys.has(items.get(line)?.key ?? ""));
        (next instanceof HTMLElement ? next : scroller).focus({ preventScroll: true });
      }
      element.remove();
      drawn.delete(key);
    }
    let cursor = list.firstElementChild;
    for (const item of wanted) {
      const now = signature(item, context);
      let entry = drawn.get(item.key);
      if (!entry) {
        entry = { element: document.createElement("li"), signature: "" };
        drawn.set(item.key, entry);
      }
      items.set(entry.element, item);
      if (entry.signature !== now) {
        entry.signature = now;
        renderItem(entry.element, item, context);
      }
      if (entry.element === cursor) cursor = cursor.nextElementSibling;
      else list.insertBefore(entry.element, cursor);
    }
  }

  function changed(): void {
    frames.soon();
  }

  /** Leaves the newest: what is drawn now stays. */
  function read(): void {
    if (!backlog.following) return;
    backlog.read(lastId);
    changed();
  }

  function see(id: string | undefined): void {
    if (id && backlog.newerThan(id) < backlog.newerThan(seenId)) seenId = id;
  }

  function showNewest(): void {
    newest.hidden = backlog.following;
    const unseen = backlog.following ? 0 : backlog.newerThan(seenId);
    const count = unseen === 1 ? "1 new comment" : `${unseen.toLocaleString("en")} new comments`;
    setText(newest, unseen === 0 ? "Newest ↓" : `${count} ↓`);
  }

  function scrollToEnd(): void {
    held = false;
    for (const id of stream.view?.gaps ?? []) backlog.gapAfter(id);
    backlog.follow(stream.view?.comments ?? []);
    changed();
  }

  function arrived(added: readonly Comment[]): void {
    backlog.arrived(added);
    // While earlier comments are read what arrives is behind them: only its number is drawn.
    if (pace.fast || !backlog.following) frames.later();
    else changed();
  }

  /** The list is read out only where that can keep up, and while nobody pages through it. */
  function speak(count: number): void {
    const turned = pace.arrived(count, client.nowMs());
    const live = backlog.following && !pace.fast && !filling && earlier.state !== "loading" ? "polite" : "off";
    if (scroller.getAttribute("aria-live") !== live) scroller.setAttribute("aria-live", live);
    if (turned) say(pace.fast ? "Comments come fast: they are not read out." : "Comments are read out again.");
  }

  const say = (text: string): void => setText(byId("feed-said"), text);

  /** The keyboard or a selection came into the list, or left it: it stops, or moves again unless it was scrolled meanwhile. */
  function hold(): void {
    const holds = begun.asking || holdsReader(list);
    if (holds && backlog.following) {
      held = true;
      read();
    } else if (held && !holds) {
      held = false;
      if (scroll.atEnd()) scrollToEnd();
    }
  }

  function act(line: Element, action: string): void {
    const item = items.get(line);
    if (!item || item.kind === "gap") return;
    const comment = item.kind === "comment" ? item.comment : null;
    if (action === "reply" && comment) actions.reply(comment);
    const about = COMMENT_ACTIONS.find(({ name }) => name === action);
    if (about && comment) press(line, about, comment);
    if (action === "parent") show(comment?.parent_id ?? item.post?.parentId ?? "");
    if (!item.post) return;
    if (action === "retry") stream.retry(item.post.clientId);
    if (action === "edit") actions.edit(item.post);
    if (action === "dismiss" && stream.dismiss(item.post.clientId)) changed();
  }

  function press(line: Element, action: CommentAction, comment: Comment): void {
    begun.press(action, comment);
    draw();
    if (begun.of(action, comment.id) !== "asked" || !action.asks) return;
    // Not every browser gives the focus to what is clicked; whatever takes it away cancels.
    line.querySelector<HTMLElement>(`[data-action="${action.name}"]`)?.focus({ preventScroll: true });
    say(action.asks.said);
  }

  /** Once the focus is elsewhere, whatever drawing did meanwhile. */
  function cancelIfLeft(): void {
    const asking = list.querySelector(".asked");
    if (begun.asking && asking !== document.activeElement) begun.cancel();
  }

  function show(id: string): void {
    if (!backlog.show(id)) return;
    draw();
    const target = list.querySelector<HTMLElement>(`li[data-id="${CSS.escape(id)}"]`);
    target?.scrollIntoView({ block: "center" });
    target?.classList.add("shown");
    target?.addEventListener("animationend", () => target.classList.remove("shown"), { once: true });
  }

  list.addEventListener("click", (event) => {
    const button = (event.target as Element).closest<HTMLElement>("[data-action]");
    const line = button?.closest("li");
    // The second click of a double click has not read the question that the first one asked.
    if (button?.classList.contains("asked") && event.detail === 2) return;
    if (line) act(line, button?.dataset["action"] ?? "");
  });
  roving(scroller, list, {
    last: () => lastVisible(scroller, list) ?? list.lastElementChild,
    more: (direction) => {
      if (direction === "up" ? !backlog.moveUp() : !backlog.moveDown()) {
        if (direction === "up" && earlier.state === "idle") void earlier.load();
        return;
      }
      draw();
    },
    newest: () => {
      scroller.focus({ preventScroll: true });
      scrollToEnd();
    },
    reply: (line) => act(line, "reply"),
    cancel: () => begun.cancel(),
    write: () => actions.write(),
  });
  newest.addEventListener("click", () => {
    scroller.focus({ preventScroll: true });
    scrollToEnd();
  });
  byId("earlier-load").addEventListener("click", () => {
    read();
    void earlier.load();
  });
  list.addEventListener("focusin", hold);
  list.addEventListener("focusout", () =>
    setTimeout(() => {
      cancelIfLeft();
      hold();
    }),
  );
  document.addEventListener("selectionchange", hold);

  client.on("joined", ({ added }) => {
    for (const id of stream.view?.gaps ?? []) backlog.gapAfter(id);
    filling = true;
    speak(0);
    arrived(added);
    changed();
  });
  client.on("comments", ({ added }) => {
    // First how it is read out, then what is.
    speak(added.length);
    arrived(added);
  });
  client.on("removed", ({ commentIds }) => {
    backlog.remove(commentIds);
    begun.gone(commentIds);
    hold();
    changed();
  });
  client.on("updated", changed);
  client.on("post", ({ post }) => {
    changed();
    if (post.status === "rejected" || post.status === "unconfirmed" || post.status === "held") {
      say(`Your comment: ${fate(post, client.nowMs()).text}`);
    }
  });
  speak(0);
  setInterval(() => {
    speak(0);
    filling = stream.view?.joined !== true;
    // The waiting times that are shown count down.
    if (stream.posts.some((post) => post.retryAtMs !== null)) changed();
  }, 1_000);
  return { changed, scrollToEnd, find: (id) => backlog.get(id), isRemoved: (id) => backlog.isRemoved(id) };
}

/** Whether a line has the keyboard's focus, or a text of the list is being selected: then nothing may move away. */
function holdsReader(list: HTMLElement): boolean {
  if (list.querySelector(":focus-visible")) return true;
  const selection = document.getSelection();
  return selection !== null && !selection.isCollapsed && list.contains(selection.anchorNode);
}
