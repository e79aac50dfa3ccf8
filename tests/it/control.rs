//! The control socket: what it tells, what it changes, and what it refuses.

use std::os::unix::fs::PermissionsExt;

use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::harness::{Answer, Backend, Conn, Proxy, get, ok, until};

fn site(endpoints: &[&Backend]) -> String {
    let ports: Vec<&str> = endpoints.iter().map(|endpoint| endpoint.at()).collect();
    let ports = ports.join(", ");
    format!("sites:\n  a.test: {{ plain_http: serve, upstream: [{ports}] }}\n")
}

/// A command that is followed.
async fn done(proxy: &Proxy, line: &str, body: Value) -> Value {
    let (status, told) = proxy.command(line, &body.to_string()).await;
    assert_eq!(status, 200, "{line}: {told}");
    told
}

async fn status(proxy: &Proxy) -> Value {
    done(proxy, "GET /v1/status", json!({})).await
}

/// Waits until the first site's status is as it should be.
async fn status_is(proxy: &Proxy, holds: impl Fn(&Value) -> bool) {
    loop {
        if holds(&status(proxy).await["sites"][0]) {
            return;
        }
        tokio::task::yield_now().await;
    }
}

fn told(answer: &Answer) -> String {
    String::from_utf8(answer.body.clone()).unwrap()
}

async fn asked(proxy: &Proxy, accept: &str) -> Answer {
    let request = format!("GET / HTTP/1.1\r\nhost: a.test\r\naccept: {accept}\r\n\r\n");
    proxy.plain().await.ask(request).await
}

#[tokio::test]
async fn status_tells_sites_and_endpoints() {
    let endpoint = Backend::echo().await;
    let proxy = Proxy::commanded(&site(&[&endpoint]));
    let told = status(&proxy).await;
    assert_eq!(told["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(told["pid"], std::process::id());
    assert!(told["config"].as_str().unwrap().ends_with("/sites.yaml"));
    assert!(told["started"].as_str().unwrap().ends_with('Z'));
    assert_eq!(told["runtime_changes"], json!([]));
    let want = json!([{
        "name": "a.test", "line": 2, "state": "open", "waiting": 0, "fault": null,
        "routes": [{
            "prefix": "/", "upstream": "a.test", "balance": "round_robin", "held": 0, "leaving": [],
            "endpoints": [{
                "endpoint": format!("localhost:{}", endpoint.at()), "state": "unknown", "why": null,
                "weight": 1, "backup": false, "origin": "file", "in_flight": 0,
            }],
        }],
    }]);
    assert_eq!(told["sites"], want);
    let told = done(&proxy, "GET /v1/sites", json!({})).await;
    let names = &told["sites"][0]["routes"][0]["endpoints"];
    assert_eq!(*names, json!([format!("localhost:{}", endpoint.at())]));
}

#[tokio::test]
async fn the_socket_is_its_users_and_its_groups() {
    let endpoint = Backend::echo().await;
    let mut proxy = Proxy::commanded(&site(&[&endpoint]));
    let path = proxy.socket();
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    proxy.drain().await;
    assert!(!path.exists());
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_and_changes_nothing() {
    let endpoint = Backend::echo().await;
    let proxy = Proxy::commanded(&format!(
        "{}  old.test: {{ redirect: \"https://a.test/\" }}\n",
        site(&[&endpoint])
    ));
    let there = endpoint.at();
    let before = status(&proxy).await;
    let endpoints = "/v1/sites/a.test/endpoints";
    let one = |endpoint: &str| format!(r#"{{"endpoints": ["{endpoint}"], "runtime": true}}"#);
    let with = |key: &str| format!(r#"{{"endpoints": ["1"], "runtime": true, {key}}}"#);
    let patch = format!("PATCH {endpoints}/{there}");
    let add = format!("POST {endpoints}");
    let remove = format!("DELETE {endpoints}");
    for (line, body, want, words, fix) in [
        ("GET /", String::new(), 404, "nothing at /", "/v1/status"),
        (
            "GET /v1/%zz",
            String::new(),
            400,
            "not well encoded",
            "hexadecimal",
        ),
        ("POST /v1/status", String::new(), 405, "method", "GET"),
        ("GET /v1/reload", String::new(), 405, "method", "POST"),
        (
            "PUT /v1/sites/a.test/endpoints",
            String::new(),
            405,
            "method",
            "POST, DELETE",
        ),
        (
            "POST /v1/sites/a.tset/pause",
            String::new(),
            404,
            "no site `a.tset`",
            "mean `a.test`",
        ),
        (
            "POST /v1/sites/zzzzzzzz/pause",
            String::new(),
            404,
            "no site",
            "sites there: `a.test`, `old.test`",
        ),
        (
            "POST /v1/sites/a%20b/pause",
            String::new(),
            404,
            "not the name of a site",
            "sites there",
        ),
        (
            "POST /v1/sites/fallback/pause",
            String::new(),
            404,
            "no site `fallback`",
            "sites there",
        ),
        (
            "POST /v1/sites/a.test/pause",
            "{\"x\": 1}".into(),
            400,
            "unknown field `x`",
            "nothing",
        ),
        (
            "POST /v1/sites/a.test/stop",
            "{\"message\": \"a\\nb\"}".into(),
            400,
            "one line",
            "shorter",
        ),
        (
            "POST /v1/sites/a.test/stop",
            format!("{{\"message\": \"{}\"}}", "a".repeat(301)),
            400,
            "300 characters",
            "shorter",
        ),
        (
            add.as_str(),
            "{\"endpoints\": [\"1\",]}".into(),
            400,
            "line 1 column 20",
            "JSON",
        ),
        (
            add.as_str(),
            String::new(),
            400,
            "missing field `endpoints`",
            "`runtime`",
        ),
        (
            add.as_str(),
            "{\"endpoints\": [\"1\"]}".into(),
            400,
            "`runtime` is not true",
            "hostmux add",
        ),
        (
            add.as_str(),
            with("\"forced\": true"),
            400,
            "unknown field `forced`",
            "`force`",
        ),
        (
            add.as_str(),
            with("\"prefix\": \"x\""),
            400,
            "`x` is not the prefix",
            "`/x`",
        ),
        (
            add.as_str(),
            with("\"prefix\": \"/x\""),
            404,
            "no route `/x`",
            "routes there: `/`",
        ),
        (
            add.as_str(),
            "{\"endpoints\": [], \"runtime\": true}".into(),
            400,
            "no endpoint",
            "8081",
        ),
        (
            add.as_str(),
            one("8O80"),
            400,
            "`8O80` is not a port",
            "did you mean `8080`",
        ),
        (add.as_str(), one(there), 409, "already", "nothing to do"),
        (
            add.as_str(),
            one("unix:/tmp/\\u001b]0;x"),
            400,
            "a control character",
            "can be seen",
        ),
        (
            add.as_str(),
            one("db.internal:8080"),
            409,
            "a name that is to be looked up",
            "without `--runtime`",
        ),
        (
            add.as_str(),
            "{\"endpoints\": [\"1\", 1], \"runtime\": true}".into(),
            409,
            "already",
            "nothing to do",
        ),
        (
            "POST /v1/sites/old.test/endpoints",
            one("1"),
            409,
            "a redirect",
            "`upstream`",
        ),
        (
            remove.as_str(),
            one("1"),
            404,
            "no endpoint `localhost:1`",
            "endpoints there",
        ),
        (
            remove.as_str(),
            one(there),
            409,
            "the last endpoint",
            "--force",
        ),
        (
            remove.as_str(),
            "{\"endpoints\": [], \"runtime\": true}".into(),
            409,
            "all of `a.test`",
            "force",
        ),
        (
            patch.as_str(),
            "{}".into(),
            400,
            "changes nothing",
            "`weight`",
        ),
        (
            patch.as_str(),
            "{\"weight\": 257}".into(),
            400,
            "257 is not a weight",
            "0 to 256",
        ),
        (
            patch.as_str(),
            "{\"weight\": \"3\"}".into(),
            400,
            "line 1",
            "`weight`",
        ),
        (
            "PATCH /v1/sites/a.test/endpoints/1",
            "{\"weight\": 1}".into(),
            404,
            "no endpoint",
            "endpoints there",
        ),
        (
            add.as_str(),
            " ".repeat(70_000),
            413,
            "larger than 65536",
            "less",
        ),
    ] {
        let (status, told) = proxy.command(line, &body).await;
        assert_eq!(status, want, "{line} {body}: {told}");
        assert_eq!(told["status"], want, "{told}");
        let text = |key: &str| told[key].as_str().unwrap().to_owned();
        assert!(text("error").contains(words), "{line} {body}: {told}");
        assert!(text("fix").contains(fix), "{line} {body}: {told}");
    }
    assert_eq!(status(&proxy).await, before);
}

#[tokio::test]
async fn endpoints_come_and_go_while_it_runs() {
    let (first, second) = (Backend::echo().await, Backend::echo().await);
    let proxy = Proxy::commanded(&site(&[&first]));
    let endpoints = "/v1/sites/a.test/endpoints";
    let body = json!({ "endpoints": [second.at()], "runtime": true });
    done(&proxy, &format!("POST {endpoints}"), body).await;
    for _ in 0..4 {
        proxy.plain().await.get("a.test", "/").await;
    }
    assert_eq!((first.requests().len(), second.requests().len()), (2, 2));
    let name = format!("localhost:{}", second.at());
    let change = |what: &str| json!([{ "upstream": "a.test", "endpoint": name, "change": what }]);
    assert_eq!(status(&proxy).await["runtime_changes"], change("added"));

    // What was added by hand outlives a change of the file; a restart it does not.
    proxy.write(
        &site(&[&first])
            .replace("[", "{ wait_for_endpoint: 1s, endpoints: [")
            .replace("]", "] }"),
    );
    let told = done(&proxy, "POST /v1/reload", json!({})).await;
    assert_eq!(told["changed"], json!([{ "site": "a.test", "line": 2 }]));
    assert_eq!(status(&proxy).await["runtime_changes"], change("added"));

    let body = json!({ "endpoints": [first.at()], "runtime": true });
    done(&proxy, &format!("DELETE {endpoints}"), body).await;
    for _ in 0..2 {
        proxy.plain().await.get("a.test", "/").await;
    }
    assert_eq!((first.requests().len(), second.requests().len()), (2, 4));
    let told = status(&proxy).await;
    assert_eq!(told["runtime_changes"].as_array().unwrap().len(), 2);
    // A reload that is about something else does not bring it back.
    done(&proxy, "POST /v1/reload", json!({})).await;
    assert_eq!(
        status(&proxy).await["runtime_changes"],
        told["runtime_changes"]
    );

    let body = json!({ "endpoints": [second.at()], "runtime": true, "force": true });
    done(&proxy, &format!("DELETE {endpoints}"), body).await;
    assert_eq!(
        status(&proxy).await["sites"][0]["routes"][0]["endpoints"],
        json!([])
    );
}

#[tokio::test]
async fn health_checks_come_and_go_with_endpoints() {
    let (first, second) = (Backend::echo().await, Backend::echo().await);
    let proxy = Proxy::commanded(&format!(
        "sites:\n  a.test: {{ upstream: {{ endpoints: {}, health_check: {{ every: 1s }} }} }}\n",
        first.at()
    ));
    until(|| proxy.probed() == 1).await;
    let endpoints = "/v1/sites/a.test/endpoints";
    let body = json!({ "endpoints": [second.at()], "runtime": true });
    done(&proxy, &format!("POST {endpoints}"), body.clone()).await;
    until(|| proxy.probed() == 2).await;
    status_is(&proxy, |site| {
        site["routes"][0]["endpoints"][1]["state"] == "up"
    })
    .await;
    done(&proxy, &format!("DELETE {endpoints}"), body).await;
    until(|| proxy.probed() == 1).await;
}

#[tokio::test]
async fn a_route_has_endpoints_of_its_own() {
    let (own, api, more) = (
        Backend::echo().await,
        Backend::echo().await,
        Backend::echo().await,
    );
    let proxy = Proxy::commanded(&format!(
        "sites:\n  a.test:\n    plain_http: serve\n    upstream: {}\n    routes:\n      \
         /api: {{ upstream: {} }}\n      /in: {{ max_body: 1MiB }}\n",
        own.at(),
        api.at()
    ));
    let endpoints = "/v1/sites/a.test/endpoints";
    let add = |prefix: &str| json!({ "endpoints": [more.at()], "runtime": true, "prefix": prefix });
    done(&proxy, &format!("POST {endpoints}"), add("/api")).await;
    for _ in 0..2 {
        proxy.plain().await.get("a.test", "/api/x").await;
        proxy.plain().await.get("a.test", "/in/x").await;
    }
    let counts = [&own, &api, &more].map(|endpoint| endpoint.requests().len());
    assert_eq!(counts, [2, 1, 1]);
    let told = status(&proxy).await;
    assert_eq!(told["runtime_changes"].as_array().unwrap().len(), 1);
    assert_eq!(told["runtime_changes"][0]["upstream"], "a.test/api");
    let inherited = add("/in").to_string();
    let (status, told) = proxy
        .command(&format!("POST {endpoints}"), &inherited)
        .await;
    assert_eq!(status, 409, "{told}");
    let error = told["error"].as_str().unwrap();
    assert!(
        error.contains("`a.test/in` has the endpoints of `a.test`"),
        "{error}"
    );
}

#[tokio::test]
async fn weight_and_drain_are_for_one_endpoint() {
    let (first, second) = (Backend::echo().await, Backend::echo().await);
    let proxy = Proxy::commanded(&site(&[&first, &second]));
    let patch = format!("PATCH /v1/sites/a.test/endpoints/{}", first.at());
    done(&proxy, &patch, json!({ "weight": 3 })).await;
    for _ in 0..8 {
        proxy.plain().await.get("a.test", "/").await;
    }
    assert_eq!((first.requests().len(), second.requests().len()), (6, 2));
    let told = status(&proxy).await;
    assert_eq!(told["runtime_changes"][0]["change"], "weight");
    assert_eq!(told["runtime_changes"][0]["now"], 3);

    let told = done(&proxy, &patch, json!({ "draining": true })).await;
    assert_eq!(told["state"], "draining");
    for _ in 0..4 {
        proxy.plain().await.get("a.test", "/").await;
    }
    assert_eq!((first.requests().len(), second.requests().len()), (6, 6));
    let told = done(&proxy, &patch, json!({ "draining": false, "weight": 1 })).await;
    assert_eq!(told["state"], "unknown");
    assert_eq!(status(&proxy).await["runtime_changes"], json!([]));
}

/// An endpoint that answers when it is told to.
async fn patient(go: &watch::Receiver<bool>) -> Backend {
    let go = go.clone();
    Backend::script(move |mut conn: Conn| {
        let mut go = go.clone();
        async move {
            while conn.request().await.is_some() {
                go.wait_for(|go| *go).await.unwrap();
                conn.send(ok(b"at last")).await;
            }
        }
    })
    .await
}

#[tokio::test]
async fn what_is_removed_finishes_what_it_has() {
    let (tell, go) = watch::channel(false);
    let (slow, other) = (patient(&go).await, Backend::echo().await);
    let proxy = Proxy::commanded(&site(&[&slow]));
    let mut client = proxy.plain().await;
    client.send(get("a.test", "/")).await;
    slow.wait_for(|seen| !seen.requests.is_empty()).await;
    let endpoints = "/v1/sites/a.test/endpoints";
    let body = json!({ "endpoints": [other.at()], "runtime": true });
    done(&proxy, &format!("POST {endpoints}"), body).await;
    let body = json!({ "endpoints": [slow.at()], "runtime": true });
    let told = done(&proxy, &format!("DELETE {endpoints}"), body).await;
    assert_eq!(told["in_flight"], 1);
    let leaving = json!([{ "endpoint": format!("localhost:{}", slow.at()), "in_flight": 1 }]);
    assert_eq!(
        status(&proxy).await["sites"][0]["routes"][0]["leaving"],
        leaving
    );
    assert_eq!(proxy.plain().await.get("a.test", "/").await.status, 200);
    tell.send_replace(true);
    assert_eq!(client.answer().await.text(), "at last");
    status_is(&proxy, |site| site["routes"][0]["leaving"] == json!([])).await;
}

#[tokio::test]
async fn a_paused_site_holds_its_requests_and_lets_them_on() {
    let (tell, go) = watch::channel(false);
    let (before, after) = (patient(&go).await, Backend::echo().await);
    let proxy = Proxy::commanded(&site(&[&before]));
    let mut under_way = proxy.plain().await;
    under_way.send(get("a.test", "/under-way")).await;
    before.wait_for(|seen| !seen.requests.is_empty()).await;

    done(&proxy, "POST /v1/sites/a.test/pause", json!({})).await;
    let mut held = proxy.plain().await;
    held.send(get("a.test", "/held")).await;
    status_is(&proxy, |site| {
        site["waiting"] == 1 && site["state"] == "paused"
    })
    .await;
    // Who is under way goes on.
    tell.send_replace(true);
    assert_eq!(under_way.answer().await.status, 200);
    // It stays paused across a reload, and who was held goes where the site leads then.
    proxy.write(&site(&[&after]));
    done(&proxy, "POST /v1/reload", json!({})).await;
    status_is(&proxy, |site| site["state"] == "paused").await;
    assert_eq!((before.requests().len(), after.requests().len()), (1, 0));

    let told = done(&proxy, "POST /v1/sites/A.TEST./resume", json!({})).await;
    assert_eq!(
        (&told["was"], &told["now"]),
        (&json!("paused"), &json!("open"))
    );
    assert_eq!(held.answer().await.status, 200);
    assert_eq!(after.last().target(), "/held");
}

#[tokio::test]
async fn a_client_that_leaves_a_paused_site_is_forgotten() {
    let endpoint = Backend::echo().await;
    let proxy = Proxy::commanded(&site(&[&endpoint]));
    done(&proxy, "POST /v1/sites/a.test/pause", json!({})).await;
    let mut client = proxy.plain().await;
    client.send(get("a.test", "/")).await;
    status_is(&proxy, |site| site["waiting"] == 1).await;
    drop(client);
    status_is(&proxy, |site| site["waiting"] == 0).await;
    done(&proxy, "POST /v1/sites/a.test/resume", json!({})).await;
    assert_eq!(proxy.plain().await.get("a.test", "/").await.status, 200);
    assert_eq!(endpoint.requests().len(), 1);
}

#[tokio::test]
async fn a_stopped_site_says_why() {
    let endpoint = Backend::echo().await;
    let proxy = Proxy::commanded(&site(&[&endpoint]));
    let message = "back at <noon> & \"all\" ä";
    let stop = "POST /v1/sites/a.test/stop";
    done(&proxy, stop, json!({ "message": message })).await;
    assert_eq!(status(&proxy).await["sites"][0]["message"], message);

    let page = asked(&proxy, "text/html").await;
    assert_eq!(page.status, 503);
    assert_eq!(page.field("retry-after").unwrap(), "60");
    assert!(
        told(&page).contains("<p>back at &lt;noon&gt; &amp; &quot;all&quot; ä</p>"),
        "{}",
        told(&page)
    );
    assert!(told(&page).contains("closed for maintenance") && !told(&page).contains("refresh"));
    let problem = asked(&proxy, "application/json").await;
    let problem: Value = serde_json::from_slice(&problem.body).unwrap();
    assert_eq!(
        (&problem["status"], &problem["detail"]),
        (&json!(503), &json!(message))
    );
    let text = told(&asked(&proxy, "*/*").await);
    assert!(text.contains(message), "{text}");
    let grpc = "POST / HTTP/1.1\r\nhost: a.test\r\ncontent-type: application/grpc\r\ncontent-length: 0\r\n\r\n";
    let grpc = proxy.plain().await.ask(grpc).await;
    assert_eq!(
        (grpc.status, grpc.field("grpc-status").unwrap().as_str()),
        (200, "14")
    );
    assert!(
        grpc.field("grpc-message")
            .unwrap()
            .ends_with("\"all\" %C3%A4")
    );
    // As long as it may be, and all of it escaped: a page is small.
    done(&proxy, stop, json!({ "message": "\"".repeat(300) })).await;
    assert!(asked(&proxy, "text/html").await.body.len() <= 4096);
    assert!(endpoint.requests().is_empty());
    done(&proxy, "POST /v1/sites/a.test/resume", json!({})).await;
    assert_eq!(asked(&proxy, "*/*").await.status, 200);
}

#[tokio::test]
async fn a_file_with_a_fault_is_not_taken_over() {
    let endpoint = Backend::echo().await;
    let proxy = Proxy::commanded(&site(&[&endpoint]));
    proxy.write("sites:\n  a.test: 8O80\n");
    let before = status(&proxy).await;
    let (status_code, told) = proxy.command("POST /v1/reload", "").await;
    assert_eq!(status_code, 422, "{told}");
    assert!(
        told["error"]
            .as_str()
            .unwrap()
            .contains("`8O80` is not a port"),
        "{told}"
    );
    assert_eq!(
        (&told["faults"][0]["line"], &told["faults"][0]["column"]),
        (&json!(2), &json!(11))
    );
    let after = status(&proxy).await;
    assert_eq!(after["sites"], before["sites"]);
    assert_eq!(before["condition"], "serving");
    assert_eq!(after["condition"], "degraded");
    assert_eq!(after["refused"]["line"], 2);
    assert_eq!(after["refused"]["message"], "`8O80` is not a port");
    proxy.write(&format!("# more\n{}  b.test: 1\n", site(&[&endpoint])));
    let told = done(&proxy, "POST /v1/reload", json!({})).await;
    assert_eq!(
        (&told["added"], &told["changed"]),
        (&json!([{ "site": "b.test", "line": 4 }]), &json!([]))
    );
    assert_eq!(told["removed"], json!([]));
    assert_eq!(status(&proxy).await["condition"], "serving");
}

#[tokio::test]
async fn a_connection_that_says_nothing_keeps_no_other_from_being_heard() {
    let endpoint = Backend::echo().await;
    let proxy = Proxy::commanded(&site(&[&endpoint]));
    let mut silent = Vec::new();
    for _ in 0..8 {
        silent.push(
            tokio::net::UnixStream::connect(proxy.socket())
                .await
                .unwrap(),
        );
    }
    assert_eq!(status(&proxy).await["sites"][0]["name"], "a.test");
}

#[tokio::test]
async fn what_was_removed_comes_back_as_the_file_says() {
    let endpoint = Backend::echo().await;
    let proxy = Proxy::commanded(
        "sites:\n  a.test: [8081, { address: localhost:8082, weight: 3, backup: true }]\n",
    );
    let before = status(&proxy).await;
    for command in ["DELETE", "POST"] {
        let line = format!("{command} /v1/sites/a.test/endpoints");
        let body = json!({ "endpoints": [8082], "runtime": true });
        done(&proxy, &line, body).await;
    }
    assert_eq!(status(&proxy).await, before);
    // It goes with its line, as it came with it.
    proxy.write(&format!("sites: {{ a.test: [8081, {}] }}\n", endpoint.at()));
    done(&proxy, "POST /v1/reload", json!({})).await;
    let told = status(&proxy).await;
    let endpoints = &told["sites"][0]["routes"][0]["endpoints"];
    let names: Vec<&Value> = endpoints
        .as_array()
        .unwrap()
        .iter()
        .map(|e| &e["endpoint"])
        .collect();
    assert_eq!(
        names,
        ["localhost:8081", &format!("localhost:{}", endpoint.at())]
    );
}

#[tokio::test]
async fn a_pipe_in_the_files_place_is_waited_for_by_nobody() {
    let endpoint = Backend::echo().await;
    let mut proxy = Proxy::commanded(&site(&[&endpoint]));
    let file = proxy.socket().with_file_name("sites.yaml");
    std::fs::remove_file(&file).unwrap();
    mknodat(CWD, &file, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let (code, told) = proxy.command("POST /v1/reload", "").await;
    assert_eq!(code, 422, "{told}");
    let error = told["error"].as_str().unwrap();
    assert!(error.contains("it is not a file"), "{error}");
    done(&proxy, "POST /v1/sites/a.test/pause", json!({})).await;
    assert_eq!(status(&proxy).await["sites"][0]["state"], "paused");
    assert_eq!(proxy.drain().await, 0);
}
