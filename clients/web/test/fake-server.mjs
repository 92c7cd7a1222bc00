/**
 * A stand-in for the edge, for working on the page: the subset of the protocol it needs, in memory.
 * Also the other end of the shell's unit tests. The browser test is for a real server, never for this.
 */
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { WebSocketServer } from "ws";

const TYPES = { html: "text/html; charset=utf-8", js: "text/javascript", css: "text/css", svg: "image/svg+xml" };
const dist = new URL("../dist/", import.meta.url);

export async function fakeServer(port = 0) {
  const streams = new Map();
  const posted = new Map();
  let lastId = BigInt(Date.now() - 1_735_689_600_000) << 22n;

  const streamOf = (id) => {
    if (!streams.has(id)) streams.set(id, { log: [], reactions: {}, likes: {}, members: new Set(), title: `About ${id}`, status: "live" });
    return streams.get(id);
  };
  const say = (socket, type, payload) => socket.send(JSON.stringify({ type, payload }));
  const tell = (streamId, type, payload) => {
    for (const member of streamOf(streamId).members) say(member, type, { stream_id: streamId, ...payload });
  };
  const viewers = (streamId) => tell(streamId, "viewer_count", { count: streamOf(streamId).members.size });

  // No real signature: the third part of a token is the key itself.
  let key = "x";
  let issued = 0;
  const identityOf = (token) => {
    const [, body, signature] = token.split(".");
    const claims = JSON.parse(Buffer.from(body, "base64url").toString());
    return signature === key && claims.exp * 1000 > Date.now() ? { id: claims.sub, name: claims.name, role: claims.role, expiresAtMs: claims.exp * 1000 } : null;
  };

  const handlers = {
    authenticate(socket, { token }) {
      const user = identityOf(token);
      if (!user) return say(socket, "error", { code: "invalid_token", message: "the token is refused" });
      if (socket.user && socket.user.id !== user.id) {
        return say(socket, "error", { code: "wrong_user", message: "the connection belongs to another user" });
      }
      socket.user = user;
    },
    join_stream(socket, { stream_id, resume }) {
      if (stream_id.startsWith("nosuch")) {
        return say(socket, "error", { code: "stream_not_found", message: "there is no such stream", stream_id });
      }
      const stream = streamOf(stream_id);
      stream.members.add(socket);
      const gap = resume !== undefined && !/^\d+$/.test(resume);
      const from = resume !== undefined && !gap ? Number(resume) : Math.max(0, stream.log.length - 50);
      say(socket, "joined", {
        stream_id,
        title: stream.title,
        status: stream.status,
        resume: String(stream.log.length),
        gap,
        comments: stream.log.slice(from).filter((comment) => !comment.removed),
        removed: stream.log.filter((comment) => comment.removed).map((comment) => comment.id),
        pinned: null,
        reactions: stream.reactions,
        viewer_count: stream.members.size,
        comment_count: stream.log.filter((comment) => !comment.removed).length,
        settings: { slow_mode_s: 0, comments_enabled: true },
        role: socket.user ? socket.user.role : "anonymous",
      });
      viewers(stream_id);
    },
    leave_stream(socket, { stream_id }) {
      streamOf(stream_id).members.delete(socket);
      viewers(stream_id);
    },
    post_comment(socket, { stream_id, client_id, content, parent_id }) {
      const refuse = (reason) => say(socket, "receipt", { client_id, status: "rejected", reason });
      if (!socket.user) return refuse("unauthenticated");
      if (socket.user.expiresAtMs <= Date.now()) return refuse("token_expired");
      if (streamOf(stream_id).status === "ended") return refuse("stream_ended");
      const postKey = `${socket.user.id} ${client_id}`;
      say(socket, "receipt", { client_id, status: "accepted" });
      if (/badword/.test(content)) return refuse("blocked_word");
      if (/toofast/.test(content)) {
        return say(socket, "receipt", { client_id, status: "rejected", reason: "rate_limited", retry_after_ms: 9_000 });
      }
      if (/limbo/.test(content)) return;
      if (!posted.has(postKey)) {
        lastId += 1n;
        const comment = {
          id: String(lastId),
          stream_id,
          user_id: socket.user.id,
          username: socket.user.name,
          content,
          created_at_ms: Date.now(),
          ...(parent_id ? { parent_id } : {}),
        };
        posted.set(postKey, comment.id);
        streamOf(stream_id).log.push(comment);
        tell(stream_id, "comments_batch", { comments: [comment], resume: String(streamOf(stream_id).log.length) });
      }
      say(socket, "receipt", { client_id, status: "durable", comment_id: posted.get(postKey) });
    },
    react(socket, { stream_id, reaction_type, comment_id, count = 1 }) {
      const stream = streamOf(stream_id);
      if (comment_id) {
        stream.likes[comment_id] = (stream.likes[comment_id] ?? 0) + 1;
        tell(stream_id, "reactions_batch", { counts: {}, comments: { [comment_id]: { [reaction_type]: stream.likes[comment_id] } } });
        return;
      }
      stream.reactions[reaction_type] = (stream.reactions[reaction_type] ?? 0) + count;
      tell(stream_id, "reactions_batch", { counts: { [reaction_type]: stream.reactions[reaction_type] } });
    },
    unreact(socket, { stream_id, reaction_type, comment_id }) {
      const stream = streamOf(stream_id);
      stream.likes[comment_id] = Math.max(0, (stream.likes[comment_id] ?? 0) - 1);
      tell(stream_id, "reactions_batch", { counts: {}, comments: { [comment_id]: { [reaction_type]: stream.likes[comment_id] } } });
    },
    delete_comment(socket, { stream_id, comment_id, client_id }) {
      const refuse = (code) => say(socket, "error", { code, message: code, stream_id, client_id });
      if (!socket.user) return refuse("unauthenticated");
      if (socket.user.expiresAtMs <= Date.now()) return refuse("token_expired");
      const comment = streamOf(stream_id).log.find((held) => held.id === comment_id);
      if (!comment) return refuse("comment_not_found");
      const own = comment.user_id === socket.user.id;
      if (!own && socket.user.role === "user") return refuse("forbidden");
      if (!comment.removed) {
        comment.removed = true;
        tell(stream_id, "comments_removed", { comment_ids: [comment_id], reason: own ? "author" : "moderator" });
      }
      if (client_id) say(socket, "receipt", { client_id, comment_id, status: "applied" });
    },
    ping: (socket, payload) => say(socket, "pong", payload),
  };

  let pops = null;
  let rttMs = 0;
  const server = createServer(async (request, response) => {
    response.setHeader("access-control-allow-origin", "*");
    if (request.url === "/healthz") {
      setTimeout(() => response.end("ok"), rttMs);
      return;
    }
    if (request.url === "/api/pops") {
      response.writeHead(pops ? 200 : 501, { "content-type": "application/json" });
      response.end(JSON.stringify(pops ?? { title: "Not Implemented", status: 501 }));
      return;
    }
    if (request.method === "POST" && request.url === "/api/dev/token") {
      let body = "";
      for await (const chunk of request) body += chunk;
      const { username, role = "user" } = JSON.parse(body);
      const part = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
      const claims = { sub: `u-${username}`, name: username, role, exp: Math.floor(Date.now() / 1000) + 3600, jti: (issued += 1) };
      response.setHeader("content-type", "application/json");
      response.end(JSON.stringify({ token: `${part({ alg: "HS256" })}.${part(claims)}.${key}`, user_id: claims.sub }));
      return;
    }
    if (request.url === "/api/me") {
      const token = /^Bearer (.+)$/.exec(request.headers.authorization ?? "")?.[1];
      const user = token ? identityOf(token) : null;
      response.writeHead(user ? 200 : 401, { "content-type": "application/json" });
      response.end(JSON.stringify(user ?? { title: "Unauthorized", status: 401, code: "invalid_token" }));
      return;
    }
    const name = /^\/([a-z.-]*)(\?.*)?$/.exec(request.url)?.[1] || "index.html";
    try {
      const bytes = await readFile(new URL(name, dist));
      response.setHeader("content-type", TYPES[name.split(".").at(-1)] ?? "text/plain");
      response.end(bytes);
    } catch {
      response.writeHead(404).end();
    }
  });
  const sockets = new WebSocketServer({ server, path: "/v1/ws" });
  let connections = 0;
  sockets.on("connection", (socket) => {
    connections += 1;
    socket.on("message", (data) => {
      const { type, payload } = JSON.parse(data.toString());
      handlers[type]?.(socket, payload ?? {});
    });
    socket.on("close", () => {
      for (const [streamId, stream] of streams) if (stream.members.delete(socket)) viewers(streamId);
    });
  });
  await new Promise((done) => server.listen(port, "127.0.0.1", done));
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    /** Ends every connection with a close code, as a server does. */
    closeAll: (code) => sockets.clients.forEach((socket) => socket.close(code)),
    /** Cuts every connection without a word, as a network does. */
    cutAll: () => sockets.clients.forEach((socket) => socket.terminate()),
    tell,
    /** What `/api/pops` answers, and how far away this one is. */
    setPops(list, ms = 0) {
      pops = list;
      rttMs = ms;
    },
    /** From here on only tokens of this key are good, as after a reset. */
    setKey: (next) => {
      key = next;
    },
    /** Every token taken so far expires now. */
    expireAll: () => sockets.clients.forEach((socket) => socket.user && (socket.user.expiresAtMs = 0)),
    /** Takes nothing in and sends nothing more on the connections there are, as a network does that has gone. */
    silenceAll: () => sockets.clients.forEach((socket) => socket.pause()),
    end(streamId) {
      streamOf(streamId).status = "ended";
      tell(streamId, "stream_updated", { status: "ended" });
    },
    connections: () => connections,
    stop: () =>
      new Promise((done) => {
        sockets.clients.forEach((socket) => socket.terminate());
        server.close(done);
        server.closeAllConnections();
      }),
  };
}
