/** One line of the feed: a comment, an own post under way, or the marker of a hole. */
import { compareIds, type Comment, type OwnPost, type StreamHandle, type TimelineItem } from "../sdk/index.js";
import { button, el } from "./dom.js";
import { fate } from "./words.js";

export interface ItemActions {
  /** The viewer's own name and id; null while only reading. */
  me(): { username: string; userId: string | null } | null;
  reply(comment: Comment): void;
  /** Puts the text back to be changed and sent anew. */
  edit(post: OwnPost): void;
  liked(commentId: string): boolean;
  like(commentId: string): void;
}

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });

/** Changes exactly when the line looks different. */
export function signature(item: TimelineItem, stream: StreamHandle, nowMs: number): string {
  if (item.kind === "gap") return "gap";
  const comment = item.kind === "comment" ? item.comment : null;
  const parts: unknown[] = [item.kind, comment?.id, comment?.content, comment?.highlighted, comment?.pinned];
  if (comment) parts.push(likes(comment, stream), comment.parent_id && stream.view?.get(comment.parent_id)?.content);
  if (item.post) parts.push(item.post.status, fate(item.post, nowMs).text);
  return JSON.stringify(parts);
}

export function renderItem(
  line: HTMLLIElement,
  item: TimelineItem,
  stream: StreamHandle,
  actions: ItemActions,
  nowMs: number,
): void {
  if (item.kind === "gap") {
    line.className = "gap";
    line.textContent = "Missed comments could not be replayed";
    return;
  }
  const focused = line.contains(document.activeElement) ? (document.activeElement as HTMLElement).dataset["action"] : null;
  const comment = item.kind === "comment" ? item.comment : null;
  const me = actions.me();
  const username = comment?.username ?? me?.username ?? "";
  const content = comment?.content ?? item.post?.content ?? "";
  const parentId = comment ? comment.parent_id : item.post?.parentId;
  const own = item.post !== null || (comment !== null && comment.user_id === me?.userId);

  line.className = "comment";
  line.classList.toggle("own", own);
  line.classList.toggle("pinned", comment?.pinned === true);
  line.classList.toggle("highlighted", comment?.highlighted === true);
  line.classList.toggle("mentions-me", me !== null && comment?.mentions?.includes(me.username) === true);
  line.classList.toggle("pending", comment === null);
  line.dataset["id"] = comment?.id ?? item.post?.commentId ?? "";
  line.dataset["status"] = item.post?.status ?? "";
  line.style.setProperty("--hue", String(hue(comment?.user_id ?? me?.userId ?? username)));

  line.replaceChildren(
    el("span", { className: "avatar", text: [...username][0]?.toUpperCase() ?? "?" }),
    el(
      "div",
      { className: "body" },
      head(username, comment, item.post),
      parentId ? quote(parentId, stream) : null,
      el("p", { className: "text", text: content }),
      item.post ? fateLine(item.post, stream, actions, nowMs) : null,
    ),
    comment ? actionRow(comment, own, stream, actions) : "",
  );
  line.querySelector(".avatar")?.setAttribute("aria-hidden", "true");
  if (focused) line.querySelector<HTMLElement>(`[data-action="${focused}"]`)?.focus();
}

function head(username: string, comment: Comment | null, post: OwnPost | null): HTMLElement {
  const at = new Date(comment?.created_at_ms ?? post?.postedAtMs ?? 0);
  const time = el("time", { text: clock.format(at), title: at.toLocaleString() });
  time.dateTime = at.toISOString();
  const line = el("div", { className: "head" }, el("span", { className: "name", text: username }));
  for (const badge of comment?.badges ?? []) line.append(el("span", { className: "badge", text: badge }));
  if (comment?.pinned) line.append(el("span", { className: "badge", text: "pinned" }));
  line.append(time);
  return line;
}

function quote(parentId: string, stream: StreamHandle): HTMLElement {
  const parent = stream.view?.get(parentId);
  const oldest = stream.view?.comments[0]?.id ?? "";
  if (!parent) {
    const earlier = compareIds(parentId, oldest) < 0;
    return el("span", { className: "quote", text: earlier ? "In reply to an earlier comment" : "In reply to a removed comment" });
  }
  return button("quote", `${parent.username}: ${parent.content}`, `In reply to ${parent.username}: show it`, () => {
    const target = document.querySelector<HTMLElement>(`li[data-id="${CSS.escape(parentId)}"]`);
    target?.scrollIntoView({ block: "center" });
    target?.classList.add("shown");
    target?.addEventListener("animationend", () => target.classList.remove("shown"), { once: true });
  });
}

function fateLine(post: OwnPost, stream: StreamHandle, actions: ItemActions, nowMs: number): HTMLElement {
  const { symbol, text } = fate(post, nowMs);
  const mark = el("span", { className: "symbol", text: symbol });
  mark.setAttribute("aria-hidden", "true");
  const line = el("div", { className: "fate", data: { status: post.status } }, mark, el("span", { text }));
  const dismiss = (): void => {
    stream.dismiss(post.clientId);
  };
  if (post.status === "unconfirmed") {
    line.append(button("link retry", "Try again", "Try again to post this comment", () => stream.retry(post.clientId)));
  }
  if (post.status === "rejected") {
    line.append(
      button("link edit", "Edit", "Edit this comment and post it anew", () => {
        dismiss();
        actions.edit(post);
      }),
    );
  }
  return line;
}

function actionRow(comment: Comment, own: boolean, stream: StreamHandle, actions: ItemActions): HTMLElement {
  const count = likes(comment, stream);
  const liked = actions.liked(comment.id);
  const like = button("like", count > 0 ? `♥ ${count}` : "♡", `Like this comment${count > 0 ? `, ${count} so far` : ""}`, () =>
    actions.like(comment.id),
  );
  like.setAttribute("aria-pressed", String(liked));
  like.classList.toggle("some", count > 0);
  const row = el("div", { className: "actions" }, like);
  row.append(button("reply", "↩", `Reply to ${comment.username}`, () => actions.reply(comment)));
  if (own) row.append(button("delete", "✕", "Delete your comment", () => stream.delete(comment.id)));
  return row;
}

function likes(comment: Comment, stream: StreamHandle): number {
  return stream.view?.commentReactions.get(comment.id)?.["like"] ?? comment.likes ?? 0;
}

/** The same person has the same colour everywhere. */
function hue(text: string): number {
  let hash = 0;
  for (const char of text) hash = (hash * 31 + (char.codePointAt(0) ?? 0)) >>> 0;
  return hash % 360;
}
