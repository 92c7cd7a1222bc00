import assert from "node:assert/strict";
import { test } from "node:test";
import { encode } from "@msgpack/msgpack";
import { jsonCodec } from "../../src/sdk/codec.js";
import { msgpackCodec } from "../../src/sdk/msgpack.js";
import { joined } from "./support.js";

test("both encodings carry the same structure", () => {
  const message = joined();
  const packed = encode(message);
  assert.deepEqual(msgpackCodec.decode(packed.slice().buffer), message);
  assert.deepEqual(jsonCodec.decode(JSON.stringify(message)), message);
  const ping = { type: "ping", payload: { a: 1 } } as const;
  assert.deepEqual(msgpackCodec.decode((msgpackCodec.encode(ping) as Uint8Array<ArrayBuffer>).slice().buffer), ping);
});

test("what holds no message is refused", () => {
  for (const text of ["{", "null", "[]", '{"payload":{}}', '{"type":3}']) assert.throws(() => jsonCodec.decode(text), text);
  assert.throws(() => msgpackCodec.decode("{}"));
});
