// A Node server as one writes it by hand. Each argument is a port, or an option for those after it:
//   --idle MS     close a connection that was idle for so long (keepAliveTimeout)
//   --silent      and do not say so: no `Keep-Alive` header
// An answer tells which connection it came by, and the how-manieth it was there.

const http = require("http");

let idle = null;
let silent = false;
let connections = 0;

function answer(request, response, quiet) {
  const socket = request.socket;
  socket.number ??= ++connections;
  socket.requests = (socket.requests ?? 0) + 1;
  response.setHeader("X-Connection", `${socket.number} ${socket.requests}`);
  if (quiet) response.setHeader("Connection", "keep-alive"); // Node then leaves `Keep-Alive` out
  if (request.url === "/events") return events(response);
  // Newer Nodes stay open 1 s longer than they say. This one keeps its word.
  if (idle !== null) response.on("finish", () => socket.setTimeout(idle));
  let bytes = 0;
  request.on("data", (piece) => (bytes += piece.length));
  request.on("end", () => response.end(`${request.method} ${request.url} ${bytes}\n`));
}

// Five events, one each 300 ms, each with the time it was sent at.
function events(response) {
  response.setHeader("Content-Type", "text/event-stream");
  let left = 5;
  const timer = setInterval(() => {
    response.write(`data: ${Date.now() / 1000}\n\n`);
    if (--left === 0) {
      clearInterval(timer);
      response.end();
    }
  }, 300);
  response.on("close", () => clearInterval(timer));
}

const words = process.argv.slice(2);
while (words.length > 0) {
  const word = words.shift();
  if (word === "--idle") idle = Number(words.shift());
  else if (word === "--silent") silent = true;
  else {
    const quiet = silent;
    const server = http.createServer((request, response) => answer(request, response, quiet));
    if (idle !== null) server.keepAliveTimeout = idle;
    server.listen(Number(word), "127.0.0.1");
  }
}
