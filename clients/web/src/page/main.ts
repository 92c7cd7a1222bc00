/** The demo page: one stream, read by anyone, written in by who gives a name. */
import { Chorus, type OwnPost, type StreamHandle } from "../sdk/index.js";
import { composer } from "./composer.js";
import { byId } from "./dom.js";
import { feed } from "./feed.js";
import { reactionBar } from "./reactions.js";
import { forgetSession, keep, renewed, savedSession, signIn, signInProblem, type Session } from "./session.js";
import { connectionWords, noticeWords } from "./words.js";

declare global {
  interface Window {
    /** For the console and for tests: the client and the joined stream. */
    chorus: { client: Chorus; stream: StreamHandle };
  }
}

/** A notice goes by itself: it speaks of a moment. */
const NOTICE_MS = 15_000;

const streamId = /^[A-Za-z0-9_-]{1,64}$/.exec(new URLSearchParams(location.search).get("stream") ?? "")?.[0] ?? "demo";
let session: Session | null = savedSession();

const socketUrl = new URL("/v1/ws", location.href);
socketUrl.protocol = location.protocol === "https:" ? "wss:" : "ws:";
const client = new Chorus({
  url: socketUrl.href,
  token: session?.token ?? null,
  refreshToken: async () => {
    const before = session;
    if (!before) return null;
    const better = await renewed(before);
    // Signed in or out meanwhile: that stands.
    if (session === before && better) session = keep(better);
    return session === before ? null : (session?.token ?? null);
  },
});
const stream = client.join(streamId);
window.chorus = { client, stream };

const liked = new Set<string>();
const nameForm = byId<HTMLFormElement>("name-form");
const nameInput = byId<HTMLInputElement>("name");
const writing = composer(stream, () => comments.scrollToEnd());
const comments = feed(client, stream, {
  me: () => (session ? { username: session.username, userId: client.userId } : null),
  reply: (comment) => {
    if (askName()) writing.reply(comment);
  },
  edit: (post: OwnPost) => {
    comments.changed();
    writing.fill(post.content);
  },
  liked: (commentId) => liked.has(commentId),
  like: (commentId) => {
    if (!askName() || client.connection.phase !== "open") return;
    if (liked.delete(commentId)) stream.unreact(commentId, "like");
    else {
      liked.add(commentId);
      stream.reactTo(commentId, "like");
    }
  },
});
reactionBar(client, stream, askName);

/** True for who may write; else the name field asks for what is missing. */
function askName(): boolean {
  if (session) return true;
  nameForm.classList.add("asked");
  nameInput.focus();
  return false;
}

function showSession(): void {
  nameForm.hidden = session !== null;
  byId("composer").hidden = session === null;
  byId<HTMLTextAreaElement>("text").placeholder = session ? `Say something as ${session.username}…` : "";
  comments.changed();
}

nameForm.addEventListener("submit", async (event) => {
  event.preventDefault();
  const problem = byId("name-problem");
  const username = nameInput.value.trim();
  if (username === "") return;
  problem.hidden = true;
  try {
    session = await signIn(username);
    client.setToken(session.token);
    if (client.connection.phase === "closed") client.start();
    showSession();
    showMode();
    writing.focus();
  } catch (error) {
    problem.textContent = signInProblem(error);
    problem.hidden = false;
  }
});

function showConnection(): void {
  const state = client.connection;
  const pill = byId("connection");
  const words = connectionWords(state, Date.now());
  pill.dataset["phase"] = state.phase;
  pill.textContent = words;
  // A screen reader hears the change, not each second of the wait.
  const said = state.phase === "waiting" ? "Connection lost, reconnecting" : words;
  const live = byId("connection-said");
  if (live.textContent !== said) live.textContent = said;
}

function showStage(): void {
  const view = stream.view;
  const joined = view?.joined === true;
  const ended = view?.status === "ended";
  const live = byId("live");
  live.dataset["status"] = ended ? "ended" : joined ? "live" : "connecting";
  live.textContent = ended ? "Ended" : joined ? "Live" : "Connecting";
  const count = view?.viewerCount ?? 0;
  const viewers = byId("viewers");
  viewers.dataset["count"] = String(count);
  viewers.textContent = `${count.toLocaleString("en")} watching`;
}

function showMode(): void {
  const settings = stream.view?.settings ?? {};
  const slow = Number(settings["slow_mode_s"] ?? 0);
  const closed =
    stream.view?.status === "ended" ? "The stream has ended" : settings["comments_enabled"] === false ? "Comments are switched off" : null;
  const hints = [
    slow > 0 ? `Slow mode: ${slow} s` : "",
    settings["followers_only"] === true ? "Followers only" : "",
    settings["subscribers_only"] === true ? "Subscribers only" : "",
    settings["emote_only"] === true ? "Emotes only" : "",
  ];
  writing.setMode(closed, hints.filter(Boolean).join(" · "));
}

client.on("connection", () => {
  showConnection();
  showStage();
});
client.on("auth", ({ status, reason }) => {
  if (status !== "signed_out" || session === null) return;
  // The token is of no use any more, here or after a reload: reading goes on, and the name is asked for again.
  forgetSession();
  session = null;
  showSession();
  if (reason === null) return;
  const problem = byId("name-problem");
  problem.textContent = "Your sign-in is no longer valid. Give your name to write again.";
  problem.hidden = false;
});
client.on("joined", () => {
  showStage();
  showMode();
});
client.on("stream", () => {
  showStage();
  showMode();
});
client.on("viewers", showStage);

let noticeTimer = 0;
client.on("notice", (notice) => {
  if (notice.stream_id !== streamId) return;
  const line = byId("notice");
  line.textContent = noticeWords(notice);
  line.hidden = false;
  clearTimeout(noticeTimer);
  noticeTimer = window.setTimeout(() => {
    line.hidden = true;
  }, NOTICE_MS);
});

byId("title").textContent = streamId;
document.title = `${streamId} · Chorus`;
setInterval(showConnection, 1_000);
showSession();
showConnection();
showStage();
showMode();
client.start();
