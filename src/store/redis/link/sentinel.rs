//! Asking Sentinels who is master.

use redis::{Value, cmd};
use tokio::sync::Mutex;

use super::address::Address;
use super::dial::{Dialer, Live};
use super::scripts::text;

/// Sentinels that watch over one master.
pub(super) struct Sentinels {
    addresses: Vec<Address>,
    master: String,
    dialer: Dialer,
    /// The one that answered last, and its place.
    asked: Mutex<Option<(usize, Live)>>,
}

impl Sentinels {
    pub(super) fn new(addresses: Vec<Address>, master: String, dialer: Dialer) -> Self {
        Self { addresses, master, dialer, asked: Mutex::default() }
    }

    /// The master, as the first Sentinel says that answers.
    pub(super) async fn master(&self) -> Result<Address, String> {
        let mut asked = self.asked.lock().await;
        let mut why = String::new();
        let first = asked.as_ref().map_or(0, |(place, _)| *place);
        for step in 0..self.addresses.len() {
            let place = first.saturating_add(step).checked_rem(self.addresses.len()).unwrap_or(0);
            let known = asked.take().filter(|(known, _)| *known == place);
            let live = match (known, self.addresses.get(place)) {
                (Some((_, live)), _) => Ok(live),
                (None, Some(address)) => self.dialer.dial(address).await,
                (None, None) => break,
            };
            match self.ask(live).await {
                Ok((master, live)) => {
                    *asked = Some((place, live));
                    return Ok(master);
                }
                Err(error) => why = error,
            }
        }
        Err(format!("no Sentinel names the master {}: {why}", self.master))
    }

    async fn ask(&self, live: Result<Live, String>) -> Result<(Address, Live), String> {
        let mut live = live?;
        let mut get = cmd("SENTINEL");
        get.arg("GET-MASTER-ADDR-BY-NAME").arg(&self.master);
        let value = live.ask(&get, self.dialer.answer).await?;
        let Value::Array(words) = value else {
            return Err(format!("{} knows none of that name", live.at));
        };
        let mut words = words.into_iter().filter_map(text);
        let address = words.next().zip(words.next().and_then(|port| port.parse().ok()));
        let (host, port) = address.ok_or_else(|| format!("{} names none", live.at))?;
        Ok((Address { host, port }, live))
    }
}
