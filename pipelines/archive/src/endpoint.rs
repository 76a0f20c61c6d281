//! Where a service is, and secrets that lie in files: checked alike for every service.

use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use url::{Host, Url};
use zeroize::Zeroizing;

/// Permissions of others on a file of secrets.
const OTHERS: u32 = 0o077;

/// Reads an endpoint: TLS, unless it is this machine or the settings say so. `name` is that of the setting.
pub(crate) fn endpoint(name: &str, text: &str, plain_http: bool) -> Result<Url, String> {
    let wrong = || format!("{name}: https://HOST or https://HOST:PORT");
    let url = Url::parse(text).map_err(|_it_may_show_a_password| wrong())?;
    let bare = url.username().is_empty() && url.password().is_none() && url.query().is_none();
    if !bare || url.path() != "/" || url.fragment().is_some() {
        return Err(wrong());
    }
    let is_here = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => IpAddr::from(ip).is_loopback(),
        Some(Host::Ipv6(ip)) => IpAddr::from(ip).is_loopback(),
        None => return Err(wrong()),
    };
    match url.scheme() {
        "https" => Ok(url),
        "http" if is_here || plain_http => Ok(url),
        "http" => Err(format!(
            "{name}: http shows to the network what goes over it: use https, or say plain_http = true"
        )),
        _ => Err(wrong()),
    }
}

/// Reads a file of secrets that nobody else may read.
pub(crate) fn private_text(path: &Path) -> Result<Zeroizing<String>, String> {
    let told = |error: std::io::Error| format!("{}: {error}", path.display());
    if std::fs::metadata(path).map_err(told)?.permissions().mode() & OTHERS != 0 {
        return Err(format!("{}: others may read it: chmod 600", path.display()));
    }
    std::fs::read_to_string(path).map(Zeroizing::new).map_err(told)
}
