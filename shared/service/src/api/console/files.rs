//! The files of the keys page, and the responses that have them.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::io;
use std::path::Path;

use lambda_http::http::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderMap, HeaderName, VARY,
    X_CONTENT_TYPE_OPTIONS,
};
use lambda_http::http::{HeaderValue, StatusCode};
use lambda_http::{Body, Response};
use sha2::{Digest, Sha256};

use crate::api::console::unusable::UnusableConsole;

const CROSS_ORIGIN_RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

/// The files of a folder by name.
///
/// # Errors
///
/// - [`UnusableConsole::Unreadable`]: the folder or a file of it cannot be read as a text.
pub(super) fn read(folder: &Path) -> Result<BTreeMap<String, String>, UnusableConsole> {
    let unreadable = |path: &Path| {
        let path = path.to_owned();
        move |error: io::Error| UnusableConsole::Unreadable(path, error)
    };
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder).map_err(unreadable(folder))? {
        let entry = entry.map_err(unreadable(folder))?;
        let content = fs::read_to_string(entry.path()).map_err(unreadable(&entry.path()))?;
        files.insert(entry.file_name().to_string_lossy().into_owned(), content);
    }
    Ok(files)
}

/// A file with the headers of its responses.
#[derive(Debug)]
pub(super) struct File {
    content: String,
    headers: HeaderMap,
    tag: String,
}

impl File {
    /// A file that pages of its own origin may load.
    ///
    /// # Errors
    ///
    /// - [`UnusableConsole::UnknownType`]: the name does not end with the extension of a known type.
    pub(super) fn new(name: &str, content: String) -> Result<Self, UnusableConsole> {
        let content_type = content_type(name).ok_or_else(|| UnusableConsole::UnknownType(name.to_owned()))?;
        let caching =
            if is_named_by_content(name) { "public, max-age=31536000, immutable" } else { "no-cache" };
        let mut headers = HeaderMap::new();
        for (name, value) in [
            (CONTENT_TYPE, content_type),
            (CACHE_CONTROL, caching),
            (X_CONTENT_TYPE_OPTIONS, "nosniff"),
            // API Gateway compresses what is long.
            (VARY, "Accept-Encoding"),
            (CROSS_ORIGIN_RESOURCE_POLICY, "same-origin"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        Ok(Self { tag: tag(&content), content, headers })
    }

    /// The file with another header.
    pub(super) fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// The file as one that pages of every origin may load.
    pub(super) fn of_every_origin(self) -> Self {
        self.with(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"))
            .with(CROSS_ORIGIN_RESOURCE_POLICY, HeaderValue::from_static("cross-origin"))
    }

    /// The response with the file; without its content, if the browser has it already (RFC 9110, section 13.1.2).
    pub(super) fn response<'a>(&self, if_none_match: impl Iterator<Item = &'a str>) -> Response<Body> {
        let is_known = if_none_match
            .flat_map(|value| value.split(','))
            .any(|tag| matches!(tag.trim(), tag if tag == "*" || opaque(tag) == opaque(&self.tag)));
        let mut response = if is_known {
            let mut response = Response::new(Body::Empty);
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            response
        } else {
            Response::new(Body::Text(self.content.clone()))
        };
        response.headers_mut().extend(self.headers.clone());
        // Quoted hexadecimal digits are always a valid header value.
        if let Ok(tag) = HeaderValue::from_str(&self.tag) {
            response.headers_mut().insert(ETAG, tag);
        }
        response
    }
}

/// The entity tag of a content. It is a weak one, because a compressed response has the same.
fn tag(content: &str) -> String {
    let digest = Sha256::digest(content);
    let hexadecimal = digest.iter().take(16).fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    });
    format!("W/\"{hexadecimal}\"")
}

/// What the weak comparison of entity tags compares.
fn opaque(tag: &str) -> &str {
    tag.strip_prefix("W/").unwrap_or(tag)
}

fn content_type(name: &str) -> Option<&'static str> {
    match Path::new(name).extension()?.to_str()? {
        "css" => Some("text/css; charset=utf-8"),
        "html" => Some("text/html; charset=utf-8"),
        "js" => Some("text/javascript; charset=utf-8"),
        "txt" => Some("text/plain; charset=utf-8"),
        _ => None,
    }
}

/// Whether a name ends with the digest that esbuild puts there, eight digits of base 32, so that it never has another content.
fn is_named_by_content(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or_default();
    let digest = stem.rsplit_once('-').map(|(_, digest)| digest).unwrap_or_default();
    digest.len() == 8 && digest.bytes().all(|byte| matches!(byte, b'A'..=b'Z' | b'2'..=b'7'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_depends_on_the_content_alone() {
        // SHA-256 of the empty text: FIPS 180-4's examples have it.
        assert_eq!(tag(""), "W/\"e3b0c44298fc1c149afbf4c8996fb924\"");
        assert_ne!(tag("a"), tag("b"));
    }

    #[test]
    fn only_a_name_with_a_digest_is_one_of_a_content() {
        for named in ["console-ABCDEF23.js", "console-7QWERTYU.css", "a-b-ABCDEFGH.js.txt"] {
            assert!(is_named_by_content(named), "{named}");
        }
        for other in
            ["keygate-keys.js", "index.html", "console-settings.js", "console-ABCDEF2.js", "ABCDEF23.js"]
        {
            assert!(!is_named_by_content(other), "{other}");
        }
    }
}
