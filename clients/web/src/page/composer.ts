/** Where the viewer writes: counter, reply, Enter to post. */
import { CONTENT_SCALARS_MAX, scalarCount, type Comment, type StreamHandle } from "../sdk/index.js";
import { byId } from "./dom.js";

/** From here on the counter warns. */
const NEAR = 450;

export interface Composer {
  reply(comment: Comment): void;
  /** Fills in a text to be changed. */
  fill(text: string): void;
  /** A reason why nothing can be written now, or null; and a word on the stream's mode. */
  setMode(closed: string | null, hint: string): void;
  focus(): void;
}

export function composer(stream: StreamHandle, posted: () => void): Composer {
  const form = byId<HTMLFormElement>("composer");
  const text = byId<HTMLTextAreaElement>("text");
  const counter = byId("counter");
  const post = byId<HTMLButtonElement>("post");
  const replying = byId("replying");
  let parent: Comment | null = null;
  let closed: string | null = null;

  function show(): void {
    const count = scalarCount(text.value);
    const over = count > CONTENT_SCALARS_MAX;
    counter.textContent = over ? `${count - CONTENT_SCALARS_MAX} too many` : `${count} / ${CONTENT_SCALARS_MAX}`;
    counter.dataset["state"] = over ? "over" : count >= NEAR ? "near" : "fine";
    text.setAttribute("aria-invalid", String(over));
    text.disabled = closed !== null;
    post.disabled = over || count === 0 || closed !== null;
    // Grows with the text up to the height the style allows.
    text.style.height = "auto";
    text.style.height = `${text.scrollHeight + 2}px`;
  }

  function setParent(comment: Comment | null): void {
    parent = comment;
    replying.hidden = comment === null;
    byId("replying-to").textContent = comment ? `Replying to ${comment.username}: ${comment.content}` : "";
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (post.disabled) return;
    stream.post(text.value, { parentId: parent?.id });
    text.value = "";
    setParent(null);
    show();
    text.focus();
    posted();
  });
  text.addEventListener("input", show);
  text.addEventListener("keydown", (event) => {
    // An input method uses Enter to take a candidate: that is no posting.
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      form.requestSubmit();
    }
    if (event.key === "Escape" && parent) setParent(null);
  });
  byId("reply-cancel").addEventListener("click", () => {
    setParent(null);
    text.focus();
  });
  show();

  return {
    reply(comment) {
      setParent(comment);
      text.focus();
    },
    fill(content) {
      text.value = content;
      show();
      text.focus();
    },
    setMode(reason, hint) {
      closed = reason;
      byId("mode").textContent = reason ?? hint;
      show();
    },
    focus: () => text.focus(),
  };
}
