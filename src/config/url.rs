//! `rtmp://host[:port]/app[/instance]/key?query`, split rightly. Pure; a fault never repeats what may hold a key.

use crate::config::OriginUrl;
use crate::secret::Secret;

const DEFAULT_PORT: u16 = 1935;

/// Splits a URL. With `key_apart` the whole path is the application; else everything behind its last `/` (a `/` of the query
/// does not count) is the key, the query included.
pub fn split(url: &str, key_apart: bool) -> Result<(OriginUrl, Option<Secret>), String> {
    let rest = url.strip_prefix("rtmp://").ok_or_else(|| scheme_fault(url))?;
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    if authority.contains('@') {
        return Err("user and password in `url` are not supported by this version yet".into());
    }
    let (host, port) = host_and_port(authority)?;
    let path = path.trim_end_matches('/');
    let (app, key) = if key_apart { (path, None) } else { split_key(path)? };
    if app.is_empty() {
        return Err(format!("`url` of {host} names no application; write rtmp://{host}/APP and the key in `stream_key`"));
    }
    Ok((OriginUrl { host, port, app: app.into() }, key.map(Secret::new)))
}

fn split_key(path: &str) -> Result<(&str, Option<&str>), String> {
    let query = path.find('?').unwrap_or(path.len());
    let slash = path[..query].rfind('/');
    let (app, key) = slash.map_or((path, ""), |slash| (&path[..slash], &path[slash + 1..]));
    if key.is_empty() {
        return Err("there is no stream key; give `stream_key`, `stream_key_file`, or a `url` that ends with /APP/KEY".into());
    }
    Ok((app, Some(key)))
}

fn host_and_port(authority: &str) -> Result<(String, u16), String> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']').ok_or("`url`: an IPv6 address needs its closing bracket")?;
            (host, rest.strip_prefix(':'))
        }
        None => authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port))),
    };
    if host.is_empty() || host.contains(char::is_whitespace) {
        return Err("`url` names no host; write rtmp://HOST/APP".into());
    }
    let port = port.map_or(Ok(DEFAULT_PORT), |port| port.parse().ok().filter(|port| *port != 0).ok_or(()));
    let port = port.map_err(|()| format!("`url` of {host}: the port must be a number from 1 to 65535"))?;
    Ok((host.into(), port))
}

fn scheme_fault(url: &str) -> String {
    match url.split_once("://").map(|(scheme, _)| scheme) {
        Some("rtmps") => "`url`: rtmps:// is not supported by this version yet; use rtmp://".into(),
        _ => "`url` must begin with rtmp://, such as rtmp://live.example.org/app".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_split_as_servers_expect() {
        let table = [
            ("rtmp://h/live/key", "rtmp://h/live", "key"),
            ("rtmp://h:1936/live/key?a=b&c=d/e", "rtmp://h:1936/live", "key?a=b&c=d/e"),
            ("rtmp://h/app/instance/key", "rtmp://h/app/instance", "key"),
            ("rtmp://[::1]:19350/live/k", "rtmp://[::1]:19350/live", "k"),
        ];
        for (url, shown, key) in table {
            let (split, secret) = split(url, false).unwrap_or_else(|fault| panic!("{url}: {fault}"));
            assert_eq!((split.to_string().as_str(), secret.unwrap().expose()), (shown, key), "{url}");
        }
        let (whole, key) = split("rtmp://h/app/instance/", true).unwrap();
        assert_eq!((whole.to_string().as_str(), key.is_none()), ("rtmp://h/app/instance", true));
    }

    #[test]
    fn faults_do_not_repeat_the_key() {
        for url in [
            "http://h/live/sesame",
            "rtmps://h/live/sesame",
            "rtmp://u:sesame@h/live/x",
            "rtmp://h:sesame1/live/sesame",
            "rtmp:///live/sesame",
        ] {
            let fault = split(url, false).err().unwrap_or_else(|| panic!("{url} passed"));
            assert!(!fault.contains("sesame"), "{fault}");
        }
        assert!(split("rtmp://h/live/", false).is_err_and(|fault| fault.contains("stream_key")));
        assert!(split("rtmp://h", true).is_err_and(|fault| fault.contains("application")));
    }
}
