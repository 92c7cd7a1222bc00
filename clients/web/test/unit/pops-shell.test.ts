/** The choice of a PoP over real sockets and requests: what is asked, measured, remembered and connected to. */
import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";
import { systemClock, type ChorusOptions } from "../../src/sdk/index.js";
import { readPops } from "../../src/sdk/probe.js";
import { fakeServer, type FakeServer } from "../fake-server.mjs";
import { stopAll, until, viewer } from "./shell.js";

let far: FakeServer;
let near: FakeServer;
before(async () => {
  far = await fakeServer();
  near = await fakeServer();
});
after(async () => Promise.all([far.stop(), near.stop()]));
afterEach(stopAll);

function listBoth(): void {
  const one = (pop: string, region: string, url: string | null): object => ({ pop, region, url, connections: 1, state: "serving" });
  far.setPops({ here: "us-1", pops: [one("us-1", "america", null), one("eu-1", "europe", `${near.url}/`)] }, 60);
  near.setPops({ here: "eu-1", pops: [one("us-1", "america", far.url), one("eu-1", "europe", near.url)] });
}

function storage(): { kept: Map<string, string>; options: Partial<ChorusOptions> } {
  const kept = new Map<string, string>();
  const own = { getItem: (key: string) => kept.get(key) ?? null, setItem: (key: string, value: string) => void kept.set(key, value) };
  return { kept, options: { pops: { storage: own } } };
}

test("it begins where it was told, moves to the nearest, begins there the next time, and comes back when that dies", async () => {
  listBoth();
  const { kept, options } = storage();
  const first = viewer(far, "pops", options);
  await until("it is at the nearest", () => first.chorus.pop?.pop === "eu-1" && first.stream.view?.joined === true);
  assert.equal(first.chorus.restUrl, near.url);
  assert.ok((first.chorus.pop?.rttMs ?? 99) < 50, "measured");
  assert.equal(first.chorus.pop?.backup, "us-1");
  first.chorus.stop();

  const before = far.connections();
  const second = viewer(far, "pops", options);
  await until("it is joined", () => second.stream.view?.joined === true);
  assert.deepEqual([second.chorus.pop?.pop, far.connections()], ["eu-1", before], "it has not been elsewhere");
  near.closeAll(1001);
  await until("it is at the backup", () => second.chorus.restUrl === far.url && second.stream.view?.joined === true);
  second.chorus.moveTo("eu-1");
  await until("it is where the user wants it", () => second.chorus.restUrl === near.url && second.stream.view?.joined === true);

  kept.set("chorus.pops", "{ not JSON");
  const third = viewer(far, "pops", options);
  await until("what cannot be read is nothing", () => third.chorus.pop?.pop === "eu-1" && third.stream.view?.joined === true);
});

test("what is no list is none, whatever it holds", async () => {
  const strange = [{}, { here: 5, pops: [] }, { here: "a", pops: {} }, { here: "a", pops: [{ pop: "a", region: "r", url: "javascript:alert(1)" }] }, { here: "a", pops: [null] }];
  for (const list of strange) {
    far.setPops(list);
    assert.equal(await readPops(far.url, systemClock, 5_000), null, JSON.stringify(list));
  }
  far.setPops({ here: "a", pops: [{ pop: "a", url: null }, { pop: "b", url: null }, { pop: "c", url: "http://c.example//" }] });
  const known = await readPops(far.url, systemClock, 5_000);
  assert.deepEqual(known?.pops.map(({ pop, region, url, connections, state }) => [pop, region, url, connections, state]), [
    ["a", "", far.url, 0, "serving"],
    ["c", "", "http://c.example", 0, "serving"],
  ]);
});

test("a server without a list, and no option at all, leave it where it was told to be", async () => {
  far.setPops(null);
  const { options } = storage();
  const asked = viewer(far, "stay", options);
  const plain = viewer(far, "stay");
  await until("both are joined", () => asked.stream.view?.joined === true && plain.stream.view?.joined === true);
  assert.deepEqual([asked.chorus.pop, plain.chorus.pop], [null, null]);
  assert.deepEqual([asked.chorus.restUrl, plain.chorus.restUrl], [far.url, far.url]);
  plain.chorus.moveTo("eu-1");
  assert.equal(plain.chorus.connection.phase, "open");
});
