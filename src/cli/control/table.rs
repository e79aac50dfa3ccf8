//! What runs, as an aligned table.

use serde_json::Value;

use super::told::{array, number, text};

/// The space between two columns.
const GAP: usize = 2;

/// Rows under a head, each column as wide as its widest cell.
pub(super) fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or_default()
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(cell);
            line.extend(std::iter::repeat_n(' ', width + GAP - cell.chars().count()));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn row(cells: &[&str]) -> Vec<String> {
    cells.iter().map(ToString::to_string).collect()
}

/// `a.test`, `a.test/api`
fn place(site: &Value, route: &Value) -> String {
    let prefix = match text(route, "prefix") {
        "/" => "",
        prefix => prefix,
    };
    format!("{}{prefix}", text(site, "name"))
}

/// Sites and their endpoints.
pub(super) fn list(told: &Value) -> String {
    let mut rows = vec![row(&["SITE", "STATE", "ENDPOINTS"])];
    for site in array(told, "sites") {
        if text(site, "state") == "broken" {
            rows.push(row(&[text(site, "name"), "broken", &fault(site)]));
        }
        for route in array(site, "routes") {
            let names: Vec<&str> = array(route, "endpoints")
                .iter()
                .filter_map(Value::as_str)
                .collect();
            let leads_to = match text(route, "redirect") {
                "" if names.is_empty() => "none".to_owned(),
                "" => names.join(" "),
                redirect => format!("redirect to {redirect}"),
            };
            rows.push(vec![
                place(site, route),
                text(site, "state").to_owned(),
                leads_to,
            ]);
        }
    }
    aligned(&rows)
}

/// All there is to know.
pub(super) fn status(told: &Value) -> String {
    let mut out = format!(
        "hostmux {}, process {}, since {}, {}\n\n",
        text(told, "version"),
        number(told, "pid"),
        text(told, "started"),
        text(told, "config"),
    );
    if let Some(refused) = told.get("refused").filter(|refused| !refused.is_null()) {
        out.push_str(&degraded(refused, text(told, "config")));
    }
    out.push_str(&without(array(told, "sites"), text(told, "config")));
    if let Some(failed) = told
        .get("upgrade_failed")
        .filter(|failed| !failed.is_null())
    {
        let (at, why) = (text(failed, "at"), text(failed, "why"));
        out.push_str(&format!("the upgrade of {at} failed: {why}\n\n"));
    }
    let mut rows = vec![row(&[
        "SITE",
        "STATE",
        "ENDPOINT",
        "CONDITION",
        "WEIGHT",
        "UNDER WAY",
        "FROM",
        "NOTE",
    ])];
    for site in array(told, "sites") {
        if text(site, "state") == "broken" {
            rows.push(row(&[text(site, "name"), "broken", &fault(site)]));
        }
        for route in array(site, "routes") {
            let place = place(site, route);
            rows.extend(of_route(&place, site, route));
        }
    }
    out.push_str(&aligned(&rows));
    let by_hand = by_hand(told);
    if !by_hand.is_empty() {
        out.push_str(&format!("\n{by_hand}"));
    }
    out
}

/// What was changed while it runs; empty if nothing was.
pub(super) fn by_hand(told: &Value) -> String {
    let changes = array(told, "runtime_changes");
    let mut out = String::new();
    if !changes.is_empty() {
        out.push_str("changed while it runs, and not in sites.yaml:\n");
        for change in changes {
            out.push_str(&format!("  {}\n", changed(change)));
        }
    }
    out
}

/// A file that was refused, while what ran before it runs on.
fn degraded(refused: &Value, file: &str) -> String {
    let line = match number(refused, "line") {
        0 => String::new(),
        line => format!("line {line}: "),
    };
    format!(
        "degraded: the file was refused at {}, and {} runs on\n  {line}{}\n  \
         `hostmux check {file}` shows every fault\n\n",
        text(refused, "at"),
        text(refused, "instead"),
        text(refused, "message"),
    )
}

/// That sites are broken, which the table names.
fn without(sites: &[Value], file: &str) -> String {
    let broken = sites.iter().filter(|site| text(site, "state") == "broken");
    match broken.count() {
        0 => String::new(),
        broken => format!(
            "degraded: {broken} of {} sites not served as written; `hostmux check {file}` shows every fault\n\n",
            sites.len()
        ),
    }
}

/// `config line 14: 80800 is not a port`
fn fault(site: &Value) -> String {
    let fault = site.get("fault").unwrap_or(&Value::Null);
    let (line, message) = (number(fault, "line"), text(fault, "message"));
    format!("config line {line}: {message}")
}

/// A site's state, with who waits or what visitors are told.
fn state_of(site: &Value) -> String {
    let state = text(site, "state");
    match (number(site, "waiting"), text(site, "message")) {
        (0, "") => state.to_owned(),
        (0, message) => format!("{state}: {message}"),
        (waiting, _) => format!("{state} ({waiting} wait)"),
    }
}

fn of_route(place: &str, site: &Value, route: &Value) -> Vec<Vec<String>> {
    let state = state_of(site);
    let redirect = text(route, "redirect");
    if !redirect.is_empty() {
        return vec![vec![
            place.to_owned(),
            state,
            format!("redirect to {redirect}"),
        ]];
    }
    let mut rows = Vec::new();
    for endpoint in array(route, "endpoints") {
        let backup = endpoint.get("backup").and_then(Value::as_bool);
        let note = match (backup, text(endpoint, "why")) {
            (Some(true), "") => "backup".to_owned(),
            (Some(true), why) => format!("backup; {why}"),
            (_, why) => why.to_owned(),
        };
        rows.push(vec![
            place.to_owned(),
            state.clone(),
            text(endpoint, "endpoint").to_owned(),
            text(endpoint, "state").to_owned(),
            number(endpoint, "weight").to_string(),
            number(endpoint, "in_flight").to_string(),
            text(endpoint, "origin").to_owned(),
            note,
        ]);
    }
    for gone in array(route, "leaving") {
        rows.push(vec![
            place.to_owned(),
            state.clone(),
            text(gone, "endpoint").to_owned(),
            "leaving".to_owned(),
            String::new(),
            number(gone, "in_flight").to_string(),
        ]);
    }
    if rows.is_empty() {
        rows.push(vec![place.to_owned(), state, "none".to_owned()]);
    }
    rows
}

fn changed(change: &Value) -> String {
    let (endpoint, upstream) = (text(change, "endpoint"), text(change, "upstream"));
    match text(change, "change") {
        "added" => format!("{endpoint} added to {upstream}"),
        "removed" => format!("{endpoint} removed from {upstream}"),
        gate @ ("paused" | "stopped") => format!("{} is {gate}", text(change, "site")),
        "draining" => format!("{endpoint} of {upstream} drains"),
        "weight" => format!(
            "weight of {endpoint} of {upstream}: {} instead of {}",
            number(change, "now"),
            number(change, "was")
        ),
        other => format!("{other}: {endpoint} of {upstream}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_below_each_other() {
        let rows = [
            row(&["SITE", "ENDPOINT"]),
            row(&["bücher.test", "x"]),
            row(&["a", ""]),
        ];
        assert_eq!(aligned(&rows), "SITE         ENDPOINT\nbücher.test  x\na\n");
    }

    /// The word stood in the object for programs alone.
    #[test]
    fn a_status_says_degraded_while_a_site_is_broken() {
        let told = serde_json::json!({
            "version": "1", "pid": 7, "started": "now", "config": "/sites.yaml",
            "sites": [
                { "name": "a.test", "state": "broken", "routes": [],
                  "fault": { "line": 3, "message": "0 is not a port" } },
                { "name": "b.test", "state": "open", "routes": [] },
            ],
        });
        assert_eq!(
            status(&told),
            "hostmux 1, process 7, since now, /sites.yaml\n\n\
             degraded: 1 of 2 sites not served as written; `hostmux check /sites.yaml` shows every fault\n\n\
             SITE    STATE   ENDPOINT                        CONDITION  WEIGHT  UNDER WAY  FROM  NOTE\n\
             a.test  broken  config line 3: 0 is not a port\n"
        );
    }

    #[test]
    fn a_status_is_told_by_endpoint() {
        let told = serde_json::json!({
            "version": "1", "pid": 7, "started": "now", "config": "/sites.yaml",
            "runtime_changes": [{ "upstream": "a.test", "endpoint": "localhost:2", "change": "added" }],
            "sites": [{ "name": "a.test", "state": "paused", "waiting": 2, "routes": [
                { "prefix": "/", "endpoints": [
                    { "endpoint": "localhost:1", "state": "down", "why": "refused", "weight": 1, "in_flight": 0, "origin": "file" },
                ], "leaving": [{ "endpoint": "localhost:3", "in_flight": 4 }] },
                { "prefix": "/old", "redirect": "https://b.test/" },
            ] }],
        });
        assert_eq!(
            status(&told),
            "hostmux 1, process 7, since now, /sites.yaml\n\n\
             SITE        STATE            ENDPOINT                     CONDITION  WEIGHT  UNDER WAY  FROM  NOTE\n\
             a.test      paused (2 wait)  localhost:1                  down       1       0          file  refused\n\
             a.test      paused (2 wait)  localhost:3                  leaving            4\n\
             a.test/old  paused (2 wait)  redirect to https://b.test/\n\n\
             changed while it runs, and not in sites.yaml:\n  localhost:2 added to a.test\n"
        );
    }
}
