//! The routes of the `OpenAPI` documents.

use std::collections::BTreeSet;

/// A document of `infra/`, below its `paths` and up to its `components`.
pub(crate) fn paths(document: &str) -> String {
    let path = format!("{}/../infra/{document}", env!("CARGO_MANIFEST_DIR"));
    let document = std::fs::read_to_string(path).expect("the document");
    let paths = document.split_once("\npaths:\n").expect("paths").1;
    paths.split_once("\ncomponents:").expect("components").0.to_owned()
}

/// The methods and paths of a document.
pub(crate) fn routes(document: &str) -> BTreeSet<(String, String)> {
    let mut routes = BTreeSet::new();
    let paths = paths(document);
    let mut path = "";
    for line in paths.lines() {
        if let Some(name) = line.strip_prefix("  /") {
            path = name.trim_end_matches(':');
        } else if let Some(key) = line.strip_prefix("    ").filter(|key| !key.starts_with([' ', '#', '-'])) {
            let method = key.trim_end_matches(':').to_uppercase();
            if ["GET", "PUT", "POST", "DELETE", "PATCH", "HEAD", "OPTIONS"].contains(&method.as_str()) {
                routes.insert((method, format!("/{path}")));
            }
        }
    }
    routes
}
