//! The labels that a client gives its request in `_meta`.

use super::fault;
use crate::model::labels::Labels;
use crate::protocol::from_client::Params;
use crate::protocol::spelling::LABELS_META;
use crate::protocol::to_client::ErrorObjectOwned;

pub(super) fn labels(params: &Params<'_>) -> Result<Option<Labels>, ErrorObjectOwned> {
    let Params::Object(params) = params else { return Ok(None) };
    let Some(value) = params.meta.as_ref().and_then(|meta| meta.get(LABELS_META)) else {
        return Ok(None);
    };
    let wrong = |rule| fault::invalid_params(format!("Invalid params: \"{LABELS_META}\" {rule}"));
    Labels::parse(value).map_err(wrong)
}
