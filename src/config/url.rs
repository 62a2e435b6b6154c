//! An origin's URL, split into the place to publish to, the login and the stream key; and the URL to pull a stream back from.
//!
//! A URL often holds the stream key, and may hold a password; so no sentence here quotes more of it than its host, and not
//! even that where a password with an unescaped `/` may have been taken for it.

use std::net::Ipv6Addr;

use super::{Login, OriginUrl};
use crate::secret::Secret;

/// Longer than any service's key; a longer text is something else, such as a wrong file.
const MAX_KEY: usize = 1024;

/// How to write what would end a user name or password early.
const ESCAPES: &str = "in a user name or password, write `%` as %25, `/` as %2F, `?` as %3F, `:` as %3A and `@` as %40";

/// Where the stream key of a URL stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyPlace {
    /// After the last `/` of the URL, with the query that follows it.
    InUrl,
    /// In a key of its own; the URL's whole path is the application.
    Apart,
}

/// What stands in a URL.
pub(super) struct Split {
    pub url: OriginUrl,
    pub login: Option<Login>,
    /// If it was to be found in the URL.
    pub key: Option<Secret>,
}

/// Splits `rtmp[s]://[user:password@]host[:port]/app[/instance][/key[?query]]`.
pub(super) fn split(url: &str, place: KeyPlace) -> Result<Split, String> {
    without_spaces(url)?;
    let (secure, rest) = after_scheme(url)?;
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (login, authority) = login_and_rest(authority)?;
    // A password with a `/` in it makes its first half look like host and port.
    let doubtful = path.contains('@');
    let (host, port) = host_and_port(authority).map_err(|text| if doubtful { format!("{text}; {ESCAPES}") } else { text })?;
    let shown = if doubtful { "the origin" } else { &host };
    let (app, key) = match place {
        KeyPlace::InUrl => app_and_key(shown, path)?,
        KeyPlace::Apart => (app_alone(shown, path)?, None),
    };
    if app.contains('@') {
        return Err(format!("want no `@` in the application; {ESCAPES}"));
    }
    let url = OriginUrl { secure, port: port.unwrap_or(OriginUrl::default_port(secure)), app: app.to_owned(), host };
    Ok(Split { url, login, key })
}

/// Checks where a stream is to be pulled back from: `rtmp[s]://host/app/stream` or `http[s]://host/….m3u8`.
pub(super) fn verify(url: &str) -> Result<Secret, String> {
    let wanted = "want a URL such as \"rtmp://origin.example/live/stream\" or \"https://cdn.example/live/stream.m3u8\"";
    without_spaces(url)?;
    let (scheme, rest) = url.split_once("://").ok_or(wanted)?;
    let (authority, path) = rest.split_once('/').ok_or(wanted)?;
    if authority.contains('@') {
        return Err("want a URL without user and password; neither is sent when a stream is pulled back".into());
    }
    host_and_port(authority)?;
    let bare = path.split(['?', '#']).next().unwrap_or_default();
    match scheme.to_ascii_lowercase().as_str() {
        "http" | "https" if bare.len() > ".m3u8".len() && bare.to_ascii_lowercase().ends_with(".m3u8") => {}
        "http" | "https" => return Err("want a playlist behind http:// or https://, a path that ends with .m3u8".into()),
        "rtmp" | "rtmps" => drop(app_and_key("the origin", path)?),
        _ => return Err(wanted.into()),
    }
    Ok(Secret::new(url))
}

fn without_spaces(url: &str) -> Result<(), String> {
    match url.contains(|c: char| c.is_whitespace() || c.is_control()) {
        true => Err("want a URL without spaces, got one with a space or a control character in it; copy it again".into()),
        false => Ok(()),
    }
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

/// Whether the URL says that the connection is to be encrypted, and the rest of it.
fn after_scheme(url: &str) -> Result<(bool, &str), String> {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    match scheme.to_ascii_lowercase().as_str() {
        "rtmp" => Ok((false, rest)),
        "rtmps" => Ok((true, rest)),
        _ => Err("want a URL that begins with rtmp:// or rtmps://, such as \"rtmp://origin.example/live\"".into()),
    }
}

/// `user:password@` before the host, if it is there.
fn login_and_rest(authority: &str) -> Result<(Option<Login>, &str), String> {
    let Some((login, rest)) = authority.rsplit_once('@') else { return Ok((None, authority)) };
    let (user, password) = login.split_once(':').unwrap_or((login, ""));
    let (user, password) = (unescaped(user)?, Secret::new(unescaped(password)?));
    match user.is_empty() || password.is_empty() {
        true => Err("want user and password before the `@`, as in \"rtmp://user:password@origin.example/live\"".into()),
        false => Ok((Some(Login { user, password }), rest)),
    }
}

/// With every `%` and two hexadecimal digits replaced by what they stand for.
fn unescaped(text: &str) -> Result<String, String> {
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let Some((first, after)) = rest.split_first() {
        let escape = (*first == b'%').then(|| after.first_chunk::<2>().and_then(hexadecimal).ok_or(ESCAPES)).transpose()?;
        bytes.push(escape.unwrap_or(*first));
        rest = if escape.is_some() { &after[2..] } else { after };
    }
    let text = String::from_utf8(bytes).ok().filter(|text| !text.contains(char::is_control));
    text.ok_or_else(|| format!("want text as user and password; {ESCAPES}"))
}

fn hexadecimal(digits: &[u8; 2]) -> Option<u8> {
    let [high, low] = digits.map(|digit| char::from(digit).to_digit(16));
    Some((high? << 4 | low?) as u8)
}

fn host_and_port(authority: &str) -> Result<(String, Option<u16>), String> {
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
    let number = |port: &str| port.parse().ok().filter(|port| *port != 0);
    let port = port.map(|port| number(port).ok_or("want a port from 1 to 65535 after the host's `:`"));
    Ok((host.to_ascii_lowercase(), port.transpose()?))
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
        let Split { url, key, .. } = split(url, KeyPlace::InUrl)?;
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
            ("rtmps://h/app/key", ("h", 443, "app", "key")),
            ("RTMPS://h:1935/app/key", ("h", 1935, "app", "key")),
            ("rtmp://user:p@h/app/k@y?m=a@b", ("h", 1935, "app", "k@y?m=a@b")),
            ("rtmps://user:p@[::1]:1936/app/key", ("::1", 1936, "app", "key")),
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
            let Split { url: split, key, .. } = split(url, KeyPlace::Apart).unwrap();
            assert_eq!((split.app.as_str(), key.is_none()), (app, true), "{url}");
        }
    }

    #[test]
    fn user_and_password_are_unescaped_and_never_printed() {
        let table = [
            ("u:SECRET", "u", "SECRET"),
            ("me%40h:a%2Fb%3fc%25", "me@h", "a/b?c%"),
            ("u:a:b@c", "u", "a:b@c"),
            ("u:%C3%A9", "u", "é"),
        ];
        for (login, user, password) in table {
            let Split { url, login, .. } = split(&format!("rtmps://{login}@h/app/key"), KeyPlace::InUrl).unwrap();
            let login = login.unwrap();
            assert_eq!((login.user.as_str(), login.password.expose()), (user, password));
            assert_eq!(url.to_string(), "rtmps://h/app");
        }
        assert!(split("rtmp://h/app/key", KeyPlace::InUrl).is_ok_and(|split| split.login.is_none()));
    }

    #[test]
    fn where_to_pull_from() {
        for url in
            ["rtmp://h/app/key?x=1", "rtmps://h:1936/app/inst/key", "http://h/a.m3u8", "HTTPS://h:8443/live/A.M3U8?token=/x"]
        {
            assert!(verify(url).is_ok_and(|kept| kept.expose() == url), "{url}");
        }
        let table = [
            ("", "want a URL such as"),
            ("h/SECRET.m3u8", "want a URL such as"),
            ("srt://h/SECRET.m3u8", "want a URL such as"),
            ("https://h", "want a URL such as"),
            ("https://u:SECRET@h/a.m3u8", "without user and password"),
            ("https://h/SECRET.mpd", "ends with .m3u8"),
            ("https://h/SECRET?x=.m3u8", "ends with .m3u8"),
            ("https://h/.m3u8", "ends with .m3u8"),
            ("https:///SECRET.m3u8", "host name"),
            ("https://SECRET:x/a.m3u8", "port"),
            ("rtmp://h/SECRET", "only one part"),
            ("rtmp://h/app/SE CRET", "space"),
        ];
        for (url, part) in table {
            let text = verify(url).err().unwrap();
            assert!(text.contains(part) && !text.contains("SECRET"), "{url}: {text}");
        }
    }

    #[test]
    fn what_is_no_origin_is_told_why() {
        let table = [
            ("", "begins with rtmp://"),
            ("live/SECRET", "begins with rtmp://"),
            ("http://h/app/SECRET", "begins with rtmp://"),
            ("rtmp://", "want a host name"),
            ("rtmp:///app/SECRET", "want a host name"),
            ("rtmp://h?SECRET", "want a host name"),
            ("rtmp://user:SECRET@", "want a host name"),
            ("rtmp://SECRET@h/app/key", "user and password before"),
            ("rtmp://:SECRET@h/app/key", "user and password before"),
            ("rtmp://SECRET:@h/app/key", "user and password before"),
            ("rtmp://user:SECRET%@h/app/key", "%25"),
            ("rtmp://user:SECRET%xy@h/app/key", "%25"),
            ("rtmp://user:SECRET%é@h/app/key", "%25"),
            ("rtmp://user:SECRET%FF@h/app/key", "want text"),
            ("rtmp://user:SECRET%0A@h/app/key", "want text"),
            ("rtmp://SECRET:SEC/RET@h/app/key", "%2F"),
            ("rtmp://SECRET:12/RET@h/app/key", "%2F"),
            ("rtmp://SECRET:12/RET@h", "the URL to the origin has only one part"),
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
        fn what_is_printed_splits_into_the_same(secure: bool, host in "[a-z][a-z0-9.-]{0,20}|[0-9a-f]{1,4}::1", port in 1u16.., app in "[a-z]{1,8}(/[a-z0-9]{1,8})?") {
            let url = OriginUrl { secure, host, port, app };
            let Split { url: again, key, .. } = split(&url.to_string(), KeyPlace::Apart).unwrap();
            prop_assert_eq!(again, url.clone());
            prop_assert!(key.is_none());
            let Split { url: again, key, .. } = split(&format!("{url}/key?q=1"), KeyPlace::InUrl).unwrap();
            prop_assert_eq!(again, url);
            prop_assert!(key.is_some_and(|key| key.expose() == "key?q=1"));
        }

        #[test]
        fn arbitrary_text_never_panics(url in "(rtmps?://)?\\PC{0,40}|rtmp://[a-z%@:/?é]{0,40}") {
            let _ = split(&url, KeyPlace::InUrl);
            let _ = split(&url, KeyPlace::Apart);
            let _ = verify(&url);
        }
    }
}
