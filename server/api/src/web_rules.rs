//! Checks which web pages may send requests, as etcd does: by the `Host` header on connections
//! without TLS, and by the `Origin` header through CORS.

use http::{HeaderMap, HeaderValue, Request, header};

/// The text that stands for all hosts or origins.
const ALL: &str = "*";

/// The hosts and origins that requests may name.
#[derive(Clone, Debug, Default)]
pub struct WebRules {
    /// Origins whose pages may read answers. An empty list and `*` mean all.
    pub origins: Vec<String>,
    /// Names by which clients without TLS may call this member. `None` and `*` mean all; an empty
    /// list means none.
    pub hosts: Option<Vec<String>>,
}

impl WebRules {
    /// The text of the refusal, if the `Host` header of a request does not name this member. A web
    /// page can send such a request if the page's DNS server answers with the address of this
    /// member (DNS rebinding).
    pub(crate) fn refuse<B>(&self, request: &Request<B>, is_secure: bool) -> Option<String> {
        let hosts = self.hosts.as_ref().filter(|hosts| !is_secure && !has(hosts, ALL))?;
        let header = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
        let authority = request.uri().authority().map(http::uri::Authority::as_str);
        let host = name_of(authority.or(header).unwrap_or_default());
        if has(hosts, host) {
            return None;
        }
        Some(format!(
            "This member does not know the Host header {host:?} as a name of its own, and refuses \
             the request, because a foreign web page could have sent it.\nUse TLS, or start the \
             member with --host-whitelist and all its names.\n"
        ))
    }

    /// Whether a request comes from no web page, from a page of the host that it calls, or from a
    /// page whose origin is named.
    pub(crate) fn knows_page(&self, headers: &HeaderMap) -> bool {
        let Some(origin) = headers.get(header::ORIGIN) else { return true };
        let Ok(origin) = origin.to_str() else { return false };
        let page = origin.split_once("://").map(|(_, host)| host);
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
        let is_own = page.zip(host).is_some_and(|(page, host)| page.eq_ignore_ascii_case(host));
        is_own || has(&self.origins, origin)
    }

    /// Whether a page may open a web socket with these headers. Browsers let every page read what
    /// arrives on it, so the rules of CORS are enforced here.
    pub(crate) fn allows_socket(&self, headers: &HeaderMap) -> bool {
        self.cors(headers).is_some() || self.knows_page(headers)
    }

    /// The CORS headers of the answer to a request with these headers; `None` if the origin may not
    /// read answers.
    pub(crate) fn cors(&self, headers: &HeaderMap) -> Option<HeaderMap> {
        let allowed = if self.origins.is_empty() || has(&self.origins, ALL) {
            HeaderValue::from_static(ALL)
        } else {
            let origin = headers.get(header::ORIGIN)?;
            has(&self.origins, origin.to_str().ok()?).then(|| origin.clone())?
        };
        let mut cors = HeaderMap::with_capacity(3);
        let methods = HeaderValue::from_static("POST, GET, OPTIONS, PUT, DELETE");
        cors.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
        cors.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
        let names = HeaderValue::from_static("accept, content-type, authorization");
        cors.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, names);
        Some(cors)
    }
}

fn has(list: &[String], text: &str) -> bool {
    list.iter().any(|it| it == text)
}

/// The host of an authority, without its port and without the brackets of an IPv6 address. As in
/// Go, brackets stay if there is no port.
fn name_of(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, _)) if host.starts_with('[') && host.ends_with(']') => &host[1..host.len() - 1],
        Some((host, _)) if !host.contains([':', '[', ']']) => host,
        _ => authority,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_go() {
        let names = ["a:1", "a", "[::1]:1", "[::1]", "::1", ""].map(name_of);
        assert_eq!(names, ["a", "a", "::1", "[::1]", "::1", ""]);
    }

    #[test]
    fn hosts_are_checked_without_tls() {
        let rules = WebRules { hosts: Some(vec!["a".into()]), ..WebRules::default() };
        let refuses = |rules: &WebRules, host: &str, is_secure| {
            let request = Request::get("/").header("host", host).body(()).unwrap();
            rules.refuse(&request, is_secure).is_some()
        };
        assert!(!refuses(&rules, "a:2379", false));
        assert!(refuses(&rules, "b", false));
        assert!(!refuses(&rules, "b", true));
        assert!(!refuses(&WebRules::default(), "b", false));
        let none = WebRules { hosts: Some(Vec::new()), ..WebRules::default() };
        assert!(refuses(&none, "b", false) && !refuses(&none, "b", true));
        let authority = Request::get("http://b/").header("host", "a").body(()).unwrap();
        assert!(rules.refuse(&authority, false).is_some());
    }

    #[test]
    fn origins_are_checked() {
        let allowed = |origins: &[&str], origin| {
            let origins = origins.iter().map(|&it| it.to_owned()).collect();
            let rules = WebRules { origins, ..WebRules::default() };
            let headers =
                HeaderMap::from_iter([(header::ORIGIN, HeaderValue::from_static(origin))]);
            rules.cors(&headers).map(|cors| cors[header::ACCESS_CONTROL_ALLOW_ORIGIN].clone())
        };
        assert_eq!(allowed(&[], "http://a").unwrap(), "*");
        assert_eq!(allowed(&["http://b", "*"], "http://a").unwrap(), "*");
        assert_eq!(allowed(&["http://a"], "http://a").unwrap(), "http://a");
        assert_eq!(allowed(&["http://a"], "http://b"), None);
    }

    #[test]
    fn pages_open_web_sockets_by_the_rules_of_cors() {
        let is = |origins: &[&str], origin: Option<&'static str>| {
            let origins = origins.iter().map(|&it| it.to_owned()).collect();
            let rules = WebRules { origins, ..WebRules::default() };
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_static("Own:2379"));
            headers.extend(origin.map(|it| (header::ORIGIN, HeaderValue::from_static(it))));
            (rules.allows_socket(&headers), rules.knows_page(&headers))
        };
        assert_eq!(is(&[], Some("http://a")), (true, false));
        assert_eq!(is(&["http://a"], Some("http://a")), (true, true));
        assert_eq!(is(&["http://a"], Some("http://own:2379")), (true, true));
        assert_eq!(is(&["http://a"], None), (true, true));
        for foreign in ["http://b", "http://own", "null"] {
            assert_eq!(is(&["http://a"], Some(foreign)), (false, false), "{foreign}");
        }
    }
}
