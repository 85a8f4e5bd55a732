// What a peer that runs on Node.js has beside what is measured, as bench/control has it: the
// CPU time of its process, the collector, its version. It prints both base URLs and ends with standard input.
import { readFileSync } from 'node:fs';
import http from 'node:http';

const listen = (server) => new Promise((resolve) => {
  server.keepAliveTimeout = 120_000; // as long as ours
  server.listen(0, '127.0.0.1', () => resolve(`http://127.0.0.1:${server.address().port}`));
});

// version is that of a package in the lockfile.
function version(name) {
  const lock = JSON.parse(readFileSync(new URL('package-lock.json', import.meta.url)));
  return `${lock.packages[`node_modules/${name}`].version}, Node.js ${process.version}`;
}

/** serve(name, app): app(base) is the request listener of the package `name` at that base URL. */
export async function serve(name, app) {
  console.info = console.warn = () => {}; // it is for tests, as the warnings say
  const server = http.createServer();
  const base = await listen(server);
  server.on('request', await app(base));
  const control = await listen(http.createServer((req, res) => {
    switch (req.url) {
      case '/cpu': {
        const { user, system } = process.cpuUsage(); // µs
        return res.end(String((user + system) * 1000));
      }
      case '/gc':
        globalThis.gc();
        return res.end();
      case '/version':
        return res.end(version(name));
      default:
        return res.writeHead(404).end();
    }
  }));
  console.log(`${base} ${control}`);
  process.stdin.resume().on('end', () => process.exit());
}
