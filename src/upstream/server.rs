//! A guarded server before anybody is connected to it: how to make links to it, and how many of its
//! processes may run for single sessions at a time.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{Hello, Kind, Link, LinkOptions, Listener, StartError};

/// Makes links to one server. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Server {
    template: Arc<LinkOptions>,
    places: Arc<Semaphore>,
    places_max: usize,
}

/// Room for the processes of one link. It is held until they have ended.
#[derive(Debug)]
pub struct Place {
    _permit: OwnedSemaphorePermit,
}

impl Server {
    /// A server that is reached as `template` says, whatever that says first and whoever hears it.
    /// Beside the link that is shared, `processes_max` processes of it may run.
    pub fn new(template: LinkOptions, processes_max: usize) -> Self {
        let places_max = processes_max.min(Semaphore::MAX_PERMITS);
        Self {
            template: Arc::new(template),
            places: Arc::new(Semaphore::new(places_max)),
            places_max,
        }
    }

    /// Room for one more link of a session, at once or not at all.
    pub fn place(&self) -> Option<Place> {
        let wanted = u32::try_from(self.template.kind.processes()).ok()?;
        let permit = Arc::clone(&self.places).try_acquire_many_owned(wanted).ok()?;
        Some(Place { _permit: permit })
    }

    /// Room for one more link of a session, once another has given its place back. `None` if there
    /// never will be.
    pub async fn next_place(&self) -> Option<Place> {
        let wanted = self.template.kind.processes();
        let wanted = u32::try_from(wanted).ok().filter(|_| wanted <= self.places_max)?;
        let permit = Arc::clone(&self.places).acquire_many_owned(wanted).await.ok()?;
        Some(Place { _permit: permit })
    }

    /// How many links of sessions there is room for.
    pub fn links_max(&self) -> usize {
        self.places_max.checked_div(self.template.kind.processes()).unwrap_or(usize::MAX)
    }

    /// A new link that begins with `hello` and that `listener` hears.
    pub async fn link(
        &self,
        hello: Hello,
        listener: Arc<dyn Listener>,
    ) -> Result<Link, StartError> {
        let listener = Some(listener);
        Link::start(LinkOptions { hello, listener, ..LinkOptions::clone(&self.template) }).await
    }
}

impl Kind {
    /// How many processes a link of this kind runs.
    fn processes(&self) -> usize {
        match self {
            Self::Child(_) => 1,
            Self::Remote(_) => 0,
            Self::Several(several) => several.kinds().map(Self::processes).sum(),
        }
    }
}
