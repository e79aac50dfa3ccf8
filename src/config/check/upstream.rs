//! `upstream`: the endpoints behind a site, which of them are asked, and how
//! long they may take.

use super::endpoints::ENDPOINT;
use super::{Check, value, words};
use crate::config::file::{self, Shape, Value};
use crate::diagnostic::{Diagnostic, Path, Place};
use crate::tls::AuthoritySettings;
use crate::upstream::balance::Balance;
use crate::upstream::place::Place as Written;
use crate::upstream::protocol::EndpointName;
use crate::upstream::{
    Address, ConnectTimeout, EndpointSettings, ProtocolSettings, RESPONSE_TIMEOUT, Settings,
    TlsSettings, WAIT_FOR_ENDPOINT,
};

const TLS: &str = "`{ ca: FILE, name: NAME }`, or one of the two";

impl Check<'_> {
    /// An upstream in any form.
    pub(super) fn upstream(
        &mut self,
        written: &Shape<file::Upstream>,
        at: &Path,
    ) -> Option<Settings> {
        let written = match written {
            Shape::Mapping(written) => written,
            Shape::Other(value) => {
                let endpoints = self.endpoints(value, at, ENDPOINT, None)?;
                return Some(Settings::of(endpoints));
            }
        };
        self.keys(&written.unknown, at, words::UPSTREAM, "`upstream`");
        let tls_at = at.key("tls");
        let tls = self.tls(&written.tls, &tls_at);
        let endpoints = if written.endpoints == Value::Absent {
            if self.whole && written.unknown.0.is_empty() {
                self.add(
                    Diagnostic::error(Place::Key(at.clone()), "an upstream has no `endpoints`")
                        .label("nothing to send requests to")
                        .help("add `endpoints: [8080]` with the ports that answer"),
                );
            }
            None
        } else {
            let of_all = tls.as_ref().and_then(Option::as_ref);
            self.endpoints(&written.endpoints, &at.key("endpoints"), ENDPOINT, of_all)
        };
        let secured = |endpoint: &EndpointSettings| is_secured(&endpoint.protocol);
        if let (Some(Some(_)), Some(endpoints)) = (&tls, &endpoints)
            && !endpoints.iter().any(secured)
        {
            self.add(not_secured(&tls_at, endpoints.first()));
        }
        tls?;
        let balance = self.choice(
            &written.balance,
            &at.key("balance"),
            &Balance::ALL.map(|balance| (balance.as_str(), balance)),
        );
        let sticky = self.sticky(&written.sticky, &at.key("sticky"));
        let health_check = self.health_check(&written.health_check, &at.key("health_check"));
        let eject = self.eject(&written.eject, &at.key("eject"));
        let most = self.max_connections(&written.max_connections, &at.key("max_connections"));
        let wait = self.duration(&written.wait_for_endpoint, &at.key("wait_for_endpoint"));
        let connect = self.bound(&written.connect_timeout, &at.key("connect_timeout"));
        let response = self.bound(&written.response_timeout, &at.key("response_timeout"));
        Some(Settings {
            endpoints: endpoints?,
            balance: balance?.unwrap_or_default(),
            sticky: sticky?,
            health_check: health_check?,
            eject: eject?,
            max_connections: most?,
            connect_timeout: connect?.map_or_else(ConnectTimeout::default, ConnectTimeout::Of),
            response_timeout: response?.unwrap_or(RESPONSE_TIMEOUT),
            wait_for_endpoint: wait?.unwrap_or(WAIT_FOR_ENDPOINT),
        })
    }

    fn sticky(&mut self, value: &Value, at: &Path) -> Option<bool> {
        const BY_ADDRESS: &[&str] = &["client", "client_hash", "client_ip", "ip", "source"];
        if value::is_off(value) {
            return Some(false);
        }
        if let Value::Text(text) = value
            && BY_ADDRESS.contains(&text.as_str())
        {
            self.add(
                words::not_a_value(text, at, &["cookie", "off"], None)
                    .help("by its address a client keeps its endpoint with `balance: client_hash`"),
            );
            return None;
        }
        let choices = [("cookie", true), ("off", false)];
        Some(self.choice(value, at, &choices)?.unwrap_or(false))
    }

    fn max_connections(&mut self, value: &Value, at: &Path) -> Option<Option<usize>> {
        if value::is_off(value) {
            return Some(None);
        }
        if *value == Value::Number("0".to_owned()) {
            self.add(
                Diagnostic::error(
                    Place::Value(at.clone()),
                    "a `max_connections` of zero lets nothing through",
                )
                .label("at least 1")
                .help("`off` is no bound; a `weight` of 0 keeps requests from one endpoint"),
            );
            return None;
        }
        let most = self.count(value, at)?;
        Some(most.and_then(|most| usize::try_from(most).ok()))
    }

    /// `tls`: whom to trust, and whom to expect.
    pub(super) fn tls(&mut self, written: &Value, at: &Path) -> Option<Option<TlsSettings>> {
        let entries = match written {
            Value::Absent => return Some(None),
            Value::Mapping(entries) => entries,
            Value::Null => {
                self.no_value(at, TLS);
                return None;
            }
            Value::Switch(_) | Value::Number(_) | Value::Text(_) => {
                self.wrong_kind(at, TLS, "a single value");
                return None;
            }
            Value::List(_) => {
                self.wrong_kind(at, TLS, "a list");
                return None;
            }
        };
        let (mut tls, mut right) = (TlsSettings::default(), true);
        for (key, value) in entries {
            let at = at.key(key);
            match key.as_str() {
                "ca" => {
                    let ca = self.path(value, &at, "a PEM file");
                    right &= ca.is_some();
                    tls.ca = ca.flatten();
                    if tls.ca.is_some() {
                        let ca = tls.ca.clone();
                        self.authorities.push(AuthoritySettings { at, ca });
                    }
                }
                "name" => {
                    let name = self.endpoint_name(value, &at);
                    right &= name.is_some();
                    tls.name = name;
                }
                _ => {
                    right = false;
                    self.unknown_key(key, &at, words::TLS, "`tls`");
                }
            }
        }
        right.then_some(Some(tls))
    }

    fn endpoint_name(&mut self, value: &Value, at: &Path) -> Option<EndpointName> {
        let text = self.text(value, at, "a name such as `app.internal`")??;
        let name = EndpointName::parse(&text);
        if name.is_none() {
            self.add(
                Diagnostic::error(
                    Place::Value(at.clone()),
                    format!("`{text}` is not a name that a certificate can be for"),
                )
                .label("neither a host name nor an address")
                .help("write a name such as `app.internal`, without scheme and port"),
            );
        }
        name
    }

    /// An endpoint without a CA of its own needs the system's.
    pub(super) fn trusts(&mut self, tls: &TlsSettings, at: &Path) {
        if tls.ca.is_none() {
            let at = at.clone();
            self.authorities.push(AuthoritySettings { at, ca: None });
        }
    }
}

fn is_secured(protocol: &ProtocolSettings) -> bool {
    match protocol {
        ProtocolSettings::Tls(_) => true,
        ProtocolSettings::Http1 | ProtocolSettings::H2c => false,
    }
}

/// `tls` where nothing is encrypted.
pub(super) fn not_secured(at: &Path, endpoint: Option<&EndpointSettings>) -> Diagnostic {
    let fault = Diagnostic::error(
        Place::Key(at.clone()),
        "`tls` is for endpoints that speak TLS",
    )
    .label("no `https://` endpoint here");
    match endpoint.map(|endpoint| &endpoint.place) {
        Some(Written::At(Address::Unix(_))) | None => fault,
        Some(Written::Service(service)) => {
            fault.help(format!("write `srv+https://{service}` if it does"))
        }
        Some(place @ (Written::At(_) | Written::Name(_))) => {
            fault.help(format!("write `https://{place}` if it does"))
        }
    }
}
