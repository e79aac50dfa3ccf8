"""A Flask site, run by its dev server: `python3 -m flask --app flask_site run --port PORT`.

ProxyFix is how Flask's documentation says to believe a proxy's X-Forwarded-*.
"""

import hashlib
import time

from flask import Flask, jsonify, redirect, request, url_for
from werkzeug.middleware.proxy_fix import ProxyFix

app = Flask(__name__)
app.wsgi_app = ProxyFix(app.wsgi_app, x_for=1, x_proto=1, x_host=1)


@app.get("/")
def page():
    return jsonify(scheme=request.scheme, url=url_for("page", _external=True), client=request.remote_addr)


@app.post("/form")
def form():
    return f"hello {request.form['name']}"


@app.get("/old")
def old():
    return redirect(url_for("page", _external=True))


@app.post("/upload")
def upload():
    return hashlib.sha256(request.files["file"].read()).hexdigest()


@app.put("/raw")
def raw():
    return hashlib.sha256(request.get_data()).hexdigest()


@app.get("/stream")
def stream():
    def lines():
        for _ in range(5):
            time.sleep(0.3)
            yield f"data: {time.time()}\n\n"

    return lines(), {"Content-Type": "text/event-stream"}
