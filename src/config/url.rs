//! An origin's URL, split into the place to publish to and the stream key.
//!
//! A URL often holds the stream key, and may hold a password; so no sentence here quotes more of it than its host.

use std::net::Ipv6Addr;

use super::OriginUrl;
use crate::secret::Secret;

/// RTMP's registered port.
const PORT: u16 = 1935;

/// Longer than any service's key; a longer text is something else, such as a wrong file.
const MAX_KEY: usize = 1024;

/// Where the stream key of a URL stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyPlace {
    /// After the last `/` of the URL, with the query that follows it.
    InUrl,
    /// In a key of its own; the URL's whole path is the application.
    Apart,
}

/// Splits `rtmp://host[:port]/app[/instance][/key[?query]]`; the key is there if it was to be found in the URL.
pub(super) fn split(url: &str, place: KeyPlace) -> Result<(OriginUrl, Option<Secret>), String> {
    if url.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err("want a URL without spaces, got one with a space or a control character in it; copy it again".into());
    }
    let (authority, path) = after_scheme(url)?.split_once('/').unwrap_or((after_scheme(url)?, ""));
    let (host, port) = host_and_port(authority)?;
    let (app, key) = match place {
        KeyPlace::InUrl => app_and_key(&host, path)?,
        KeyPlace::Apart => (app_alone(&host, path)?, None),
    };
    Ok((OriginUrl { secure: false, host, port, app: app.to_owned() }, key))
}

/// Checks the text of a stream key, as it stands in the configuration or in a file of its own.
pub(super) fn stream_key(text: &str) -> Result<Secret, String> {
    let text = text.trim();
    match text {
        "" => Err("the stream key is empty; copy it from the origin's settings".into()),
        _ if text.contains(|c: char| c.is_whitespace() || c.is_control()) => {
            Err("want one stream key, got a text with a space or a line break inside; copy it again".into())
        }
        _ if text.len() > MAX_KEY => Err(format!("want a stream key of at most {MAX_KEY} bytes, got a longer text")),
        _ => Ok(Secret::new(text)),
    }
}

/// Whether the application's last part is the key: then it is written twice, and the application would be shown with it.
pub(super) fn ends_with_key(url: &OriginUrl, key: &Secret) -> bool {
    let bare = key.expose().split('?').next().unwrap_or_default();
    url.app.rsplit('/').next().is_some_and(|last| last == bare)
}

fn after_scheme(url: &str) -> Result<&str, String> {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    match scheme.to_ascii_lowercase().as_str() {
        "rtmp" => Ok(rest),
        "rtmps" => Err("rtmps:// is not supported by this version yet; use the origin's rtmp:// URL".into()),
        _ => Err("want a URL that begins with rtmp://, such as \"rtmp://origin.example/live\"".into()),
    }
}

fn host_and_port(authority: &str) -> Result<(String, u16), String> {
    if authority.contains('@') {
        return Err(
            "user name and password in the URL are not supported by this version yet; remove what stands before `@`".into()
        );
    }
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => bracketed(rest)?,
        None => authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port))),
    };
    if port.is_some_and(|port| port.contains(':')) {
        return Err("want an IPv6 address in brackets, such as \"rtmp://[2001:db8::1]/live\"".into());
    }
    if !authority.starts_with('[') && !is_name(host) {
        return Err("want a host name or an address after rtmp://, such as \"rtmp://origin.example/live\"".into());
    }
    let port = port.map_or(Some(PORT), |port| port.parse().ok().filter(|port| *port != 0));
    let port = port.ok_or_else(|| format!("want a port from 1 to 65535 after {host}:"))?;
    Ok((host.to_ascii_lowercase(), port))
}

/// `2001:db8::1]:1935` after its opening bracket.
fn bracketed(rest: &str) -> Result<(&str, Option<&str>), String> {
    let wanted = "want an IPv6 address between the brackets, such as \"rtmp://[2001:db8::1]/live\"";
    let (host, after) = rest.split_once(']').ok_or(wanted)?;
    host.parse::<Ipv6Addr>().map_err(|_| wanted)?;
    match after.strip_prefix(':') {
        None if !after.is_empty() => Err(format!("want `:` and a port, or nothing, after [{host}]")),
        port => Ok((host, port)),
    }
}

fn is_name(host: &str) -> bool {
    !host.is_empty() && host.len() <= 253 && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b))
}

fn app_and_key<'u>(host: &str, path: &'u str) -> Result<(&'u str, Option<Secret>), String> {
    let want = "want rtmp://host/app/key, or a `stream_key` of its own";
    let (bare, query) = path.split_at(path.find('?').unwrap_or(path.len()));
    let (app, key) = bare.rsplit_once('/').unwrap_or(("", bare));
    let app = app.trim_matches('/');
    match (app, key) {
        ("", "") => Err(format!("the URL to {host} has neither application nor stream key; {want}")),
        ("", _) => Err(format!("the URL to {host} has only one part after the host; {want}")),
        (_, "") => Err(format!("the URL to {host} ends without a stream key; {want}")),
        (app, key) => Ok((app, Some(stream_key(&format!("{key}{query}"))?))),
    }
}

/// A query would be part of the application, and so be shown; services that use one want it behind the key.
fn app_alone<'u>(host: &str, path: &'u str) -> Result<&'u str, String> {
    if path.contains('?') {
        return Err(format!("the URL to {host} has a `?` part although the stream key stands apart; move it to the key's end"));
    }
    match path.trim_matches('/') {
        "" => Err(format!("the URL to {host} has no application; want a URL such as \"rtmp://{host}/live\"")),
        app => Ok(app),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn in_url(url: &str) -> Result<(String, u16, String, String), String> {
        let (url, key) = split(url, KeyPlace::InUrl)?;
        Ok((url.host, url.port, url.app, key.ok_or("no key")?.expose().to_owned()))
    }

    #[test]
    fn urls_with_their_key() {
        let table = [
            ("rtmp://h/app/key", ("h", 1935, "app", "key")),
            ("RTMP://Origin.Example/live/a-b_c", ("origin.example", 1935, "live", "a-b_c")),
            ("rtmp://h:19350/app/inst/key", ("h", 19350, "app/inst", "key")),
            ("rtmp://h/app/key?token=x/y&z=1", ("h", 1935, "app", "key?token=x/y&z=1")),
            ("rtmp://h/app/k@y", ("h", 1935, "app", "k@y")),
            ("rtmp://10.0.0.1:1936/a/k", ("10.0.0.1", 1936, "a", "k")),
            ("rtmp://[2001:DB8::1]/app/key", ("2001:db8::1", 1935, "app", "key")),
            ("rtmp://[::1]:1936/app/inst/key", ("::1", 1936, "app/inst", "key")),
        ];
        for (url, (host, port, app, key)) in table {
            assert_eq!(in_url(url), Ok((host.into(), port, app.into(), key.into())), "{url}");
        }
    }

    #[test]
    fn urls_with_their_key_apart() {
        let table = [
            ("rtmp://h/app", "app"),
            ("rtmp://h/app/", "app"),
            ("rtmp://h/app/inst", "app/inst"),
            ("rtmp://h/app/inst/", "app/inst"),
        ];
        for (url, app) in table {
            let (split, key) = split(url, KeyPlace::Apart).unwrap();
            assert_eq!((split.app.as_str(), key.is_none()), (app, true), "{url}");
        }
    }

    #[test]
    fn what_is_no_origin_is_told_why() {
        let table = [
            ("", "begins with rtmp://"),
            ("live/SECRET", "begins with rtmp://"),
            ("http://h/app/SECRET", "begins with rtmp://"),
            ("rtmps://h/app/SECRET", "not supported by this version yet"),
            ("rtmp://", "want a host name"),
            ("rtmp:///app/SECRET", "want a host name"),
            ("rtmp://h?SECRET", "want a host name"),
            ("rtmp://user:SECRET@h/app/key", "password"),
            ("rtmp://h:0/app/SECRET", "port"),
            ("rtmp://h:65536/app/SECRET", "port"),
            ("rtmp://h:x/app/SECRET", "port"),
            ("rtmp://2001:db8::1/app/SECRET", "brackets"),
            ("rtmp://[h]/app/SECRET", "IPv6"),
            ("rtmp://[::1/app/SECRET", "IPv6"),
            ("rtmp://[::1]9/app/SECRET", "a port, or nothing"),
            ("rtmp://h", "neither application nor stream key"),
            ("rtmp://h/SECRET", "only one part after the host"),
            ("rtmp://h/app/", "ends without a stream key"),
            ("rtmp://h/app/?SECRET", "ends without a stream key"),
            ("rtmp://h/app/SE CRET", "space"),
        ];
        for (url, part) in table {
            let text = in_url(url).unwrap_err();
            assert!(text.contains(part) && !text.contains("SECRET"), "{url}: {text}");
        }
        for (url, part) in [("rtmp://h", "no application"), ("rtmp://h/", "no application"), ("rtmp://h/a?SECRET", "`?`")] {
            let text = split(url, KeyPlace::Apart).err().unwrap();
            assert!(text.contains(part) && !text.contains("SECRET"), "{url}: {text}");
        }
    }

    #[test]
    fn keys_are_trimmed_and_checked() {
        assert_eq!(stream_key(" live_1\r\n").map(|key| key.expose().to_owned()), Ok("live_1".into()));
        for text in ["", " \n", "a b", "a\nb", &"k".repeat(1025)] {
            assert!(stream_key(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_splits_into_the_same(host in "[a-z][a-z0-9.-]{0,20}|[0-9a-f]{1,4}::1", port in 1u16.., app in "[a-z]{1,8}(/[a-z0-9]{1,8})?") {
            let url = OriginUrl { secure: false, host, port, app };
            let (again, key) = split(&url.to_string(), KeyPlace::Apart).unwrap();
            prop_assert_eq!(again, url.clone());
            prop_assert!(key.is_none());
            let (again, key) = split(&format!("{url}/key?q=1"), KeyPlace::InUrl).unwrap();
            prop_assert_eq!(again, url);
            prop_assert!(key.is_some_and(|key| key.expose() == "key?q=1"));
        }

        #[test]
        fn arbitrary_text_never_panics(url in "(rtmp://)?\\PC{0,40}") {
            let _ = split(&url, KeyPlace::InUrl);
            let _ = split(&url, KeyPlace::Apart);
        }
    }
}
