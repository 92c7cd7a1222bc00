/** `npm run fake [port]`: the page against the in-memory stand-in, for working on looks without a server. */
import { fakeServer } from "../test/fake-server.mjs";

const { url } = await fakeServer(Number(process.argv[2] ?? 8099));
console.log(url);
