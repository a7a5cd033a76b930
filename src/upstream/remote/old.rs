//! The HTTP+SSE transport of 2024-11-05: one stream for everything that the server says, which
//! begins by naming where to post.

use hyper::Uri;

use super::Trouble;
use super::connection::Connection;
use super::reply::Reply;
use super::sessions::Session;
use crate::protocol::sse::Found;

/// Opens the stream and hands it to the task that reads it. None if the server has none.
pub(super) async fn open(connection: &Connection) -> Result<Option<Session>, Trouble> {
    let Reply::Stream(mut stream) = connection.get(&Session::default(), None).await? else {
        return Ok(None);
    };
    let base = &connection.options.url;
    let mut endpoint = None;
    while endpoint.is_none() {
        let more = stream.next(|found| match found {
            Found::Event { name: b"endpoint", data } => endpoint = Some(resolve(base, data)),
            other => connection.event(other, None),
        });
        if !more.await? {
            return Err(Trouble::NotMcp("its stream ends before it names an endpoint".to_owned()));
        }
    }
    let Some(Ok(endpoint)) = endpoint else {
        return Err(Trouble::NotMcp("its endpoint is not a URL of the same server".to_owned()));
    };
    connection.sessions.post_to(endpoint);
    if connection.older.send(stream).await.is_err() {
        return Err(Trouble::Cut("the connection is being closed".to_owned()));
    }
    Ok(Some(connection.sessions.now()))
}

/// Another origin would be sent the operator's credentials.
fn resolve(base: &Uri, reference: &[u8]) -> Result<Uri, ()> {
    let reference = std::str::from_utf8(reference).map_err(|_| ())?.trim();
    let (Some(scheme), Some(authority)) = (base.scheme_str(), base.authority()) else {
        return Err(());
    };
    if reference.contains("://") && !reference.starts_with(['/', '?']) {
        let uri: Uri = reference.parse().map_err(|_| ())?;
        return if origin(&uri) == origin(base) { Ok(uri) } else { Err(()) };
    }
    let path = if reference.starts_with("//") {
        return Err(());
    } else if reference.starts_with('/') {
        reference.to_owned()
    } else if reference.starts_with('?') {
        format!("{}{reference}", base.path())
    } else {
        let directory = base.path().rsplit_once('/').map_or("", |(directory, _)| directory);
        format!("{directory}/{reference}")
    };
    Uri::builder()
        .scheme(scheme)
        .authority(authority.clone())
        .path_and_query(path)
        .build()
        .map_err(|_| ())
}

fn origin(uri: &Uri) -> Option<(String, String, u16)> {
    let scheme = uri.scheme_str()?.to_ascii_lowercase();
    let standard = if scheme == "https" { 443 } else { 80 };
    let authority = uri.authority().filter(|authority| !authority.as_str().contains('@'))?;
    let port = authority.port_u16().unwrap_or(standard);
    Some((scheme, authority.host().to_ascii_lowercase(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_stay_on_their_server() {
        let base: Uri = "https://host/a/sse?x=1".parse().unwrap();
        for (reference, expected) in [
            ("/message?sessionId=7", Some("https://host/message?sessionId=7")),
            ("message", Some("https://host/a/message")),
            ("?s=7", Some("https://host/a/sse?s=7")),
            ("/x?to=http://y", Some("https://host/x?to=http://y")),
            ("https://HOST:443/m", Some("https://HOST:443/m")),
            ("http://host/m", None),
            ("https://host:444/m", None),
            ("https://other/m", None),
            ("https://host@other/m", None),
            ("https://user@host/m", None),
            ("//other/m", None),
            ("ftp://host/m", None),
            ("a b", None),
            ("\u{e9}://x", None),
        ] {
            let resolved = resolve(&base, reference.as_bytes()).ok().map(|uri| uri.to_string());
            assert_eq!(resolved.as_deref(), expected, "{reference}");
        }
    }
}
