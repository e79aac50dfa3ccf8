//! `upstream` as meant: which endpoints there are, how they share the requests,
//! and how long they may take.

use std::time::Duration;

use super::balance::Balance;
use super::eject::Eject;
use super::health::HealthCheck;
use super::protocol::EndpointSettings;

/// How long a refused request waits for a loopback endpoint that is probably restarting.
pub const WAIT_FOR_ENDPOINT: Duration = Duration::from_secs(5);
/// How long an endpoint may take to begin its answer: dev servers compile.
pub const RESPONSE_TIMEOUT: Duration = Duration::from_secs(300);

/// `upstream` as meant.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// At least one, at most [`MEMBERS_MAX`](super::registry::MEMBERS_MAX).
    pub endpoints: Vec<EndpointSettings>,
    /// Default [`Balance::RoundRobin`].
    pub balance: Balance,
    /// `sticky: cookie`. Default: off.
    pub sticky: bool,
    /// Default `None`: nobody is asked.
    pub health_check: Option<HealthCheck>,
    /// Default: on, as [`Eject::default`]; `None`: off.
    pub eject: Option<Eject>,
    /// Requests under way at one endpoint, at least 1; more wait, for as long as
    /// [`Self::wait_for_endpoint`] says. Default `None`: no bound.
    pub max_connections: Option<usize>,
    /// With the handshake, over TLS. Default [`ConnectTimeout::ByDistance`].
    pub connect_timeout: ConnectTimeout,
    /// From the last byte of the request to the head of the answer. Default
    /// [`RESPONSE_TIMEOUT`].
    pub response_timeout: Duration,
    /// For how long a request waits for an endpoint. Default
    /// [`WAIT_FOR_ENDPOINT`]; zero: fail at once.
    pub wait_for_endpoint: Duration,
}

impl Settings {
    /// These endpoints, and the default for all else.
    pub fn of(endpoints: Vec<EndpointSettings>) -> Self {
        Self {
            endpoints,
            balance: Balance::default(),
            sticky: false,
            health_check: None,
            eject: Some(Eject::default()),
            max_connections: None,
            connect_timeout: ConnectTimeout::default(),
            response_timeout: RESPONSE_TIMEOUT,
            wait_for_endpoint: WAIT_FOR_ENDPOINT,
        }
    }
}

/// How long a connect to an endpoint may take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ConnectTimeout {
    /// 1 s on this machine, 3 s elsewhere.
    #[default]
    ByDistance,
    Of(Duration),
}
