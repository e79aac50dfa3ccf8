//! A site: names, and what stands behind them.

use std::sync::Arc;

use http::HeaderValue;

use crate::config::{HostHeader, PlainHttp, Redirect};
use crate::upstream::Upstream;

/// A running site.
#[derive(Debug)]
pub struct Site {
    /// As written in `sites.yaml`; the one spelling in pages, logs and metrics.
    pub name: Arc<str>,
    /// The line of `sites.yaml` it stands at, from 1.
    pub line: usize,
    pub target: Target,
    pub host: HostHeader,
    pub plain_http: PlainHttp,
    /// `Strict-Transport-Security`, ready to be sent.
    pub hsts: Option<HeaderValue>,
    /// Bytes; `None`: no bound.
    pub max_body: Option<u64>,
}

/// What a site leads to.
#[derive(Debug)]
pub enum Target {
    Upstream(Arc<Upstream>),
    Redirect(Redirect),
}

impl Site {
    pub fn upstream(&self) -> Option<&Arc<Upstream>> {
        match &self.target {
            Target::Upstream(upstream) => Some(upstream),
            Target::Redirect(_) => None,
        }
    }
}
