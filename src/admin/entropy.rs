//! Random bytes for new credentials and ids.

use super::wire::answer::Problem;

pub(super) fn random<const N: usize>() -> Result<[u8; N], Problem> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| {
        tracing::error!(target: "admin", %error, "the system gives no random bytes");
        Problem::unavailable("No new key could be made", 5)
    })?;
    Ok(bytes)
}
