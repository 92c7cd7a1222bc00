/** What stands above the first line and below the last: earlier comments to load, and comments that are not held. */
import type { StreamHandle } from "../sdk/index.js";
import type { Backlog } from "./backlog.js";
import { byId, setText } from "./dom.js";
import type { Earlier } from "./earlier.js";

export function showEnds(backlog: Backlog, earlier: Earlier, stream: StreamHandle): void {
  const joined = stream.view?.joined === true;
  const empty = byId("empty");
  empty.hidden = !joined || backlog.size > 0 || stream.posts.length > 0;
  setText(empty, stream.view?.status === "ended" ? "Nobody wrote a comment." : "No comments yet. Yours could be the first.");
  const { atStart } = backlog.drawn();
  const { state } = earlier;
  const above = byId("earlier");
  above.hidden = !joined || backlog.size === 0 || !atStart;
  above.dataset["state"] = state;
  byId("feed").setAttribute("aria-busy", String(state === "loading"));
  setText(byId("earlier-said"), words(earlier));
  const load = byId<HTMLButtonElement>("earlier-load");
  const hide = state === "loading" || state === "end";
  // The focus does not fall out of the feed with the button.
  if (hide && document.activeElement === load) byId("feed").focus({ preventScroll: true });
  load.hidden = hide;
  setText(load, state === "failed" ? "Try again" : "Show earlier comments");

  const below = byId("cut");
  below.hidden = backlog.skipped === 0;
  const count = backlog.skipped.toLocaleString("en");
  setText(below, `${count} newer comments are not kept here while you read. “Newest” shows the last of them.`);
}

function words(earlier: Earlier): string {
  switch (earlier.state) {
    case "idle":
      return "";
    case "loading":
      return "Loading earlier comments…";
    case "failed":
      return `Earlier comments could not be loaded: ${earlier.problem}`;
    case "end":
      return "These are the first comments of this stream.";
  }
}
