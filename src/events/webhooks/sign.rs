//! The signature of a body: `t=<unix seconds>,v1=<hex>` with HMAC-SHA256 over `<t>.<body>`, as
//! paygate-mcp signs.

use hmac::{Hmac, Mac};
use sha2::Sha256;

use crate::model::time::Time;

/// The value of `X-PayGate-Signature`; none if the secret cannot be a key, which no text is.
pub(super) fn signature(secret: &str, now: Time, body: &str) -> Option<String> {
    let seconds = now.ms() / 1000;
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).ok()?;
    mac.update(format!("{seconds}.{body}").as_bytes());
    Some(format!("t={seconds},v1={}", hex::encode(mac.finalize().into_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_as_documented() {
        // printf '%s' '1700000000.{"a":1}' | openssl dgst -sha256 -hmac whsec_test
        let signed = signature("whsec_test", Time::from_ms(1_700_000_000_999), "{\"a\":1}");
        let expected =
            "t=1700000000,v1=38877139021993b830af32feea6e18a8da83eb2f6e49ee50bd9e4cf4ca4d3789";
        assert_eq!(signed.as_deref(), Some(expected));
    }
}
