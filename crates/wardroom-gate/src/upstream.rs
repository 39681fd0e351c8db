//! Looking names up outside, by the host's resolvers: once a name is dialled, and never before.
//!
//! Answers live as long as their TTL says and no longer; what the host's `/etc/hosts` says holds. The resolver is made at
//! the first lookup, and again when `/etc/resolv.conf` changes.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::SystemTime;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use tokio::time::Instant;
use wardroom_model::{HostName, Reason};

use crate::limits::Limits;

/// Which resolvers are asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Resolvers {
    /// Those that the host is configured with.
    #[default]
    Host,
    /// These, over UDP and TCP.
    Given(Vec<SocketAddr>),
}

/// Answers kept at once. An agent's names are some hundred (see [`crate::synthetic::NAMES`] for the bound on them).
const CACHED: u64 = 256;
/// Names remembered as looked up before; beyond it, a name counts as new again.
const KNOWN: usize = 4_096;
/// Addresses of one name that are looked at.
const ADDRESSES: usize = 32;
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// The door to the resolvers.
#[derive(Debug)]
pub(crate) struct Upstream {
    resolvers: Resolvers,
    made: RefCell<Option<TokioResolver>>,
    made_from: Cell<Option<SystemTime>>,
    known: RefCell<BTreeSet<HostName>>,
}

impl Upstream {
    pub(crate) fn new(resolvers: Resolvers) -> Self {
        Self { resolvers, made: RefCell::default(), made_from: Cell::default(), known: RefCell::default() }
    }

    /// The addresses of a name, all of them, in the order in which they came.
    pub(crate) async fn addresses(&self, host: &HostName, limits: &Limits) -> Result<Vec<IpAddr>, Reason> {
        self.admit(host, limits)?;
        let resolver = self.resolver().map_err(Reason::Unresolved)?;
        // The trailing dot: no search list is tried.
        let answer = resolver.lookup_ip(format!("{host}.")).await;
        let answer = answer.map_err(|error| Reason::Unresolved(error.to_string()))?;
        let addresses: Vec<IpAddr> = answer.iter().take(ADDRESSES).collect();
        if addresses.is_empty() {
            return Err(Reason::Unresolved("the name has no address".to_owned()));
        }
        Ok(addresses)
    }

    fn admit(&self, host: &HostName, limits: &Limits) -> Result<(), Reason> {
        let mut known = self.known.borrow_mut();
        if known.contains(host) {
            return Ok(());
        }
        limits.new_name(Instant::now()).map_err(|reached| Reason::LimitReached(reached.to_string()))?;
        if known.len() >= KNOWN {
            known.clear();
        }
        known.insert(host.clone());
        Ok(())
    }

    fn resolver(&self) -> Result<TokioResolver, String> {
        let changed = match &self.resolvers {
            Resolvers::Host => std::fs::metadata(RESOLV_CONF).and_then(|m| m.modified()).ok(),
            Resolvers::Given(_) => None,
        };
        if let Some(resolver) = self.made.borrow().as_ref().filter(|_| changed == self.made_from.get()) {
            return Ok(resolver.clone());
        }
        let resolver = match (make(&self.resolvers), self.made.borrow().as_ref()) {
            (Ok(resolver), _) => resolver,
            // Half-written or replaced by a file that Landlock does not let us read: the old one serves on.
            (Err(_), Some(old)) => old.clone(),
            (Err(why), None) => return Err(why),
        };
        self.made_from.set(changed);
        *self.made.borrow_mut() = Some(resolver.clone());
        Ok(resolver)
    }
}

fn make(resolvers: &Resolvers) -> Result<TokioResolver, String> {
    let mut builder = match resolvers {
        Resolvers::Host => TokioResolver::builder_tokio().map_err(|e| e.to_string())?,
        Resolvers::Given(servers) => {
            let servers = servers.iter().map(server).collect();
            let config = ResolverConfig::from_parts(None, Vec::new(), servers);
            let builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
            builder.with_options(ResolverOpts::default())
        }
    };
    let options = builder.options_mut();
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    options.cache_size = CACHED;
    builder.build().map_err(|e| e.to_string())
}

fn server(address: &SocketAddr) -> NameServerConfig {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = address.port();
        connection
    });
    NameServerConfig::new(address.ip(), true, connections.to_vec())
}
