// Node's fetch, undici, http2, ws and eventsource as clients. Told as telling.py does: a line of JSON a case.
// The argument is JSON: `port`, where hostmux listens. The CA comes by NODE_EXTRA_CA_CERTS.

const assert = require("assert/strict");
const crypto = require("crypto");
const dns = require("dns");
const http2 = require("http2");
const net = require("net");
const undici = require("undici");
const { EventSource } = require("eventsource");
const { WebSocket } = require("ws");

const CASE_WITHIN = 30_000; // ms
const MIB = 1 << 20;
const SITES_WITH_WEBSOCKET = ["h1", "ws"]; // in Node and in Python
const { port } = JSON.parse(process.argv[2]);

// Every name of these sites is this machine.
const { lookup } = dns;
dns.lookup = (host, options, ...rest) => lookup(host.endsWith(".test") ? "127.0.0.1" : host, options, ...rest);

const url = (path, site = "h1", scheme = "https") => `${scheme}://${site}.test:${port}${path}`;
const sha256 = (data) => crypto.createHash("sha256").update(data).digest("hex");
const open = (gate) => fetch(url(`/open?gate=${gate}`), { method: "POST" });
const opened = async (gate, n = 1) => {
  const answer = await fetch(url(`/await?gate=${gate}&n=${n}`));
  assert.equal(answer.status, 200, await answer.text());
};
const once = (emitter, name) =>
  new Promise((resolve, reject) => {
    emitter.once(name, (...values) => resolve(values));
    emitter.once("error", reject);
  });

async function* pieces(data, size = 100_000) {
  for (let at = 0; at < data.length; at += size) yield data.subarray(at, at + size);
}

const cases = {
  "fetch: JSON, HEAD, 204": async () => {
    const told = await (await fetch(url("/what?a=%7Eb"))).json();
    const head = await fetch(url("/bytes?n=1000"), { method: "HEAD" });
    const empty = await fetch(url("/status?code=204"));
    assert.equal(told.url, "/what?a=%7Eb");
    assert.deepEqual([head.status, head.headers.get("content-length"), await head.text()], [200, "1000", ""]);
    assert.deepEqual([empty.status, await empty.text()], [204, ""]);
    return `${told.url}, ${head.status}, ${empty.status}`;
  },

  "fetch: 5 MiB streamed up, and each line of a stream before the next is sent": async () => {
    const data = crypto.randomBytes(5 * MIB);
    const up = await fetch(url("/hash"), { method: "POST", body: pieces(data), duplex: "half" });
    assert.equal((await up.json()).sha256, sha256(data));
    const gate = crypto.randomUUID();
    const lines = [];
    for await (const piece of (await fetch(url(`/lines?n=5&gate=${gate}`))).body) {
      lines.push(Buffer.from(piece).toString().trim());
      await open(gate);
    }
    assert.deepEqual(lines, ["0", "1", "2", "3", "4"]);
    return `${data.length} bytes, ${lines.length} lines`;
  },

  "fetch: aborted in the middle, the endpoint's connection is closed": async () => {
    const [gate, abort] = [crypto.randomUUID(), new AbortController()];
    const answer = await fetch(url(`/hold?head=1&gate=${gate}`), { signal: abort.signal });
    await answer.body.getReader().read();
    abort.abort();
    await opened(gate);
    return "closed";
  },

  ...forEach(
    { "HTTP/1.1, pipelining 4": { pipelining: 4, connections: 2 }, "HTTP/2": { allowH2: true, connections: 1 } },
    "undici Pool, {}: 400 requests, some with bodies",
    async (options) => {
      const pool = new undici.Pool(url(""), options);
      const one = async (at) => {
        const post = at % 4 === 0 && { method: "POST", body: `body ${at}` };
        const answer = await pool.request({ path: post ? "/echo" : `/what?${at}`, method: "GET", ...post });
        const text = await answer.body.text();
        assert.equal(answer.statusCode, 200, text);
        assert.equal(post ? text : JSON.parse(text).url, post ? `body ${at}` : `/what?${at}`);
      };
      await Promise.all(Array.from({ length: 400 }, (_, at) => one(at)));
      await pool.close();
      return "400 answers, each its own";
    },
  ),

  ...forEach({ "HTTP/1.1": {}, "HTTP/2": { allowH2: true } }, "undici, {}: 8 MiB both ways", async (options) => {
    const client = new undici.Client(url(""), options);
    const data = crypto.randomBytes(8 * MIB);
    const answer = await client.request({ path: "/echo", method: "PUT", body: data });
    const back = Buffer.from(await answer.body.arrayBuffer());
    await client.close();
    assert.equal(sha256(back), sha256(data));
    return `${back.length} bytes`;
  }),

  "http2: 500 streams on one session": async () => {
    const session = http2.connect(url(""));
    let goaways = 0;
    session.on("goaway", () => goaways++);
    await once(session, "remoteSettings");
    const most = session.remoteSettings.maxConcurrentStreams;
    const told = await Promise.all(Array.from({ length: 500 }, (_, at) => ask(session, { ":path": `/what?${at}` })));
    told.forEach((one, at) => assert.equal(JSON.parse(one.body).url, `/what?${at}`));
    session.close();
    assert.equal(goaways, 0);
    return `${told.length} answers, ${most} streams at once, no GOAWAY`;
  },

  "http2: trailers both ways": async () => {
    const session = http2.connect(url(""));
    const answer = await ask(session, { ":path": "/echo", ":method": "POST" }, "a body", { "x-sum": "a7" });
    const hashed = await ask(session, { ":path": "/hash", ":method": "POST" }, "a body", { "x-sum": "a7" });
    session.close();
    assert.equal(answer.body, "a body");
    assert.equal(answer.trailers?.["x-echo-x-sum"], "a7", "no trailers came back");
    assert.deepEqual(JSON.parse(hashed.body).trailers, { "x-sum": "a7" });
    return JSON.stringify({ ...answer.trailers });
  },

  "http2: 103 comes before the answer is made": async () => {
    const session = http2.connect(url(""));
    const gate = crypto.randomUUID();
    const stream = session.request({ ":path": `/hints?gate=${gate}` });
    const response = once(stream, "response");
    const [hints] = await once(stream, "headers");
    await open(gate);
    const [head] = await response;
    session.destroy();
    assert.deepEqual([hints[":status"], head[":status"]], [103, 200]);
    return `${hints[":status"]} ${hints.link}, then ${head[":status"]}`;
  },

  "http2: 100 streams cancelled before and amid their answers free the endpoint": async () => {
    const session = http2.connect(url(""));
    let goaways = 0;
    session.on("goaway", () => goaways++);
    const gates = Array.from({ length: 100 }, () => crypto.randomUUID());
    const streams = gates.map((gate, at) => session.request({ ":path": `/hold?gate=${gate}${at % 2 ? "&head=1" : ""}` }));
    streams.forEach((stream) => stream.on("error", () => {}));
    await Promise.all(gates.map((gate) => opened(`${gate} asked`)));
    streams.forEach((stream) => stream.close(http2.constants.NGHTTP2_CANCEL));
    await Promise.all(gates.map((gate) => opened(gate)));
    const after = await ask(session, { ":path": "/what" });
    session.close();
    assert.deepEqual([after.head[":status"], goaways], [200, 0]);
    return "all closed; the session goes on without GOAWAY";
  },

  "http2: a body of unknown length goes up and comes back as it is sent": async () => {
    const session = http2.connect(url(""));
    const stream = session.request({ ":path": "/echo", ":method": "POST" }, { endStream: false });
    const head = once(stream, "response");
    for (let at = 0; at < 20; at++) {
      const back = once(stream, "data");
      stream.write(`piece ${at}`);
      assert.equal((await back)[0].toString(), `piece ${at}`);
    }
    stream.end();
    await once(stream, "end");
    session.close();
    return `${(await head)[0][":status"]}, 20 pieces, each back before the next`;
  },

  "http2: WebSocket by extended CONNECT (RFC 8441)": async () => {
    const session = http2.connect(url(""));
    const [settings] = await once(session, "remoteSettings");
    assert.equal(settings.enableConnectProtocol, true, "SETTINGS_ENABLE_CONNECT_PROTOCOL is not sent");
    const stream = session.request({
      ":method": "CONNECT", ":protocol": "websocket", ":path": "/ws/echo",
      "sec-websocket-version": "13", origin: url(""),
    }, { endStream: false }); // prettier-ignore
    // A message before the answer: it must not be lost.
    stream.write(Buffer.concat([Buffer.from([0x81, 0x85, 0, 0, 0, 0]), Buffer.from("early")]));
    const [head] = await once(stream, "response");
    assert.equal(head[":status"], 200);
    const [back] = await once(stream, "data");
    assert.deepEqual(back, Buffer.concat([Buffer.from([0x81, 5]), Buffer.from("early")]));
    const ended = once(stream, "end");
    stream.write(Buffer.from([0x88, 0x82, 0, 0, 0, 0, 0x0f, 0xa1])); // close, 4001
    const [close] = await once(stream, "data");
    assert.deepEqual([...close.subarray(0, 4)], [0x88, 2, 0x0f, 0xa1]);
    await ended;
    session.destroy();
    return `${head[":status"]}, ${JSON.stringify(back.subarray(2).toString())}, close 4001 and the end`;
  },

  ...forEach(SITES_WITH_WEBSOCKET, "ws to {}: text, binary, 16 MiB, the endpoint speaks first", async (site) => {
    const socket = new WebSocket(url("/ws/first", site, "wss"), ["v1", "v2"]);
    const messages = incoming(socket);
    assert.equal(`${await messages.next()}`, "first");
    assert.equal(socket.protocol, "v2");
    const big = crypto.randomBytes(16 * MIB);
    for (const message of ["grüße", Buffer.from([0, 255]), big]) {
      socket.send(message);
      assert.ok(Buffer.from(message).equals(await messages.next()), "other bytes");
    }
    socket.close();
    return `subprotocol ${socket.protocol}, ${big.length} bytes back`;
  }),

  ...forEach(SITES_WITH_WEBSOCKET, "ws to {}: close codes kept both ways, ping and pong", async (site) => {
    const id = crypto.randomUUID();
    const told = new WebSocket(url("/ws/close?code=4001&reason=go%20away", site, "wss"));
    const [code, reason] = await once(told, "close");
    const ours = new WebSocket(url(`/ws/echo?id=${id}`, site, "wss"));
    await once(ours, "open");
    ours.ping("payload");
    const [pong] = await once(ours, "pong");
    ours.close(4002, "my turn");
    const closed = `${await incoming(new WebSocket(url(`/ws/closed?id=${id}`, site, "wss"))).next()}`;
    assert.deepEqual([code, `${reason}`, `${pong}`, closed], [4001, "go away", "payload", "4002 my turn"]);
    return `${code} ${reason}, pong, ${closed}`;
  }),

  "ws: 50 sockets at once, 20 messages each": async () => {
    const one = async () => {
      const socket = new WebSocket(url("/ws/echo", "h1", "wss"));
      const messages = incoming(socket);
      await once(socket, "open");
      for (let at = 0; at < 20; at++) {
        socket.send(`${at}`);
        assert.equal(`${await messages.next()}`, `${at}`);
      }
      socket.close();
    };
    await Promise.all(Array.from({ length: 50 }, one));
    return "1,000 messages back";
  },

  "undici WebSocket: echo and close code": async () => {
    const socket = new undici.WebSocket(url("/ws/first", "ws", "wss"));
    const first = await new Promise((resolve, reject) => {
      socket.onmessage = (event) => resolve(event.data);
      socket.onerror = (event) => reject(event.error ?? new Error("the socket failed"));
    });
    const closed = new Promise((resolve) => (socket.onclose = resolve));
    socket.close(4003, "enough");
    const { code, reason, wasClean } = await closed;
    assert.deepEqual([first, code, wasClean], ["first", 4003, true]);
    return `${first}, ${code} ${reason}`;
  },

  ...forEach(
    { eventsource: EventSource, undici: undici.EventSource },
    "EventSource of {}: each event before the next is sent",
    async (Source) => {
      const gate = crypto.randomUUID();
      const source = new Source(url(`/events?n=5&gate=${gate}`));
      const seen = [];
      await new Promise((resolve, reject) => {
        source.onerror = (event) => reject(new Error(`after ${seen.length} events: ${event.message ?? "an error"}`));
        source.onmessage = async (event) => {
          seen.push(event.data);
          if (seen.length === 5) resolve();
          await open(gate);
        };
      });
      source.close();
      assert.deepEqual(seen, ["0", "1", "2", "3", "4"]);
      return `${seen.length} events`;
    },
  ),

  "net: `Upgrade: h2c` on plain http is dropped, and the request served": async () => {
    const { http_port } = JSON.parse(process.argv[2]);
    const socket = net.connect(http_port, "127.0.0.1");
    const upgrade = "Connection: Upgrade, HTTP2-Settings, close\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n";
    socket.write(`GET /what HTTP/1.1\r\nHost: plain.test:${http_port}\r\n${upgrade}\r\n`);
    const text = Buffer.concat(await socket.toArray()).toString();
    assert.match(text, /^HTTP\/1\.1 200 /);
    assert.doesNotMatch(text, /h2c|http2-settings/i);
    return text.split("\r\n")[0];
  },
};

// A case for each of the values, with `{}` in its name for its key.
function forEach(values, what, run) {
  const pairs = Array.isArray(values) ? values.map((value) => [value, value]) : Object.entries(values);
  return Object.fromEntries(pairs.map(([key, value]) => [what.replace("{}", key), () => run(value)]));
}

// One exchange on an HTTP/2 session.
async function ask(session, headers, body, trailers) {
  const stream = session.request(headers, { endStream: body === undefined, waitForTrailers: trailers !== undefined });
  const told = { trailers: undefined };
  stream.on("trailers", (fields) => (told.trailers = fields));
  stream.once("wantTrailers", () => stream.sendTrailers(trailers));
  if (body !== undefined) stream.end(body);
  [told.head] = await once(stream, "response");
  told.body = Buffer.concat(await stream.toArray()).toString();
  return told;
}

// The messages of a socket, each to be awaited; none is lost meanwhile.
function incoming(socket) {
  const [here, waiting] = [[], []];
  let failure;
  const fail = (error) => {
    failure = error;
    waiting.splice(0).forEach(({ reject }) => reject(error));
  };
  socket.on("message", (data) => (waiting.length > 0 ? waiting.shift().resolve(data) : here.push(data)));
  socket.on("error", fail);
  socket.on("close", (code) => fail(new Error(`closed with ${code}`)));
  return {
    next: () =>
      new Promise((resolve, reject) => {
        if (here.length > 0) resolve(here.shift());
        else if (failure) reject(failure);
        else waiting.push({ resolve, reject });
      }),
  };
}

async function main() {
  for (const [check, run] of Object.entries(cases)) {
    const told = { check };
    let timer;
    const late = new Promise((_, reject) => {
      timer = setTimeout(() => reject(new Error(`not within ${CASE_WITHIN / 1000} s`)), CASE_WITHIN);
    });
    try {
      told.seen = await Promise.race([run(), late]);
    } catch (error) {
      told.failed = `${error.name}: ${error.message.replaceAll(/\s+/g, " ")} ${error.cause ? `(${error.cause.message})` : ""}`;
    }
    clearTimeout(timer);
    process.stdout.write(`${JSON.stringify(told)}\n`);
  }
  process.exit();
}

process.on("unhandledRejection", () => {}); // of a promise whose case has failed already
process.on("uncaughtException", (error) => process.stderr.write(`${error.stack}\n`));
main();
