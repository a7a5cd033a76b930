//! Who is calling, as the guarded server is told (`forwardIdentity`): the one place that says what
//! leaves Paygate about a customer. Never a credential, an address or a balance.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Proxy;
use super::identify::Identity;
use crate::model::key::Key;

#[derive(Serialize)]
struct Customer<'a> {
    id: &'a str,
    name: &'a str,
    namespace: &'a str,
    tags: &'a BTreeMap<String, String>,
}

impl Proxy {
    /// What the server is told of this caller: nothing, unless it is switched on and key, tenant
    /// and address have passed.
    pub(super) fn customer(&self, identity: &Identity) -> Option<String> {
        if !self.options.forward_identity {
            return None;
        }
        identity.entitled_key().map(|key| customer(key))
    }
}

/// A customer as JSON text in ASCII on one line, so that it fits into a message as well as into a
/// header.
pub fn customer(key: &Key) -> String {
    let Key { id, name, namespace, tags, .. } = key;
    let customer = Customer { id: id.as_str(), name, namespace, tags };
    // Texts and a map of texts cannot fail.
    let json = serde_json::to_string(&customer).unwrap_or_default();
    let mut ascii = String::with_capacity(json.len());
    for character in json.chars() {
        // What is not ASCII can only be inside strings. JSON does not escape DEL, headers forbid it.
        if character.is_ascii() && character != '\u{7f}' {
            ascii.push(character);
        } else {
            for unit in character.encode_utf16(&mut [0; 2]) {
                let digit = |shift: u32| char::from_digit((u32::from(*unit) >> shift) & 0xf, 16);
                ascii.push_str("\\u");
                ascii.extend([12, 8, 4, 0].into_iter().filter_map(digit));
            }
        }
    }
    ascii
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ids::KeyId;
    use crate::model::secret::RawKey;
    use crate::model::time::Time;

    #[test]
    fn a_customer_fits_into_a_header() {
        let raw = RawKey::from_random([1; 24]);
        let mut key = Key::new(KeyId::from_random([2; 8]), &raw, "Zoë \"😀\"\u{7f}\n", Time::ZERO);
        key.tags.insert("plan".to_owned(), "gold".to_owned());
        let json = customer(&key);
        assert_eq!(
            json,
            concat!(
                r#"{"id":"key_0202020202020202","name":"Zo\u00eb \"\ud83d\ude00\"\u007f\n","#,
                r#""namespace":"default","tags":{"plan":"gold"}}"#
            )
        );
        let read: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(read["name"], key.name.as_str());
    }
}
