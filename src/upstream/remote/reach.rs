//! Which addresses a client may connect to. A name is judged by what it resolves to, at each
//! connection: whoever changes a name's address between two looks gains nothing.

use std::fmt;
use std::future::{Future, ready};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::{GaiResolver, Name};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower::{BoxError, Service};

use crate::model::address::is_public;

/// Which addresses a client may connect to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// All.
    Anywhere,
    /// Those of the public internet.
    Public,
}

/// A name or an address that is out of reach.
#[derive(Debug)]
pub(super) struct OutOfReach {
    host: String,
    address: IpAddr,
}

impl fmt::Display for OutOfReach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, address } = self;
        if *host == address.to_string() {
            return write!(f, "{address} is a private or local address");
        }
        write!(f, "{host} is at {address}, a private or local address")
    }
}

impl std::error::Error for OutOfReach {}

/// Looks names up and leaves out what is out of reach.
#[derive(Clone, Debug)]
pub(super) struct Lookup {
    resolver: GaiResolver,
    reach: Reach,
}

impl Lookup {
    pub(super) fn new(reach: Reach) -> Self {
        Self { resolver: GaiResolver::new(), reach }
    }
}

type Found = Pin<Box<dyn Future<Output = Result<std::vec::IntoIter<SocketAddr>, BoxError>> + Send>>;

impl Service<Name> for Lookup {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = BoxError;
    type Future = Found;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.resolver.poll_ready(context).map_err(BoxError::from)
    }

    fn call(&mut self, name: Name) -> Found {
        let (host, reach) = (name.as_str().to_owned(), self.reach);
        let looking = self.resolver.call(name);
        Box::pin(async move { within(reach, &host, looking.await?.collect()) })
    }
}

/// What of a name's addresses is within reach; an error if all of them are not.
fn within(
    reach: Reach,
    host: &str,
    found: Vec<SocketAddr>,
) -> Result<std::vec::IntoIter<SocketAddr>, BoxError> {
    let is_within = |address: &SocketAddr| reach == Reach::Anywhere || is_public(address.ip());
    let first = found.first().map(SocketAddr::ip);
    let reached: Vec<SocketAddr> = found.into_iter().filter(is_within).collect();
    match first {
        Some(address) if reached.is_empty() => {
            Err(OutOfReach { host: host.to_owned(), address }.into())
        }
        Some(_) => Ok(reached.into_iter()),
        None => Err(io::Error::other("the name has no address").into()),
    }
}

/// Connects, but not to an address in a URL that is out of reach: such a one is not looked up.
#[derive(Clone, Debug)]
pub(super) struct Door {
    pub(super) tcp: HttpConnector<Lookup>,
    pub(super) reach: Reach,
}

type Opening = Pin<Box<dyn Future<Output = Result<TokioIo<TcpStream>, BoxError>> + Send>>;

impl Service<Uri> for Door {
    type Response = TokioIo<TcpStream>;
    type Error = BoxError;
    type Future = Opening;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.tcp.poll_ready(context).map_err(BoxError::from)
    }

    fn call(&mut self, url: Uri) -> Opening {
        let host = url.host().unwrap_or_default();
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        if let Ok(address) = bare.parse::<IpAddr>()
            && self.reach == Reach::Public
            && !is_public(address)
        {
            let refused = OutOfReach { host: bare.to_owned(), address };
            return Box::pin(ready(Err(refused.into())));
        }
        let opening = self.tcp.call(url);
        Box::pin(async move { opening.await.map_err(BoxError::from) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_judged_by_each_of_its_addresses() {
        let at = |text: &str| SocketAddr::new(text.parse().unwrap(), 443);
        let found = || vec![at("127.0.0.1"), at("93.184.216.34"), at("fd00::1")];
        let reached: Vec<_> = within(Reach::Public, "mixed.example", found()).unwrap().collect();
        assert_eq!(reached, [at("93.184.216.34")]);
        assert_eq!(within(Reach::Anywhere, "mixed.example", found()).unwrap().count(), 3);
        let refused = within(Reach::Public, "rebound.example", vec![at("169.254.169.254")]);
        assert_eq!(
            refused.unwrap_err().to_string(),
            "rebound.example is at 169.254.169.254, a private or local address"
        );
        assert!(within(Reach::Public, "none.example", Vec::new()).is_err());
    }
}
