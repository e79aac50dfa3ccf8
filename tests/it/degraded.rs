//! One bad site harms only itself: at a reload, and at a start.

use std::collections::HashMap;

use serde_json::json;

use crate::harness::{Answer, Backend, Certificates, Client, Proxy, get, ok};

/// Sites of the file that is broken in every way.
const SITES: usize = 50;

/// The lines of a site, by its name and its endpoint.
type Write = fn(&str, &str) -> String;

/// Ways to break one site's lines: what they are then, and whether they can
/// still be told from the others'.
const SLIPS: &[(&str, Write, Harm)] = &[
    (
        "a letter in the port",
        |name, _| format!("  {name}: 8O80\n"),
        Harm::Site,
    ),
    (
        "a port too large",
        |name, _| format!("  {name}: 80800\n"),
        Harm::Site,
    ),
    (
        "nothing behind it",
        |name, _| format!("  {name}:\n"),
        Harm::Site,
    ),
    (
        "an unknown key",
        |name, at| format!("  {name}: {{ upstrem: \"{at}\" }}\n"),
        Harm::Site,
    ),
    (
        "a certificate that is not there",
        |name, at| {
            format!(
                "  {name}: {{ upstream: \"{at}\", certificate: {{ chain: no.pem, key: no.key }} }}\n"
            )
        },
        Harm::Site,
    ),
    (
        "a variable that is not set",
        |name, _| format!("  {name}: ${{HOSTMUX_TEST_UNSET}}\n"),
        Harm::Site,
    ),
    (
        "a key twice",
        |name, at| format!("  {name}:\n    upstream: \"{at}\"\n    upstream: \"{at}\"\n"),
        Harm::Site,
    ),
    (
        "keys of a site not indented",
        |name, at| format!("  {name}:\n  upstream: \"{at}\"\n"),
        Harm::Site,
    ),
    (
        "the same host twice",
        |name, at| format!("  {name}: \"{at}\"\n  {name}: \"{at}\"\n"),
        Harm::Site,
    ),
    (
        "a bracket that is not closed",
        |name, at| format!("  {name}: [\"{at}\"\n"),
        Harm::File,
    ),
    (
        "a tab",
        |name, at| format!("\t{name}: \"{at}\"\n"),
        Harm::File,
    ),
    (
        "no colon",
        |name, at| format!("  {name} \"{at}\"\n"),
        Harm::File,
    ),
];

/// Whom a slip harms.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Harm {
    Site,
    /// The form of the text: it is not taken over.
    File,
}

fn name(n: usize) -> String {
    format!("s{n}.test")
}

/// The file, in which one site may have a slip.
fn file(endpoint: &str, slip: Option<(usize, Write)>) -> String {
    let mut text = "defaults: { plain_http: serve }\nsites:\n".to_owned();
    for n in 0..SITES {
        match slip {
            Some((broken, write)) if broken == n => text.push_str(&write(&name(n), endpoint)),
            // Each site with something of its own, and short and long forms.
            _ if n % 2 == 0 => text.push_str(&format!("  {}: \"{endpoint}\"\n", name(n))),
            _ => text.push_str(&format!(
                "  {}: {{ upstream: [\"{endpoint}\"], host: endpoint-{n}.test }}\n",
                name(n)
            )),
        }
    }
    text
}

/// What an answer is but for what differs with every request.
fn lasting(answer: &Answer) -> (u16, Vec<(String, String)>, Vec<u8>) {
    let mut fields = answer.fields.clone();
    fields.retain(|(name, _)| !["x-request-id", "date"].contains(&name.as_str()));
    (answer.status, fields, answer.body.clone())
}

async fn answers(client: &mut Client) -> HashMap<usize, (u16, Vec<(String, String)>, Vec<u8>)> {
    let asked: String = (0..SITES).map(|n| get(&name(n), "/a?b=c")).collect();
    client.send(asked).await;
    let mut answers = HashMap::new();
    for n in 0..SITES {
        answers.insert(n, lasting(&client.answer().await));
    }
    answers
}

/// An endpoint whose answer tells the `Host` that it was asked for.
async fn telling() -> Backend {
    Backend::script(async |mut conn| {
        while let Some(request) = conn.request().await {
            let host = request.field("host").unwrap_or_default();
            conn.send(ok(host.as_bytes())).await;
        }
    })
    .await
}

/// Every site broken in turn, in several ways: the others answer as before.
#[tokio::test]
async fn each_site_broken_in_turn_harms_itself_alone_at_a_reload_and_at_a_start() {
    let endpoint = telling().await;
    let whole = file(endpoint.at(), None);
    let proxy = Proxy::commanded(&whole);
    let mut client = proxy.plain().await;
    assert_eq!(proxy.command("POST /v1/reload", "").await.0, 200);
    let before = answers(&mut client).await;
    assert!(before.values().all(|(status, ..)| *status == 200));
    for broken in 0..SITES {
        // Each site in three ways of each kind of start; all ways come often.
        for turn in 0..6 {
            let (slip, write, harm) = SLIPS[(broken + 2 * turn) % SLIPS.len()];
            let text = file(endpoint.at(), Some((broken, write)));
            let told = match turn % 2 {
                0 => {
                    proxy.write(&text);
                    let (status, told) = proxy.command("POST /v1/reload", "").await;
                    let want = if harm == Harm::Site { 200 } else { 422 };
                    assert_eq!(status, want, "{slip} in site {broken}: {told}");
                    told
                }
                _ => {
                    assert!(proxy.start_cold(&text), "{slip} in site {broken}");
                    json!(null)
                }
            };
            let after = answers(&mut client).await;
            for n in 0..SITES {
                if n != broken || harm == Harm::File {
                    assert_eq!(
                        after[&n], before[&n],
                        "{slip} in site {broken} changed site {n}: {told}"
                    );
                }
            }
            if harm == Harm::Site {
                let (status, _, body) = &after[&broken];
                let page = String::from_utf8_lossy(body);
                assert_eq!(*status, 500, "{slip} in site {broken}: {page}");
                assert!(
                    page.contains("config line"),
                    "{slip} in site {broken}: {page}"
                );
            }
            // What comes next begins with the whole file.
            proxy.write(&whole);
            assert_eq!(proxy.command("POST /v1/reload", "").await.0, 200);
        }
    }
    assert!(answers(&mut client).await == before);
}

#[tokio::test]
async fn a_broken_site_says_so_to_this_machine_in_status_and_in_the_log() {
    let endpoint = Backend::echo().await;
    let at = endpoint.at();
    let good = format!("sites:\n  a.test: \"{at}\"\n  b.test: \"{at}\"\n");
    let proxy = Proxy::commanded(&good);
    proxy.write(&format!("sites:\n  a.test: \"{at}\"\n  b.test: 80800\n"));
    let (status, told) = proxy.command("POST /v1/reload", "").await;
    assert_eq!(status, 200, "{told}");
    assert_eq!(told["broken"][0]["site"], "b.test");
    assert_eq!(told["broken"][0]["line"], 3);

    let page = proxy.tls("b.test").await.get("b.test", "/").await;
    assert_eq!(page.status, 500);
    let reason = page.field("proxy-status").unwrap();
    assert_eq!(reason, "hostmux; error=proxy_configuration_error");
    assert!(
        page.text().contains("config line 3: 80800 is"),
        "{}",
        page.text()
    );
    assert_eq!(
        proxy.tls("a.test").await.get("a.test", "/").await.status,
        200
    );

    let (_, told) = proxy.command("GET /v1/status", "").await;
    assert_eq!(told["condition"], "degraded");
    let site = &told["sites"][1];
    assert_eq!(
        (&site["name"], &site["state"]),
        (&json!("b.test"), &json!("broken"))
    );
    assert_eq!(site["fault"]["line"], 3);
    let line = &proxy.logged(2).await[0];
    assert_eq!(line["reason"], "proxy_configuration_error");
    assert_eq!(line["site"], "b.test");

    // Mended, it is served again.
    proxy.write(&good);
    let (_, told) = proxy.command("POST /v1/reload", "").await;
    assert_eq!(told["mended"], json!([{ "site": "b.test", "line": 3 }]));
    assert_eq!(
        proxy.tls("b.test").await.get("b.test", "/").await.status,
        200
    );
}

/// A slip made and mended must not undo what was done by hand.
#[tokio::test]
async fn what_is_known_of_a_site_outlives_its_fault() {
    let (first, second) = (Backend::echo().await, Backend::echo().await);
    let (one, two) = (first.at(), second.at());
    let good = format!("sites:\n  a.test: [\"{one}\", \"{two}\"]\n  b.test: \"{one}\"\n");
    let proxy = Proxy::commanded(&good);
    let drained = format!("PATCH /v1/sites/a.test/endpoints/{two}");
    let (status, told) = proxy.command(&drained, r#"{"draining": true}"#).await;
    assert_eq!(status, 200, "{told}");
    for bad in ["8O80", "80800"] {
        proxy.write(&format!("sites:\n  a.test: {bad}\n  b.test: \"{one}\"\n"));
        assert_eq!(proxy.command("POST /v1/reload", "").await.0, 200);
    }
    proxy.write(&good);
    assert_eq!(proxy.command("POST /v1/reload", "").await.0, 200);
    let (_, told) = proxy.command("GET /v1/status", "").await;
    let changes = told["runtime_changes"].as_array().unwrap();
    assert_eq!(changes.len(), 1, "{told}");
    assert_eq!(changes[0]["change"], "draining");
}

/// A stranger learns nothing of the file, in whatever form.
#[tokio::test]
async fn a_stranger_is_told_no_more_than_that_there_is_a_fault() {
    let endpoint = Backend::echo().await;
    let proxy = Proxy::start(&format!(
        "listen: {{ proxy_protocol_from: 127.0.0.1 }}\nsites:\n  a.test: \"{}\"\n  b.test: 8O80\n",
        endpoint.at()
    ));
    let ask = async |header: &str, field: &str| {
        let mut client = proxy.plain().await;
        let request = format!("{header}\r\nGET / HTTP/1.1\r\nhost: b.test\r\n{field}\r\n\r\n");
        client.ask(request).await
    };
    for (field, status) in [
        ("accept: text/html", 500),
        ("accept: application/json", 500),
        ("content-type: application/grpc", 200),
        ("accept: */*", 500),
    ] {
        let far = ask("PROXY TCP4 203.0.113.9 127.0.0.1 1 2", field).await;
        assert_eq!(far.status, status, "{field}");
        let told = format!("{:?} {}", far.fields, far.text());
        for word in ["8O80", "line", "sites.yaml", "hostmux check"] {
            assert!(!told.contains(word), "{field}: {word}: {told}");
        }
        let near = ask("PROXY UNKNOWN", field).await;
        let is_told = near.text().contains("config line 4: `8O80`");
        assert_eq!(is_told, status == 500, "{field}: {}", near.text());
    }
}

#[tokio::test]
async fn a_broken_fallback_answers_for_unknown_names() {
    let endpoint = Backend::echo().await;
    let proxy = Proxy::start(&format!(
        "sites:\n  a.test: {{ upstream: \"{}\", plain_http: serve }}\nfallback: 8O80\n",
        endpoint.at()
    ));
    let mut client = proxy.plain().await;
    assert_eq!(client.get("a.test", "/").await.status, 200);
    let page = client.get("unknown.test", "/").await;
    assert_eq!(page.status, 500);
    assert!(page.text().contains("config line 3"), "{}", page.text());
}

/// Whoever is asked for by a name that was written wrongly is told so: the
/// fallback would have got its requests, with all that is secret in them.
#[tokio::test]
async fn a_name_written_wrongly_is_left_to_nobody_else() {
    let endpoint = Backend::echo().await;
    let at = endpoint.at();
    let file = |name: &str| {
        format!(
            "defaults: {{ plain_http: serve }}\nsites:\n  {name}: \"{at}\"\n  \
             \"*.test\": \"{at}\"\nfallback: \"{at}\"\n"
        )
    };
    let proxy = Proxy::commanded(&file("b.test"));
    assert_eq!(proxy.command("POST /v1/reload", "").await.0, 200);
    assert_eq!(
        proxy.command("POST /v1/sites/b.test/pause", "").await.0,
        200
    );
    for name in [
        "https://b.test",
        "b.test:443",
        "b.test/app",
        "\"b.test, c.test\"",
    ] {
        proxy.write(&file(name));
        let (status, told) = proxy.command("POST /v1/reload", "").await;
        assert_eq!(status, 200, "{told}");
        // What was done by hand holds all the while.
        let resumed = proxy.command("POST /v1/sites/b.test/resume", "").await.1;
        assert_eq!(resumed["was"], "paused", "{resumed}");
        let mut client = proxy.plain().await;
        let page = client.get("b.test", "/").await;
        assert_eq!(page.status, 500, "{name}");
        assert!(page.text().contains("config line 3"), "{}", page.text());
        assert_eq!(client.get("a.test", "/").await.status, 200, "{name}");
        assert_eq!(client.get("a.example", "/").await.status, 200, "{name}");
        assert_eq!(
            proxy.command("POST /v1/sites/b.test/pause", "").await.0,
            200
        );
    }
}

/// `status` said that all was served.
#[tokio::test]
async fn a_broken_site_without_a_name_of_its_own_is_told_too() {
    let endpoint = Backend::echo().await;
    let good = format!("sites:\n  a.test: \"{}\"\n", endpoint.at());
    let proxy = Proxy::commanded(&good);
    for (name, line) in [("b..test", 3), ("A.test", 3)] {
        proxy.write(&format!("{good}  {name}: 3000\n"));
        let (status, told) = proxy.command("POST /v1/reload", "").await;
        assert_eq!(status, 200, "{told}");
        for question in ["GET /v1/status", "GET /v1/server"] {
            let (_, told) = proxy.command(question, "").await;
            assert_eq!(told["condition"], "degraded", "{name}: {told}");
        }
        let (_, told) = proxy.command("GET /v1/sites", "").await;
        let sites = told["sites"].as_array().unwrap();
        assert_eq!(sites.len(), 2, "{told}");
        assert_eq!(
            (&sites[0]["name"], &sites[0]["state"]),
            (&json!("a.test"), &json!("open"))
        );
        assert_eq!(
            (&sites[1]["name"], &sites[1]["state"]),
            (&json!(name), &json!("broken"))
        );
        assert_eq!(sites[1]["fault"]["line"], line);
    }
}

/// A site was shown with the certificate of a broken one of its name.
#[tokio::test]
async fn a_second_site_of_a_name_does_not_take_its_certificate() {
    let (own, other) = (
        Certificates::of(&[&["a.test"]]),
        Certificates::of(&[&["b.test"]]),
    );
    let endpoint = Backend::echo().await;
    let site = |name: &str, pair: &Certificates| {
        let (at, folder) = (endpoint.at(), pair.path());
        format!(
            "  {name}: {{ upstream: \"{at}\", certificate: {{ chain: {folder}/0.pem, key: {folder}/0.key }} }}\n"
        )
    };
    let good = format!("sites:\n{}", site("a.test", &own));
    let mut proxy = Proxy::commanded(&good);
    // Nothing else is trusted.
    proxy.trust(&own);
    for second in ["  A.test: 3000\n", &site("A.test", &other)] {
        proxy.write(&format!("{good}{second}"));
        let (status, told) = proxy.command("POST /v1/reload", "").await;
        assert_eq!(status, 200, "{told}");
        assert_eq!(told["degraded"], true, "{told}");
        let page = proxy.tls("a.test").await.get("a.test", "/").await;
        assert_eq!(page.status, 200, "{second}");
    }
}

/// `status` answered with megabytes for as long as the file was refused.
#[tokio::test]
async fn of_many_faults_the_first_hundred_are_kept() {
    let endpoint = Backend::echo().await;
    let good = format!("sites:\n  a.test: \"{}\"\n", endpoint.at());
    let proxy = Proxy::commanded(&good);
    let warned: String = (0..300).map(|n| format!("  w_{n}.test: 3000\n")).collect();
    let faulty: String = (0..300).map(|n| format!("  s{n}.test: 0\n")).collect();
    proxy.write(&format!("{good}{warned}{faulty}log: 1\n"));
    let (status, told) = proxy.command("POST /v1/reload", "").await;
    assert_eq!(status, 422, "{told}");
    let (_, refused) = proxy.command("GET /v1/status", "").await;
    let refused = &refused["refused"];
    assert_eq!(refused["errors"], 301);
    for told in [&told, refused] {
        let faults = told["faults"].as_array().unwrap();
        assert_eq!(faults.len(), 100);
        assert!(faults.iter().all(|fault| fault["severity"] == "error"));
    }
}
