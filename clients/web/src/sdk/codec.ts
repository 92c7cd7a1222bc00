/** How messages become frames. JSON is built in; MessagePack is `chorus-msgpack.js`, for those who want it. */
import type { ClientMessage, ServerMessage } from "./protocol.js";

export type Frame = string | Uint8Array<ArrayBuffer>;

export interface Codec {
  /** The `Sec-WebSocket-Protocol` that names the encoding. */
  readonly subprotocol: string;
  encode(message: ClientMessage): Frame;
  /** Throws when the frame holds no message. */
  decode(data: string | ArrayBuffer): ServerMessage;
}

export const jsonCodec: Codec = {
  subprotocol: "chorus.v1.json",
  encode: (message) => JSON.stringify(message),
  decode: (data) =>
    asMessage(JSON.parse(typeof data === "string" ? data : new TextDecoder().decode(data))),
};

/** The envelope alone is checked: the fields are the server's word, and unknown ones are ignored. */
export function asMessage(value: unknown): ServerMessage {
  const message = value as { type?: unknown; payload?: unknown } | null;
  if (typeof message !== "object" || message === null || typeof message.type !== "string") {
    throw new TypeError("a frame without a message type");
  }
  return { type: message.type, payload: message.payload ?? {} } as ServerMessage;
}
