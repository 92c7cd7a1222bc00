/** The demo page: one stream, read by anyone, written in by who gives a name. */
import { Chorus, type StreamHandle } from "../sdk/index.js";
import { readAbout } from "./about.js";
import { composer, type Composer } from "./composer.js";
import { byId, isolated, setText } from "./dom.js";
import { feed, type Feed } from "./feed.js";
import { popMenu } from "./pops.js";
import { reactionBar } from "./reactions.js";
import { forgetSession, keep, renewed, savedSession, signIn, signInProblem, type Session } from "./session.js";
import { stage } from "./stage.js";
import { closedWords, errorWords, noticeWords } from "./words.js";

declare global {
  interface Window {
    /** For the console and for tests: the client and the joined stream. */
    chorus: { client: Chorus; stream: StreamHandle };
  }
}

/** A notice goes by itself: it speaks of a moment. */
const NOTICE_MS = 15_000;

const wanted = new URLSearchParams(location.search).get("stream") ?? "demo";
const valid = /^[A-Za-z0-9_-]{1,64}$/.test(wanted);
let session: Session | null = savedSession();

const socketUrl = new URL("/v1/ws", location.href);
socketUrl.protocol = location.protocol === "https:" ? "wss:" : "ws:";
const client: Chorus = new Chorus({
  url: socketUrl.href,
  pops: "auto",
  token: session?.token ?? null,
  refreshToken: async () => {
    const before = session;
    if (!before) return null;
    const better = await renewed(client.restUrl, before);
    // Signed in or out meanwhile: that stands.
    if (session === before && better) session = keep(better);
    return session === before ? null : (session?.token ?? null);
  },
});
const stream = client.join(wanted);
window.chorus = { client, stream };

const nameForm = byId<HTMLFormElement>("name-form");
const nameInput = byId<HTMLInputElement>("name");
const onStage = stage(client, stream);
const writing: Composer = composer(stream, {
  find: (id) => comments.find(id),
  isRemoved: (id) => comments.isRemoved(id),
  posted: () => comments.scrollToEnd(),
});
const comments: Feed = feed(client, stream, {
  me: () => (session ? { username: session.username, userId: client.userId } : null),
  reply: (comment) => {
    if (askName()) writing.reply(comment);
  },
  edit: (post) => {
    if (askName()) writing.edit(post);
  },
  write,
});
reactionBar(client, stream, askName);
popMenu(client);

/** True for who may write; else the name field asks for what is missing. */
function askName(): boolean {
  if (session) return true;
  nameForm.classList.add("asked");
  nameInput.focus();
  return false;
}

/** To where the viewer writes, or says who writes. */
function write(): void {
  if (session) writing.focus();
  else nameInput.focus();
}

/** Brings the forms in line with who the viewer is and what the stream takes. */
function showForms(): void {
  const settings = stream.view?.settings ?? {};
  const closed = closedWords(onStage.standing(), settings["comments_enabled"] !== false);
  const slow = Number(settings["slow_mode_s"] ?? 0);
  const hints = [
    slow > 0 ? `Slow mode: ${slow} s` : "",
    settings["followers_only"] === true ? "Followers only" : "",
    settings["subscribers_only"] === true ? "Subscribers only" : "",
    settings["emote_only"] === true ? "Emotes only" : "",
  ];
  nameForm.hidden = session !== null || closed !== null;
  byId("composer").hidden = session === null;
  const words = byId("closed");
  words.hidden = closed === null || session !== null;
  setText(words, closed ?? "");
  const who = session ? `Say something as ${isolated(session.username)}…` : "";
  byId<HTMLTextAreaElement>("text").placeholder = closed ?? who;
  writing.setMode(closed, hints.filter(Boolean).join(" · "));
}

function showSession(): void {
  showForms();
  comments.changed();
}

nameForm.addEventListener("submit", async (event) => {
  event.preventDefault();
  const problem = byId("name-problem");
  const username = nameInput.value.trim();
  if (username === "") return;
  problem.hidden = true;
  try {
    session = await signIn(client.restUrl, username);
    client.setToken(session.token);
    if (client.connection.phase === "closed") client.start();
    showSession();
    writing.focus();
  } catch (error) {
    problem.textContent = signInProblem(error);
    problem.hidden = false;
  }
});

byId("skip").addEventListener("click", (event) => {
  event.preventDefault();
  write();
});

client.on("auth", ({ status, reason }) => {
  if (status !== "signed_out" || session === null) return;
  // The token is of no use any more, here or after a reload: reading goes on, and the name is asked for again.
  forgetSession();
  nameInput.value = session.username;
  session = null;
  showSession();
  if (reason === null) return;
  const problem = byId("name-problem");
  problem.textContent = "Your sign-in is no longer valid. Give your name to write again.";
  problem.hidden = false;
});
client.on("removed", ({ commentIds }) => writing.removed(commentIds));
for (const type of ["connection", "joined", "stream"] as const) client.on(type, showForms);

let noticeTimer = 0;
function tell(words: string): void {
  const line = byId("notice");
  line.textContent = words;
  line.hidden = false;
  clearTimeout(noticeTimer);
  noticeTimer = window.setTimeout(() => {
    line.hidden = true;
  }, NOTICE_MS);
}
client.on("notice", (notice) => {
  if (notice.stream_id === stream.streamId) tell(noticeWords(notice));
});
client.on("error", (error) => {
  const words = errorWords(error);
  if (words !== null) tell(words);
});

showSession();
if (valid) {
  client.start();
  void readAbout(client.restUrl, stream.streamId).then((about) => {
    onStage.setAbout(about);
    showForms();
  });
} else {
  // No stream can have that name: there is nobody to ask.
  onStage.setAbout({ title: null, status: null, missing: true });
  showForms();
}
