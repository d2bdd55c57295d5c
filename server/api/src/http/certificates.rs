//! `/tls` and `/tls/reload`: the certificates in use.

use std::sync::atomic::Ordering;

use http::{StatusCode, header};

use super::{PLAIN, Page, Pages, page};

const JSON: &str = "application/json";

impl Pages {
    /// `/tls`: the certificates in use.
    pub(super) fn certificates(&self) -> Page {
        self.described(self.certificates.current())
    }

    fn described(&self, text: String) -> Page {
        self.certificates_bytes.store(text.len(), Ordering::Relaxed);
        page(StatusCode::OK, JSON, text)
    }

    /// `/tls/reload`: reads the certificate files now.
    pub(super) fn reread_certificates(&self) -> Page {
        if let Some(text) = self.certificates.reread() {
            return self.described(text);
        }
        let text = "the files were read less than a second ago; GET /tls shows the result\n";
        let mut response = page(StatusCode::TOO_MANY_REQUESTS, PLAIN, text);
        response.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from_static("1"));
        response
    }
}
