//! Names looked up once, for who wants to know what they lead to and follows
//! none of them.

use std::net::IpAddr;
use std::rc::Rc;

use super::answer::Answer;
use super::names::Names;
use super::{Found, NameService};
use crate::host::HostName;
use crate::upstream::place::{Address, Named};
use crate::upstream::{EndpointSettings, Place};

/// A port that is asked for with a name, and means nothing.
const ANY_PORT: u16 = 443;

/// Who asks. Needs a place where local tasks can be spawned.
pub struct Asking(Rc<Names>);

/// What a name leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Led {
    /// At least one.
    To(Vec<IpAddr>),
    /// There is no such name, or no address behind it.
    Nowhere(String),
    /// Nobody could say.
    Unknown(String),
}

impl Asking {
    pub fn new(service: NameService) -> Self {
        Self(Rc::new(Names::new(service)))
    }

    /// All addresses of a name: `/etc/hosts` first, then the name servers.
    pub async fn addresses(&self, host: &HostName) -> Led {
        let named = Named {
            host: host.clone(),
            port: ANY_PORT,
        };
        let settings = EndpointSettings {
            place: Place::Name(named),
            ..Address::Port(ANY_PORT).into()
        };
        match self.0.answer(&settings).await {
            Answer::Found { found, .. } => Led::To(found.iter().filter_map(ip).collect()),
            Answer::Nothing(why) => Led::Nowhere(why),
            Answer::Failed(why) => Led::Unknown(why),
        }
    }

    /// What an endpoint that is a name comes to now, as a running hostmux
    /// would find it; the error is why there is nothing.
    pub async fn endpoints(&self, settings: &EndpointSettings) -> Result<Vec<Found>, String> {
        match self.0.ask(settings).await {
            Answer::Found { found, .. } => Ok(found),
            Answer::Nothing(why) | Answer::Failed(why) => Err(why),
        }
    }
}

fn ip(found: &Found) -> Option<IpAddr> {
    match found.spot.address {
        Address::Socket(address) => Some(address.ip()),
        Address::Port(_) | Address::Unix(_) => None,
    }
}
