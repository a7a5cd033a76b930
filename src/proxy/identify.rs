//! Who asks: from a credential to a key and its namespace.

use std::net::IpAddr;
use std::sync::Arc;

use super::connection::Connection;
use super::ear::Hearing;
use super::exchange::Exchange;
use super::in_flight::{Name, Whose};
use super::session::{Owner, Session};
use super::stream::Outlet;
use super::{Inbound, Proxy, Shown};
use crate::gate::{self, CallFacts, Denied, Request};
use crate::model::idempotency::IdempotencyKey;
use crate::model::ids::KeyId;
use crate::model::key::Key;
use crate::model::namespace::Namespace;
use crate::model::secret::{Digest, RawKey};
use crate::model::team::Team;
use crate::model::time::Time;
use crate::store::{Judged, Show, StoreError, StoredCaller, clock};

/// What the transport knows about a sender.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sender {
    address: IpAddr,
    credential_shown: bool,
    digest: Option<Digest>,
}

/// Who sent a body, and what goes on because of it.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    sender: Sender,
    session: Option<Arc<Session>>,
    pub(super) exchange: Exchange,
    /// The connection that its requests go over.
    pub(super) connection: Connection,
    /// Where what is heard about its request goes.
    pub(super) outlet: Option<Outlet>,
    /// Whose end cancels its request; none in the legacy era, where leaving cancels nothing.
    pub(super) leaves: Option<Outlet>,
    pub(super) idempotency_key: Option<IdempotencyKey>,
    /// May its `initialize` open a session? In an array of messages there is no place to say which.
    pub(super) may_open_session: bool,
}

/// A caller and what the store knew about it at one moment.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    pub(super) now: Time,
    pub(super) key: Option<Arc<Key>>,
    namespace: Option<Arc<Namespace>>,
    team: Option<Arc<Team>>,
    address: IpAddr,
    credential_shown: bool,
}

impl Sender {
    pub(super) fn of(inbound: &Inbound) -> Self {
        let credential = inbound.credential.as_deref().filter(|credential| !credential.is_empty());
        Self {
            address: inbound.address,
            credential_shown: credential.is_some(),
            digest: credential.and_then(RawKey::parse).map(|raw| raw.digest()),
        }
    }
}

impl Caller {
    pub(super) fn new(
        inbound: &Inbound,
        exchange: Exchange,
        connection: Connection,
        session: Option<Arc<Session>>,
        outlet: Option<Outlet>,
    ) -> Self {
        let sender = Sender::of(inbound);
        let idempotency_key = inbound.idempotency_key.clone();
        Self {
            sender,
            session,
            exchange,
            connection,
            outlet,
            leaves: None,
            idempotency_key,
            may_open_session: true,
        }
    }

    pub(super) const fn address(&self) -> IpAddr {
        self.sender.address
    }

    /// Whom what it takes up is counted for: its key, if that may be used, else where it comes from.
    pub(super) fn owner(&self, identity: &Identity) -> Owner {
        let key = identity.entitled_key_id().cloned();
        key.map_or_else(|| Owner::Address(self.address()), Owner::Key)
    }

    /// The session that the body is part of.
    pub(super) const fn session(&self) -> Option<&Arc<Session>> {
        self.session.as_ref()
    }

    /// The session, if it has a server to itself.
    pub(super) fn session_with_server(&self) -> Option<&Arc<Session>> {
        self.session().filter(|session| session.has_own_server())
    }

    /// Is it of the modern era?
    pub(super) const fn is_modern(&self) -> bool {
        self.leaves.is_some()
    }

    /// Waits until the client has left, if that cancels its request.
    pub(super) async fn left(&self) {
        match &self.leaves {
            Some(outlet) => outlet.left().await,
            None => std::future::pending().await,
        }
    }

    /// The name of a request of this caller among all in flight. None in the modern era, where
    /// nothing is cancelled by a message.
    pub(super) fn name(&self, identity: &Identity, raw_id: &str) -> Option<Name> {
        if self.is_modern() {
            return None;
        }
        let whose = match &self.session {
            Some(session) => Whose::Session(session.id()),
            None => Whose::Key(identity.usable_key_id()?.clone()),
        };
        Name::new(whose, raw_id)
    }

    /// Listens for what is said about a call with our id, if anybody wants to hear it. `token` is
    /// the client's progress token.
    pub(super) fn listen(&self, id: u64, token: Option<&str>) -> Option<Hearing> {
        let outlet = self.outlet.as_ref()?;
        Some(self.connection.ear.listen(id, outlet, token))
    }
}

impl Proxy {
    /// Looks up who calls, as of now.
    pub(super) async fn identify(&self, caller: &Caller) -> Result<Identity, StoreError> {
        self.identity_of(&caller.sender).await
    }

    /// May somebody who was refused be let in by what the records say now?
    pub(super) async fn was_judged_by_old_copies(&self, identity: &Identity) -> bool {
        let Some((key, tenant)) = identity.key.as_ref().zip(identity.namespace.as_ref()) else {
            return false;
        };
        // Where nobody can look, the refusal stands.
        self.store.are_old(key, tenant).await.unwrap_or(false)
    }

    /// The same before anything goes on because of it.
    pub(super) async fn identity_of(&self, sender: &Sender) -> Result<Identity, StoreError> {
        let now = clock::now();
        let known = match sender.digest {
            Some(digest) => self.store.caller(digest, now).await?,
            None => None,
        };
        let (address, credential_shown) = (sender.address, sender.credential_shown);
        let (key, namespace, team) = match known {
            Some(StoredCaller { key, namespace, team }) => (Some(key), Some(namespace), team),
            None => (None, None, None),
        };
        Ok(Identity { now, key, namespace, team, address, credential_shown })
    }

    /// The numbers to show for a key, if it may be shown any.
    pub(super) async fn shown(&self, identity: &Identity) -> Shown {
        let rate = self.options.policy.shown_rate(None);
        let show = rate.map_or(Show::BALANCE, |(limit, rate)| Show::with_rate(limit, rate));
        self.numbers(identity, show).await
    }

    /// The same with the numbers of one tool or method.
    pub(super) async fn numbers(&self, identity: &Identity, show: Show) -> Shown {
        let Some(key) = identity.entitled_key() else { return Shown::default() };
        let reading = self.store.read(&key.id, show, identity.now).await;
        Shown { reading: reading.ok(), ..Shown::default() }
    }
}

impl Identity {
    /// Nobody in particular: what a free method goes on with while the store is down.
    pub(super) fn nobody(caller: &Caller) -> Self {
        let Sender { address, credential_shown, .. } = caller.sender;
        let (key, namespace, team) = (None, None, None);
        Self { now: clock::now(), key, namespace, team, address, credential_shown }
    }

    /// The facts for the gate.
    pub(super) fn request<'a>(&'a self, calls: &'a [CallFacts<'a>], in_batch: bool) -> Request<'a> {
        Request {
            now: self.now,
            address: self.address,
            credential_shown: self.credential_shown,
            key: self.key.as_deref(),
            namespace: self.namespace.as_deref(),
            team: self.team.as_deref(),
            calls,
            in_batch,
        }
    }

    /// The revisions of the records that it is judged by.
    pub(super) fn judged(&self) -> Option<Judged> {
        let (key, namespace) = self.key.as_ref().zip(self.namespace.as_ref())?;
        let team = self.team.as_ref().map(|team| (team.id.clone(), team.revision));
        Some(Judged { key: key.revision, namespace: namespace.revision, team })
    }

    /// May it use what needs a key?
    pub(super) fn admitted(&self) -> Result<(), Denied> {
        gate::admit_free(&self.request(&[], false))
    }

    /// May it see and call this tool, as far as lists of tools go?
    pub(super) fn may_call(&self, tool: &str) -> bool {
        gate::admit_free(&self.request(&[CallFacts { tool, arguments: None }], false)).is_ok()
    }

    /// The key, if key, namespace and address have passed.
    pub(super) fn entitled_key(&self) -> Option<&Arc<Key>> {
        self.key.as_ref().filter(|_| self.admitted().is_ok())
    }

    /// Its id.
    pub(super) fn entitled_key_id(&self) -> Option<&KeyId> {
        self.entitled_key().map(|key| &key.id)
    }

    /// The id of a key that is active and not expired.
    pub(super) fn usable_key_id(&self) -> Option<&KeyId> {
        self.key.as_ref().filter(|key| key.usable(self.now)).map(|key| &key.id)
    }

    /// The same caller, as if no list and no suspension stood in its way: shadow mode records what
    /// a call would have used up even where it would have been refused. `None` without a usable key.
    pub(super) fn unrestricted(&self) -> Option<Self> {
        let mut key = Key::clone(self.key.as_deref().filter(|key| key.in_force(self.now))?);
        key.suspended = false;
        key.allowed_tools = crate::model::key::ToolList::default();
        key.denied_tools = crate::model::key::ToolList::default();
        key.ip_allowlist = crate::model::key::IpAllowlist::default();
        let mut namespace = Namespace::unwritten(&key.namespace);
        namespace.revision = self.namespace.as_ref().map_or(0, |namespace| namespace.revision);
        let (key, namespace) = (Some(Arc::new(key)), Some(Arc::new(namespace)));
        Some(Self { key, namespace, ..self.clone() })
    }
}
