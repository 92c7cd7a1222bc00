/** Where the viewer writes: counter, reply, edit of a refused comment, Enter to post. */
import { CONTENT_SCALARS_MAX, scalarCount, type Comment, type OwnPost, type StreamHandle } from "../sdk/index.js";
import { bdi, byId, setText } from "./dom.js";
import { Drafts, EMPTY, type Draft } from "./drafts.js";

/** From here on the counter warns. */
const NEAR = 450;
/** What `keyCode` is for a key that an input method has taken. */
const KEY_OF_INPUT_METHOD = 229;

export interface Composer {
  reply(comment: Comment): void;
  /** Takes up the text of a refused post; what is being written comes back after it. */
  edit(post: OwnPost): void;
  /** Comments that were taken away: what is answered is not shown any more. */
  removed(commentIds: readonly string[]): void;
  /** A reason why nothing can be written now, or null; and a word on the stream's mode. */
  setMode(closed: string | null, hint: string): void;
  focus(): void;
}

export interface ComposerActions {
  find(commentId: string): Comment | undefined;
  isRemoved(commentId: string): boolean;
  posted(): void;
}

export function composer(stream: StreamHandle, actions: ComposerActions): Composer {
  const form = byId<HTMLFormElement>("composer");
  const text = byId<HTMLTextAreaElement>("text");
  const counter = byId("counter");
  const post = byId<HTMLButtonElement>("post");
  const replying = byId("replying");
  const editing = byId("editing");
  const drafts = new Drafts();
  const growsByItself = CSS.supports("field-sizing", "content");
  let parentId: string | null = null;
  let editedId: string | null = null;
  let closed: string | null = null;

  function show(): void {
    const count = scalarCount(text.value);
    const over = count > CONTENT_SCALARS_MAX;
    const state = over ? "over" : count >= NEAR ? "near" : "fine";
    counter.textContent = over ? `${count - CONTENT_SCALARS_MAX} too many` : `${count} / ${CONTENT_SCALARS_MAX}`;
    // A screen reader hears the counter where it begins to matter, not at each key.
    if (counter.dataset["state"] !== state) {
      counter.dataset["state"] = state;
      const near = `${CONTENT_SCALARS_MAX - count} characters left`;
      setText(byId("counter-said"), over ? "Too long to post" : state === "near" ? near : "");
    }
    text.setAttribute("aria-invalid", String(over));
    // Read-only, so that a text that cannot be posted now can still be read and copied.
    text.readOnly = closed !== null;
    text.setAttribute("aria-disabled", String(closed !== null));
    post.disabled = over || count === 0 || closed !== null;
    if (growsByItself) return;
    text.style.height = "auto";
    text.style.height = `${text.scrollHeight + 2}px`;
  }

  function setParent(id: string | null): void {
    parentId = id;
    replying.hidden = id === null;
    const parent = id === null ? undefined : actions.find(id);
    const gone = id !== null && actions.isRemoved(id) ? "Replying to a removed comment" : "Replying to an earlier comment";
    const words = id === null ? [] : parent ? ["Replying to ", bdi(parent.username), ": ", bdi(parent.content)] : [gone];
    byId("replying-to").replaceChildren(...words);
  }

  function write(draft: Draft): void {
    text.value = draft.text;
    editedId = draft.editing;
    setParent(draft.parentId);
    editing.hidden = editedId === null;
    const kept = drafts.next;
    const words = kept ? ["Your draft is kept: ", bdi(kept.text)] : ["Changing a comment that was not posted"];
    byId("editing-what").replaceChildren(...words);
    show();
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (post.disabled) return;
    stream.post(text.value, { parentId: parentId ?? undefined });
    if (editedId !== null) stream.dismiss(editedId);
    write(editedId === null ? EMPTY : drafts.done());
    text.focus();
    actions.posted();
  });
  text.addEventListener("input", show);
  text.addEventListener("keydown", (event) => {
    // An input method uses Enter to take a candidate and Escape to leave it. Safari tells the end of a composition before
    // the key that ended it: there only the code of the key says so.
    if (event.isComposing || event.keyCode === KEY_OF_INPUT_METHOD) return;
    if (event.key === "Enter" && !event.shiftKey) {
      event.preventDefault();
      form.requestSubmit();
    }
    if (event.key === "Escape" && parentId !== null) setParent(null);
  });
  byId("reply-cancel").addEventListener("click", () => {
    setParent(null);
    text.focus();
  });
  byId("edit-cancel").addEventListener("click", () => {
    write(drafts.done());
    text.focus();
  });
  show();

  return {
    reply(comment) {
      setParent(comment.id);
      text.focus();
    },
    edit(refused) {
      write(drafts.edit({ text: text.value, parentId, editing: editedId }, refused));
      text.focus();
    },
    removed(commentIds) {
      if (parentId !== null && commentIds.includes(parentId)) setParent(parentId);
    },
    setMode(reason, hint) {
      closed = reason;
      setText(byId("mode"), reason ?? hint);
      show();
    },
    focus: () => text.focus(),
  };
}
