// An Express application behind a proxy: `trust proxy` makes it believe X-Forwarded-*.
// Run where `express` is installed: `node express_app.js PORT`.

const express = require("express");

const app = express();
app.set("trust proxy", "loopback");
app.use(express.urlencoded({ extended: false }));

app.get("/", (request, response) => {
  const { protocol, secure, ip } = request;
  response.json({ protocol, secure, ip, host: request.get("host") });
});
app.get("/old", (request, response) => response.redirect("/new?from=old"));
app.post("/form", (request, response) => response.send(`hello ${request.body.name}`));

app.listen(Number(process.argv[2]), "127.0.0.1");
