//! A site: names, and the routes behind them.

pub mod gate;

use std::borrow::Cow;
use std::sync::Arc;

use http::HeaderValue;

use self::gate::Gate;
use crate::config::{HostHeader, PlainHttp, Redirect};
use crate::path::spelling::{self, Ambiguous};
use crate::path::{self, PathPrefix};
use crate::upstream::Upstream;

/// A running site.
#[derive(Debug)]
pub struct Site {
    /// As written in `sites.yaml`; the one spelling in pages, logs and metrics.
    pub name: Arc<str>,
    /// The line of `sites.yaml` it stands at, from 1.
    pub line: usize,
    /// In the order of their prefixes, the longest first; none where it is broken.
    pub routes: Vec<Route>,
    /// Why it is not served as it is written.
    pub broken: Option<Broken>,
    /// Whether requests come in; the same in every snapshot that has the site.
    pub gate: Arc<Gate>,
}

/// What is wrong with a site that has a fault in `sites.yaml`.
#[derive(Debug)]
pub struct Broken {
    /// From 1.
    pub line: usize,
    pub message: String,
    /// The site as it was last served: what is known of its endpoints holds
    /// once it is mended.
    pub was: Option<Arc<Site>>,
}

/// A running route: a part of a site's paths, and what it leads to.
#[derive(Debug)]
pub struct Route {
    pub prefix: PathPrefix,
    pub target: Target,
    /// The endpoint does not see the prefix.
    pub strip_prefix: bool,
    pub host: HostHeader,
    pub plain_http: PlainHttp,
    /// `Strict-Transport-Security`, ready to be sent.
    pub hsts: Option<HeaderValue>,
    /// Bytes; `None`: no bound.
    pub max_body: Option<u64>,
}

/// What a route leads to.
#[derive(Debug)]
pub enum Target {
    Upstream(Arc<Upstream>),
    Redirect(Redirect),
}

impl Site {
    /// The route of a path, the longest prefix that holds it, and the path as
    /// the endpoint is to see it; `None`: no route holds it.
    pub fn find<'p>(&self, path: &'p str) -> Result<Option<(&Route, Cow<'p, str>)>, Ambiguous> {
        if let [only] = self.routes.as_slice()
            && only.prefix.is_root()
        {
            return Ok(Some((only, path.into())));
        }
        let longest = |path: &str| path::longest(&self.routes, |route| &route.prefix, path);
        let (found, path) = spelling::resolve(path, longest)?;
        Ok(found.map(|found| {
            let route = &self.routes[found];
            (route, route.shown(path))
        }))
    }

    /// The upstreams of its routes; one that several have comes several times.
    pub fn upstreams(&self) -> impl Iterator<Item = &Arc<Upstream>> {
        self.routes.iter().filter_map(Route::upstream)
    }
}

impl Route {
    /// The path that an endpoint sees.
    fn shown<'p>(&self, path: Cow<'p, str>) -> Cow<'p, str> {
        match path {
            path if !self.strip_prefix => path,
            Cow::Borrowed(path) => self.prefix.strip(path),
            Cow::Owned(path) => self.prefix.strip(&path).into_owned().into(),
        }
    }

    pub fn upstream(&self) -> Option<&Arc<Upstream>> {
        match &self.target {
            Target::Upstream(upstream) => Some(upstream),
            Target::Redirect(_) => None,
        }
    }
}
