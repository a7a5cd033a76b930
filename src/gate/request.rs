//! What the gate is told about a request.

use std::net::IpAddr;

use crate::model::key::Key;
use crate::model::namespace::Namespace;
use crate::model::team::Team;
use crate::model::time::Time;

/// The facts that a decision rests on.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The moment of the decision.
    pub now: Time,
    /// The client's address, unmapped; behind a trusted proxy the one that it forwards.
    pub address: IpAddr,
    /// Was any credential shown?
    pub credential_shown: bool,
    /// The key that the credential opens.
    pub key: Option<&'a Key>,
    /// The key's tenant.
    pub namespace: Option<&'a Namespace>,
    /// The key's team.
    pub team: Option<&'a Team>,
    /// The calls asked for, in order; none for other methods.
    pub calls: &'a [CallFacts<'a>],
    /// A batch words some reasons differently, also when it holds one call.
    pub in_batch: bool,
}

/// One call.
#[derive(Clone, Copy, Debug)]
pub struct CallFacts<'a> {
    /// Exact tool name.
    pub tool: &'a str,
    /// Raw JSON text of its arguments, if any.
    pub arguments: Option<&'a str>,
}
