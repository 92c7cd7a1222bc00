/** The top of the page: the stream's title and status, how many watch, and the state of the connection. */
import type { Chorus, StreamHandle } from "../sdk/index.js";
import type { About } from "./about.js";
import { byId, isolated, setText } from "./dom.js";
import { connectionWords, standing, standingWords, type Standing } from "./words.js";

export interface Stage {
  show(): void;
  /** What REST said. */
  setAbout(about: About): void;
  standing(): Standing;
}

export function stage(client: Chorus, stream: StreamHandle): Stage {
  let about: About = { title: null, status: null, missing: false };

  function now(): Standing {
    const view = stream.view;
    return standing({
      phase: client.connection.phase,
      joined: view?.joined === true,
      status: view?.status ?? about.status,
      missing: view?.problem === "stream_not_found" || about.missing,
    });
  }

  function show(): void {
    const is = now();
    const live = byId("live");
    live.dataset["status"] = is;
    setText(live, standingWords(is));
    const title = stream.view?.title ?? about.title ?? stream.streamId;
    setText(byId("title"), title);
    document.title = `${isolated(title)} · Chorus`;

    const missing = byId("missing");
    missing.hidden = is !== "unknown";
    setText(missing, is === "unknown" ? `There is no stream “${isolated(stream.streamId)}”. Is the address right?` : "");

    const count = stream.view?.viewerCount ?? 0;
    const viewers = byId("viewers");
    viewers.hidden = stream.view?.joined !== true;
    viewers.dataset["count"] = String(count);
    setText(viewers, `${count.toLocaleString("en")} watching`);
    // Where a click would be lost nothing invites to it; the focus stays on a button that comes back in a moment.
    for (const button of byId("reactions").querySelectorAll("button")) button.setAttribute("aria-disabled", String(is !== "live"));
    showConnection();
  }

  function showConnection(): void {
    const state = client.connection;
    const words = connectionWords(state, client.nowMs());
    const pill = byId("connection");
    pill.dataset["phase"] = state.offline ? "waiting" : state.phase;
    setText(pill, words);
    // A screen reader hears the change, not each second of the wait.
    setText(byId("connection-said"), state.phase === "waiting" && !state.offline ? "Connection lost, reconnecting" : words);
  }

  client.on("joined", () => (about = { ...about, missing: false }));
  for (const type of ["connection", "joined", "stream", "viewers"] as const) client.on(type, show);
  setInterval(showConnection, 1_000);
  show();
  return {
    show,
    standing: now,
    setAbout(next) {
      about = next;
      show();
    },
  };
}
