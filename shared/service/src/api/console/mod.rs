//! The keys page: one HTML file and what it loads, served at `/console` of the management API to every browser. The files are public
//! and the same for everyone. What the page shows comes from the management API, with the credential of its user.

mod files;
mod settings;
mod unusable;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use keygate_core::environment::Environment;
use keygate_core::error::Error;
use lambda_http::http::HeaderValue;
use lambda_http::http::header::{CONTENT_SECURITY_POLICY, HeaderName, REFERRER_POLICY};
use lambda_http::{Body, Response};

use crate::api::console::files::File;
use crate::api::console::settings::ConsoleSettings;
pub use crate::api::console::unusable::UnusableConsole;
use crate::api::request::ManagementRequest;

/// The file of `/console` itself.
const PAGE: &str = "index.html";
/// The web component, which pages of other origins load.
const COMPONENT: &str = "keygate-keys.js";
/// What the page has in place of its configuration.
const PLACEHOLDER: &str = "__KEYGATE_CONFIG__";

/// What the page may not do, beyond its Content-Security-Policy. It writes keys to the clipboard, and reads nothing from it.
const PERMISSIONS: &str = "camera=(), clipboard-read=(), clipboard-write=(self), display-capture=(), geolocation=(), \
                           microphone=(), payment=(), usb=()";

/// The keys page that a function serves.
#[derive(Debug, Default)]
pub struct Console {
    /// None if the page is switched off. Then there are no other files either.
    page: Option<File>,
    files: BTreeMap<String, File>,
}

impl Console {
    /// Reads the settings, and the page's files from the folder `page` beside the function's program. With `CONSOLE_ENABLED` at
    /// `false`, no file is found; by default it is `true`.
    ///
    /// # Errors
    ///
    /// See [`UnusableConsole`].
    pub fn from_environment(environment: &Environment) -> Result<Self, UnusableConsole> {
        if !environment.parsed("CONSOLE_ENABLED", "true", "must be true or false")? {
            return Ok(Self::default());
        }
        let folder = environment.required("LAMBDA_TASK_ROOT", "must be the folder of the function")?;
        Self::new(&Path::new(&folder).join("page"), &ConsoleSettings::from_environment(environment)?)
    }

    fn new(folder: &Path, settings: &ConsoleSettings) -> Result<Self, UnusableConsole> {
        let mut contents = files::read(folder)?;
        for name in [PAGE, COMPONENT] {
            if !contents.contains_key(name) {
                let missing = io::Error::from(io::ErrorKind::NotFound);
                return Err(UnusableConsole::Unreadable(folder.join(name), missing));
            }
        }
        let page = contents.remove(PAGE).unwrap_or_default();
        if page.matches(PLACEHOLDER).count() != 1 {
            return Err(UnusableConsole::Placeholder);
        }
        let page = page.replace(PLACEHOLDER, &settings.configuration());
        let policy = HeaderValue::from_str(&settings.content_security_policy())?;
        let page = File::new(PAGE, page)?
            .with(CONTENT_SECURITY_POLICY, policy)
            .with(REFERRER_POLICY, HeaderValue::from_static("no-referrer"))
            .with(
                HeaderName::from_static("cross-origin-opener-policy"),
                HeaderValue::from_static("same-origin"),
            )
            .with(HeaderName::from_static("permissions-policy"), HeaderValue::from_static(PERMISSIONS));
        let mut files = BTreeMap::new();
        for (name, content) in contents {
            let file = File::new(&name, content)?;
            let file = if name == COMPONENT { file.of_every_origin() } else { file };
            files.insert(name, file);
        }
        Ok(Self { page: Some(page), files })
    }

    /// The response to `GET /console` and `GET /console/{file}`: the file, or 304 if the browser has it.
    ///
    /// # Errors
    ///
    /// - [`Error::NoSuchFile`]: the page has no file with this name, or is switched off.
    pub fn respond(&self, request: &ManagementRequest) -> Result<Response<Body>, Error> {
        let file = match request.file() {
            None => self.page.as_ref(),
            Some(name) => self.files.get(name),
        };
        let file = file.ok_or(Error::NoSuchFile)?;
        Ok(file.response(request.if_none_match()))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::fs;
    use std::path::PathBuf;
    use std::sync::atomic::{AtomicU32, Ordering};

    use chrono::Utc;
    use lambda_http::RequestExt;
    use lambda_http::http::Request;

    use super::*;

    const INDEX: &str = r#"<script type="application/json">__KEYGATE_CONFIG__</script>"#;

    /// A folder with the files of a page, which is removed with it.
    struct Folder(PathBuf);

    impl Folder {
        fn new(files: &[(&str, &str)]) -> Self {
            static NUMBER: AtomicU32 = AtomicU32::new(0);
            let number = NUMBER.fetch_add(1, Ordering::Relaxed);
            let name = format!("keygate-console-{}-{number}", std::process::id());
            let folder = Self(std::env::temp_dir().join(name));
            fs::create_dir_all(&folder.0).unwrap();
            for (name, content) in files {
                fs::write(folder.0.join(name), content).unwrap();
            }
            folder
        }

        fn console(&self, variables: &[(&str, &str)]) -> Result<Console, UnusableConsole> {
            let environment = variables.iter().copied().collect();
            Console::new(&self.0, &ConsoleSettings::from_environment(&environment)?)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    fn page() -> Folder {
        Folder::new(&[
            (PAGE, INDEX),
            (COMPONENT, "export {};"),
            ("console-ABCDEF23.js", "import 'x';"),
            ("console-ABCDEF23.css", "p {}"),
        ])
    }

    fn get(console: &Console, file: Option<&str>, tag: Option<&str>) -> Result<Response<Body>, Error> {
        let request = Request::builder();
        let request = match tag {
            Some(tag) => request.header("If-None-Match", tag),
            None => request,
        };
        let path: HashMap<_, _> =
            file.iter().map(|name| ("file".to_owned(), vec![(*name).to_owned()])).collect();
        let request = request.body(Body::Empty).unwrap().with_path_parameters(path);
        console.respond(&ManagementRequest::new(request, Utc::now()))
    }

    fn header<'a>(response: &'a Response<Body>, name: &str) -> Option<&'a str> {
        response.headers().get(name).map(|value| value.to_str().unwrap())
    }

    fn text(response: &Response<Body>) -> &str {
        std::str::from_utf8(response.body()).unwrap()
    }

    #[test]
    fn a_page_that_is_switched_off_is_not_found_and_neither_are_its_files() {
        let console = Console::from_environment(&[("CONSOLE_ENABLED", "false")].into_iter().collect());
        let console = console.unwrap();
        for file in [None, Some(COMPONENT), Some("console-ABCDEF23.js")] {
            assert!(matches!(get(&console, file, None), Err(Error::NoSuchFile)), "{file:?}");
        }
        let unclear = Console::from_environment(&[("CONSOLE_ENABLED", "no")].into_iter().collect());
        assert!(unclear.unwrap_err().to_string().contains("CONSOLE_ENABLED"));
    }

    #[test]
    fn the_page_is_served_with_its_policy_and_is_asked_for_each_time() {
        let console = page().console(&[]).unwrap();
        let response = get(&console, None, None).unwrap();
        assert_eq!(text(&response), r#"<script type="application/json">{"sign_in":null}</script>"#);
        for (name, value) in [
            ("content-type", "text/html; charset=utf-8"),
            ("cache-control", "no-cache"),
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("cross-origin-opener-policy", "same-origin"),
            ("cross-origin-resource-policy", "same-origin"),
            ("permissions-policy", PERMISSIONS),
        ] {
            assert_eq!(header(&response, name), Some(value), "{name}");
        }
        assert!(header(&response, "content-security-policy").unwrap().starts_with("default-src 'none';"));
        assert_eq!(header(&response, "access-control-allow-origin"), None);
    }

    #[test]
    fn files_named_by_their_content_are_kept_and_others_are_asked_for_again() {
        let console = page().console(&[]).unwrap();
        for (name, content_type, caching) in [
            ("console-ABCDEF23.js", "text/javascript; charset=utf-8", "public, max-age=31536000, immutable"),
            ("console-ABCDEF23.css", "text/css; charset=utf-8", "public, max-age=31536000, immutable"),
            (COMPONENT, "text/javascript; charset=utf-8", "no-cache"),
        ] {
            let response = get(&console, Some(name), None).unwrap();
            assert_eq!(header(&response, "content-type"), Some(content_type), "{name}");
            assert_eq!(header(&response, "cache-control"), Some(caching), "{name}");
            assert_eq!(header(&response, "x-content-type-options"), Some("nosniff"), "{name}");
        }
    }

    #[test]
    fn only_the_component_may_be_loaded_by_pages_of_other_origins() {
        let console = page().console(&[]).unwrap();
        for name in [COMPONENT, "console-ABCDEF23.js", "console-ABCDEF23.css"] {
            let response = get(&console, Some(name), None).unwrap();
            let (origin, policy) =
                if name == COMPONENT { (Some("*"), "cross-origin") } else { (None, "same-origin") };
            assert_eq!(header(&response, "access-control-allow-origin"), origin, "{name}");
            assert_eq!(header(&response, "cross-origin-resource-policy"), Some(policy), "{name}");
        }
    }

    #[test]
    fn a_browser_that_has_a_file_gets_no_body() {
        let console = page().console(&[]).unwrap();
        for file in [None, Some(COMPONENT)] {
            let full = get(&console, file, None).unwrap();
            let tag = header(&full, "etag").unwrap();
            let weak_list = format!("\"other\" , W/{}", tag.trim_start_matches("W/"));
            for known in [tag, "*", &weak_list] {
                let response = get(&console, file, Some(known)).unwrap();
                assert_eq!((response.status().as_u16(), text(&response)), (304, ""), "{known}");
                assert_eq!(header(&response, "etag"), Some(tag));
                assert_eq!(header(&response, "cache-control"), header(&full, "cache-control"));
            }
            assert_eq!(get(&console, file, Some("\"other\"")).unwrap().status(), 200);
        }
    }

    #[test]
    fn another_configuration_is_another_page() {
        let folder = page();
        let sign_in = [
            ("CONSOLE_CLIENT_ID", "keys"),
            ("CONSOLE_AUTHORIZATION_ENDPOINT", "https://id.example.com/auth"),
            ("CONSOLE_TOKEN_ENDPOINT", "https://id.example.com/token"),
        ];
        let pages = [folder.console(&[]).unwrap(), folder.console(&sign_in).unwrap()];
        let [without, with] = pages.map(|console| get(&console, None, None).unwrap());
        assert_ne!(header(&without, "etag"), header(&with, "etag"));
        assert!(text(&with).contains(r#""client_id":"keys""#), "{}", text(&with));
    }

    #[test]
    fn a_name_that_the_page_does_not_have_is_not_found() {
        let console = page().console(&[]).unwrap();
        for name in ["", PAGE, "other.js", "../bootstrap", "..%2Fbootstrap", "/etc/passwd"] {
            let response = get(&console, Some(name), None);
            assert!(matches!(response, Err(Error::NoSuchFile)), "{name}");
        }
    }

    #[test]
    fn a_page_that_is_not_built_is_an_error_that_says_how_to_build_it() {
        let error = Folder::new(&[]).console(&[]).unwrap_err().to_string();
        assert!(error.contains("make console"), "{error}");
        let folder = Folder::new(&[(PAGE, INDEX)]);
        let error = folder.console(&[]).unwrap_err().to_string();
        assert!(error.contains(COMPONENT) && error.contains("make console"), "{error}");
        let error =
            Console::new(&folder.0.join("none"), &ConsoleSettings::default()).unwrap_err().to_string();
        assert!(error.contains("make console"), "{error}");
    }

    #[test]
    fn a_page_without_a_place_for_its_configuration_is_an_error() {
        for index in ["<p>", "__KEYGATE_CONFIG__ __KEYGATE_CONFIG__"] {
            let folder = Folder::new(&[(PAGE, index), (COMPONENT, "")]);
            assert!(matches!(folder.console(&[]), Err(UnusableConsole::Placeholder)), "{index}");
        }
    }

    #[test]
    fn a_file_of_an_unknown_type_is_an_error() {
        let folder = Folder::new(&[(PAGE, INDEX), (COMPONENT, ""), ("a.wasm", "")]);
        assert!(matches!(folder.console(&[]), Err(UnusableConsole::UnknownType(name)) if name == "a.wasm"));
    }
}
