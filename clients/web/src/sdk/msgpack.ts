/** The MessagePack encoding, `chorus.v1.msgpack`: the same structure in binary frames. */
import { decode, encode } from "@msgpack/msgpack";
import { asMessage, type Codec } from "./codec.js";

export const msgpackCodec: Codec = {
  subprotocol: "chorus.v1.msgpack",
  encode: (message) => encode(message, { ignoreUndefined: true }),
  decode: (data) => {
    if (typeof data === "string") throw new TypeError("a text frame on a MessagePack connection");
    return asMessage(decode(data));
  },
};
