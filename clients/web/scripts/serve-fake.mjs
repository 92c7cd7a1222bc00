/** `npm run fake [port]`: the page against the in-memory stand-in, for working on looks without a server; PoPs to choose from with `CHORUS_POPS=3`. */
import { fakeServer } from "../test/fake-server.mjs";

const port = Number(process.argv[2] ?? 8099);
const places = [["eu-1", "eu-central", 8], ["us-1", "us-east", 84], ["ap-1", "ap-southeast", 170]].slice(0, Number(process.env.CHORUS_POPS ?? 1));
const servers = await Promise.all(places.map((_, index) => fakeServer(port && port + index)));
const pops = places.map(([pop, region], index) => ({ pop, region, url: servers[index].url, connections: 10, state: "serving" }));
servers.forEach((server, index) => server.setPops({ here: places[index][0], pops }, places[index][2]));
console.log(servers[0].url);
