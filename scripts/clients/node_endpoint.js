// The endpoint that the clients are tried against: one set of paths over HTTP/1.1, HTTP/2 and TLS.
//   node_endpoint.js http PORT | h2c PORT | tls PORT KEY CERTIFICATE ...
//
// Nothing here waits for a time. Where one thing must be seen before the next
// is sent, there is a gate with a name: `/open?gate=NAME` counts it up, by hand
// of the client, and `/await?gate=NAME&n=COUNT` answers once it has got there.

const crypto = require("crypto");
const fs = require("fs");
const http = require("http");
const http2 = require("http2");
const { WebSocketServer } = require("ws");

const MODULES = 5000;
const GATE_WITHIN = 20_000; // ms: a client that never opens it is told so, not kept
const PIECE = Buffer.from(Array.from({ length: 65536 }, (_, at) => (at * 7 + (at >> 8)) & 255));

class Gate {
  static all = new Map();
  static of(name) {
    if (!Gate.all.has(name)) Gate.all.set(name, new Gate());
    return Gate.all.get(name);
  }
  count = 0;
  waiting = [];
  open(by = 1) {
    this.count += by;
    for (const { count, resolve } of this.waiting) if (count <= this.count) resolve();
  }
  reached(count) {
    if (count <= this.count) return Promise.resolve();
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`the gate is at ${this.count}, not ${count}`)), GATE_WITHIN);
      this.waiting.push({ count, resolve: () => (clearTimeout(timer), resolve()) });
    });
  }
}

// Each path gets the request, the response and the query, by name.
const paths = {
  "/what": (request, response) => {
    const { method, url, httpVersion, headers } = request;
    json(response, { method, url, version: httpVersion, headers });
  },
  "/echo": (request, response) => {
    request.on("end", () => response.addTrailers(echoed(request.trailers)));
    response.writeHead(200, { "Content-Type": "application/octet-stream", Trailer: "x-echo-sum" });
    request.pipe(response);
  },
  "/hash": (request, response) => {
    const hash = crypto.createHash("sha256");
    let bytes = 0;
    request.on("data", (piece) => {
      hash.update(piece);
      bytes += piece.length;
    });
    request.on("end", () =>
      json(response, { bytes, sha256: hash.digest("hex"), trailers: { ...request.trailers } }),
    );
  },
  // A file of `n` bytes: ranges, its tag, HEAD.
  "/bytes": (request, response, { n }) => {
    const size = Number(n);
    const tag = `"${size}"`;
    const common = { "Accept-Ranges": "bytes", ETag: tag };
    if (request.headers["if-none-match"] === tag) return response.writeHead(304, common).end();
    const [, first, last] = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? "") ?? [];
    if (first === undefined) return send(request, response, 200, common, 0, size);
    const end = Math.min(last ? Number(last) + 1 : size, size);
    if (Number(first) >= size) return response.writeHead(416, { "Content-Range": `bytes */${size}` }).end();
    const range = { ...common, "Content-Range": `bytes ${first}-${end - 1}/${size}` };
    send(request, response, 206, range, Number(first), end);
  },
  "*": (request, response) => response.writeHead(204, { "X-Target": request.url }).end(),
  "/status": (request, response, { code }) => response.writeHead(Number(code)).end(),
  "/hints": async (request, response, { gate }) => {
    response.writeEarlyHints({ link: "</hinted.css>; rel=preload; as=style" });
    if (gate) await Gate.of(gate).reached(1); // the client has seen the hints
    page(response, "<link rel=stylesheet href=/hinted.css><h1>hinted</h1>");
  },
  "/hinted.css": (request, response) => typed(response, "text/css", "h1 { color: green }"),
  "/trailers": (request, response) => {
    response.writeHead(200, { "Content-Type": "text/plain", Trailer: "x-sum" });
    response.write("a body\n");
    response.addTrailers({ "x-sum": "a7" });
    response.end();
  },
  // `n` events, each but the first only once the client has told of the one before.
  "/events": (request, response, query) => paced(response, "text/event-stream", query, (at) => `data: ${at}\n\n`),
  "/lines": (request, response, query) => paced(response, "text/plain", query, (at) => `${at}\n`),
  // The gate counts the lines of the request's body as they come.
  "/collect": (request, response, { gate }) => {
    let bytes = 0;
    request.on("data", (piece) => {
      bytes += piece.length;
      Gate.of(gate).open(piece.toString("latin1").split("\n").length - 1);
    });
    request.on("end", () => json(response, { bytes }));
  },
  // Never answered, or never to its end; the gate opens when the client is gone.
  "/hold": (request, response, { gate, head }) => {
    (response.stream ?? request.socket).once("close", () => Gate.of(gate).open());
    Gate.of(`${gate} asked`).open();
    if (head) {
      response.writeHead(200);
      response.write("held\n");
    }
  },
  // The answer while the body is still to come, and no more is read.
  "/refuse": (request, response) => {
    const body = "too large for this endpoint\n";
    response.writeHead(413, { "Content-Length": body.length, ...(!response.stream && { Connection: "close" }) });
    response.end(body);
    if (!response.stream) response.once("finish", () => request.socket.destroySoon());
  },
  "/open": (request, response, { gate }) => {
    Gate.of(gate).open();
    response.writeHead(204).end();
  },
  "/await": async (request, response, { gate, n }) => {
    await Gate.of(gate).reached(Number(n ?? 1));
    json(response, { count: Gate.of(gate).count });
  },
  "/favicon.ico": (request, response) => response.writeHead(204).end(),
  "/page": (request, response) => page(response, "<h1>a page</h1>"),
  "/modules/": (request, response) => page(response, "<script type=module src=/modules/entry.js></script>"),
  "/modules/entry.js": (request, response) => {
    const imports = Array.from({ length: MODULES }, (_, at) => `import "./${at}.js";\n`);
    script(response, `${imports.join("")}globalThis.complete = true;`);
  },
};

function module(request, response) {
  Gate.of("modules").open();
  script(response, "globalThis.modules = (globalThis.modules ?? 0) + 1;");
}

const prefixes = [["/modules/", module], ["/what/", paths["/what"]]]; // prettier-ignore

function echoed(trailers) {
  return Object.fromEntries(Object.entries(trailers).map(([name, value]) => [`x-echo-${name}`, value]));
}

function typed(response, type, body) {
  response.writeHead(200, {
    "Content-Type": type,
    "Content-Length": Buffer.byteLength(body),
    "Cache-Control": "no-store",
  });
  response.end(body);
}
const json = (response, value) => typed(response, "application/json", JSON.stringify(value) + "\n");
const script = (response, text) => typed(response, "text/javascript", text);
const page = (response, html) => typed(response, "text/html", `<!doctype html><title>a trial</title>${html}`);

function send(request, response, status, headers, from, to) {
  response.writeHead(status, { ...headers, "Content-Length": to - from });
  if (request.method === "HEAD") return response.end();
  const more = () => {
    while (from < to) {
      const at = from % PIECE.length;
      const piece = PIECE.subarray(at, Math.min(PIECE.length, at + to - from));
      from += piece.length;
      if (!response.write(piece)) return response.once("drain", more);
    }
    response.end();
  };
  more();
}

async function paced(response, type, { gate, n }, piece) {
  response.writeHead(200, { "Content-Type": type, "Cache-Control": "no-store" });
  for (let at = 0; at < Number(n); at++) {
    await Gate.of(gate).reached(at);
    response.write(piece(at));
  }
  response.end();
}

async function answer(request, response) {
  const [path, query] = request.url.split("?");
  const how = paths[path] ?? prefixes.find(([prefix]) => path.startsWith(prefix))?.[1];
  try {
    if (!how) throw new Error(`no path ${path}`);
    await how(request, response, Object.fromEntries(new URLSearchParams(query)));
  } catch (error) {
    if (response.headersSent) return response.destroy?.();
    response.writeHead(500).end(`${error.message}\n`);
  }
}

// `Expect`: /refuse is refused without having been sent; all else is welcome.
function answerExpect(request, response) {
  if (!request.url.startsWith("/refuse")) response.writeContinue();
  answer(request, response);
}

// The same WebSocket paths as websockets_endpoint.py.
const closed = new Map();
function talk(socket, request) {
  const { pathname, searchParams } = new URL(request.url, "http://endpoint");
  const id = searchParams.get("id");
  socket.on("error", () => {});
  if (pathname === "/ws/first") socket.send("first");
  if (pathname === "/ws/close") return socket.close(Number(searchParams.get("code")), searchParams.get("reason"));
  if (pathname === "/ws/ping") {
    socket.ping("are you there");
    socket.once("pong", (payload) => socket.send(`pong ${payload}`));
  }
  if (pathname === "/ws/closed") {
    const tell = () => socket.send(closed.get(id));
    return closed.has(id) ? tell() : Gate.of(`closed ${id}`).reached(1).then(tell, () => socket.terminate());
  }
  socket.on("message", (data, binary) => socket.send(data, { binary }));
  socket.once("close", (code, reason) => {
    if (id === null) return;
    closed.set(id, `${code} ${reason}`);
    Gate.of(`closed ${id}`).open();
  });
}

const start = {
  http: () => http.createServer(),
  h2c: () => http2.createServer(),
  tls: (words) =>
    http2.createSecureServer({
      allowHTTP1: true,
      key: fs.readFileSync(words.shift()),
      cert: fs.readFileSync(words.shift()),
    }),
};

const words = process.argv.slice(2);
while (words.length > 0) {
  const kind = words.shift();
  const port = Number(words.shift());
  const server = start[kind](words).on("request", answer).on("checkContinue", answerExpect);
  if (kind !== "h2c") {
    const options = { server, maxPayload: 64 << 20, perMessageDeflate: true };
    new WebSocketServer({ ...options, handleProtocols: (offered) => offered.has("v2") && "v2" }).on("connection", talk);
  }
  server.on("sessionError", () => {});
  server.listen(port, "127.0.0.1");
}
