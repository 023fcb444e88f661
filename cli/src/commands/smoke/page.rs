//! The keys page, and every file that it loads.

use http::header;

use super::call::SmokeCall;
use super::run::{Incomplete, Run, ensure};

/// The web component, which pages of the operator load.
const COMPONENT: &str = "keygate-keys.js";

pub(super) fn check(run: &mut Run) -> Result<(), Incomplete> {
    if run.stack.parameter("ConsoleEnabled") == Some("false") {
        return Err(Incomplete::not_checked("the stack has no keys page: ConsoleEnabled is false"));
    }
    let page = run.expect(&SmokeCall::management("GET /console"), 200)?;
    let content_type = page.header(&header::CONTENT_TYPE)?;
    ensure(content_type == "text/html; charset=utf-8", || format!("GET /console: {content_type}"))?;
    let policy = page.header(&header::CONTENT_SECURITY_POLICY)?;
    ensure(policy.contains("default-src 'none'") && policy.contains("script-src 'self'"), || {
        format!("GET /console: its policy is {policy}")
    })?;
    let text = String::from_utf8_lossy(&page.body);
    let loaded = files(&text);
    ensure(!loaded.is_empty(), || "GET /console: it loads no file".to_owned())?;
    let file = |name| SmokeCall::management("GET /console/{file}").with("file", name);
    for name in loaded.into_iter().chain([COMPONENT]) {
        let loaded = run.expect(&file(name), 200)?;
        let tag = loaded.header(&header::ETAG)?;
        run.expect(&file(name).header(header::IF_NONE_MATCH, tag), 304)?;
    }
    run.refuse(&file("no-such-file.js"), 404, "not_found")
}

/// The files below `console/` that a page loads.
fn files(page: &str) -> Vec<&str> {
    let attributes = page.split("=\"console/").skip(1);
    attributes.filter_map(|rest| Some(rest.split_once('"')?.0)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_a_page_are_found() {
        let page =
            r#"<link href="console/page.css"><script src="console/page.js"></script><a href="/other">"#;
        assert_eq!(files(page), ["page.css", "page.js"]);
        assert!(files("<html></html>").is_empty());
    }
}
