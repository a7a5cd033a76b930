//! The keys that a start makes: those to import, the demo's, and the admin key if there is none.

use secrecy::{ExposeSecret, SecretString};

use super::AppError;
use crate::config::ImportKey;
use crate::model::ids::KeyId;
use crate::model::key::Key;
use crate::model::secret::{Digest, RawKey};
use crate::store::{Store, StoreError, clock};

/// What the demo's key can spend.
pub const DEMO_CREDITS: i64 = 100;

/// The admin key, and its text if nobody has it yet.
pub(super) struct AdminKey {
    pub(super) secret: SecretString,
    pub(super) shown: Option<String>,
}

/// The configured admin key, or a new one.
pub(super) fn admin(configured: Option<&SecretString>) -> Result<AdminKey, AppError> {
    if let Some(secret) = configured {
        return Ok(AdminKey { secret: secret.clone(), shown: None });
    }
    let text = format!("admin_{}", hex::encode(random::<16>()?));
    Ok(AdminKey { secret: text.clone().into(), shown: Some(text) })
}

/// Creates those keys that were never created before; how many there were.
///
/// Its id comes from the raw key, so that a key which was rotated or revoked since is not made a
/// second time, with its credits, by the next start.
pub(super) async fn import(keys: &[ImportKey], store: &dyn Store) -> Result<usize, AppError> {
    let mut imported = 0;
    for import in keys {
        // The configuration accepts no other kind.
        let Some(raw) = RawKey::parse(import.raw.expose_secret()) else { continue };
        let failed = |why| AppError::Key { key: raw.ends().masked(), why };
        let now = clock::now();
        let id = imported_id(&raw);
        let known = store.key_by_digest(raw.digest(), now).await.map_err(failed)?.is_some()
            || store.key_by_id(&id).await.map_err(failed)?.is_some();
        if known {
            continue;
        }
        let key = Key::new(id, &raw, "imported", now);
        match store.create_key(key, import.credits, None.into(), now).await {
            Ok(_) => imported += 1,
            Err(StoreError::Duplicate) => {}
            Err(why) => return Err(failed(why)),
        }
    }
    Ok(imported)
}

/// A new key with credits to try the demo with.
pub(super) async fn create_demo(store: &dyn Store) -> Result<String, AppError> {
    let raw = RawKey::from_random(random()?);
    let now = clock::now();
    let key = Key::new(KeyId::from_random(random()?), &raw, "demo", now);
    let created = store.create_key(key, DEMO_CREDITS, None.into(), now).await;
    created.map_err(|why| AppError::Key { key: raw.ends().masked(), why })?;
    Ok(raw.reveal().to_owned())
}

/// The one id that a raw key from elsewhere ever has.
pub(super) fn imported_id(raw: &RawKey) -> KeyId {
    let mut text = b"paygate import ".to_vec();
    text.extend_from_slice(raw.digest().bytes());
    let mut bytes = [0_u8; 8];
    for (byte, of_digest) in bytes.iter_mut().zip(Digest::of(&text).bytes()) {
        *byte = *of_digest;
    }
    KeyId::from_random(bytes)
}

fn random<const SIZE: usize>() -> Result<[u8; SIZE], AppError> {
    let mut bytes = [0_u8; SIZE];
    getrandom::fill(&mut bytes).map_err(AppError::NoRandomness)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_admin_key_is_made_only_if_there_is_none() {
        let made = admin(None).unwrap();
        let text = made.shown.unwrap();
        assert_eq!(text, made.secret.expose_secret());
        let digits = text.strip_prefix("admin_").unwrap();
        assert!(digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let given = SecretString::from("operator-key-of-mine");
        let kept = admin(Some(&given)).unwrap();
        assert_eq!(kept.secret.expose_secret(), given.expose_secret());
        assert_eq!(kept.shown, None);
    }

    #[test]
    fn an_imported_key_always_has_the_same_id() {
        let id = |text| imported_id(&RawKey::parse(text).unwrap());
        assert_eq!(id("legacy-imported-key-0001"), id("legacy-imported-key-0001"));
        assert_ne!(id("legacy-imported-key-0001"), id("legacy-imported-key-0002"));
    }
}
