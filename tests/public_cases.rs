//! Inputs that public bug reports of similar services describe, each with the response that it gets.
//!
//! A case that takes one request is a row of [`CASES`]. One that takes more is a test of its own in the file of its route.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::legacy::imported;
use crate::support::oauth::basic;
use crate::support::stack::{Answer, variable};
use crate::support::workspace::{Workspace, id_of};

/// A request as sent over the wire, and the expected response.
///
/// In the path, in the values of headers and in the body `{key}` is a key that works, `{id}` its id, and `{legacy}` a legacy
/// key. Unless it says otherwise, a request comes from the workspace's administrator; one to the OAuth API from that key.
struct Case {
    about: &'static str,
    /// Method and path. The path is one of the management API; of the OAuth API, if it begins with `/oauth`; or of the HTTP API
    /// of the example stack, if it begins with `/echo`.
    request: &'static str,
    headers: &'static [(&'static str, &'static str)],
    body: Option<&'static [u8]>,
    status: u16,
    /// The `code` of a problem or the `error` of OAuth; empty if the request succeeds, or is refused by API Gateway.
    code: &'static str,
    /// Texts that the response must have.
    says: &'static [&'static str],
}

const fn case(about: &'static str, request: &'static str) -> Case {
    Case { about, request, headers: &[], body: None, status: 200, code: "", says: &[] }
}

impl Case {
    const fn with(self, headers: &'static [(&'static str, &'static str)]) -> Self {
        Self { headers, ..self }
    }

    const fn body(self, body: &'static str) -> Self {
        Self { body: Some(body.as_bytes()), ..self }
    }

    const fn bytes(self, body: &'static [u8]) -> Self {
        Self { body: Some(body), ..self }
    }

    const fn succeeds(self, status: u16, says: &'static [&'static str]) -> Self {
        Self { status, says, ..self }
    }

    const fn fails(self, status: u16, code: &'static str, says: &'static [&'static str]) -> Self {
        Self { status, code, says, ..self }
    }

    const fn invalid(self, says: &'static [&'static str]) -> Self {
        self.fails(400, "invalid_request", says)
    }
}

const CREATE: &str = "POST /api-keys";
const PATCH: &str = "PATCH /api-keys/{id}";
const ROTATE: &str = "POST /api-keys/{id}/rotate";
const TOKEN: &str = "POST /oauth/token";

const NO_CREDENTIAL: &str = "must not contain a credential";
const TWICE: &str = "is repeated";
const PLUS: &str = "a + is a space in a query: write it as %2B";

const CASES: &[Case] = &[
    // User ids.
    case("an address with an apostrophe", CREATE)
        .body(r#"{"name":"ids 1","user_id":"o'brien@example.com"}"#)
        .succeeds(201, &["o'brien@example.com"]),
    case("an id with an exclamation mark and a tilde", CREATE)
        .body(r#"{"name":"ids 2","user_id":"!a~b"}"#)
        .succeeds(201, &["!a~b"]),
    case("the same users, listed", "GET /api-keys?user_id=o'brien@example.com").succeeds(200, &["ids 1"]),
    case("the same users, listed encoded", "GET /api-keys?user_id=%21a%7Eb").succeeds(200, &["ids 2"]),
    case("the same users, removed", "DELETE /users/o'brien@example.com").succeeds(202, &["o'brien@example.com"]),
    case("the same users, removed encoded", "DELETE /users/%21a%7Eb").succeeds(202, &["!a~b"]),
    case("a plus in a path is a plus", "DELETE /users/bob+ci@example.com").succeeds(202, &["bob+ci@example.com"]),
    case("an encoded plus in a path", "DELETE /users/bob%2Bci@example.com").succeeds(202, &["bob+ci@example.com"]),
    case("an id with a slash", CREATE)
        .body(r#"{"name":"ids 3","user_id":"arn:aws:iam::1:role/a"}"#)
        .invalid(&["/user_id", "' ! ~"]),
    case("a user of one dot", CREATE).body(r#"{"name":"ids 4","user_id":"."}"#).invalid(&["/user_id", "must not be ."]),
    case("a user of two dots", CREATE).body(r#"{"name":"ids 5","user_id":".."}"#).invalid(&["/user_id", ".."]),
    case("two dots in a path", "DELETE /users/%2e%2e").invalid(&["user_id", "must not be . or .."]),
    case("a user like Keygate itself", CREATE)
        .body(r#"{"name":"ids 6","user_id":"KeyGate:clock"}"#)
        .invalid(&["/user_id", "must not begin with keygate:"]),
    case("Keygate itself, removed", "DELETE /users/keygate:clock").invalid(&["user_id", "keygate:"]),
    case("Keygate itself, reinstated", "PUT /users/KEYGATE%3Aclock").invalid(&["user_id", "keygate:"]),
    case("Keygate itself, as an owner", "GET /api-keys?user_id=keygate:import").invalid(&["user_id", "keygate:"]),
    case("Keygate itself, as an heir", "DELETE /users/bob?transfer_to=keygate:users").invalid(&["transfer_to", "keygate:"]),
    case("Keygate itself, in the trail", "GET /activity?actor=keygate:clock").succeeds(200, &["\"items\":[]"]),
    // Credentials in the wrong place. The authorizer refuses one in a query, before a function sees it.
    case("a key as the user to remove", "DELETE /users/{key}").invalid(&["user_id", NO_CREDENTIAL]),
    case("a key as the user to reinstate", "PUT /users/{key}").invalid(&["user_id", NO_CREDENTIAL]),
    case("a key as the heir", "DELETE /users/bob?transfer_to={key}").fails(401, "unauthorized", &[]),
    case("a key as the owner asked for", "GET /api-keys?user_id={key}").fails(401, "unauthorized", &[]),
    case("a key as the name asked for", "GET /api-keys?name={key}").fails(401, "unauthorized", &[]),
    case("a key as a parameter", "GET /api-keys?{key}").fails(401, "unauthorized", &[]),
    case("a key as the actor asked for", "GET /activity?actor={key}").fails(401, "unauthorized", &[]),
    case("a key as a cursor", "GET /api-keys/{id}/tokens?cursor={key}").fails(401, "unauthorized", &[]),
    case("a key in every field of a key", CREATE)
        .body(r#"{"name":"{key}","description":"use {key}","user_id":"{key}","endpoints":["GET /{key}"],"scopes":["{key}"]}"#)
        .invalid(&["/name", "/description", "/user_id", "/endpoints/0", "/scopes/0", NO_CREDENTIAL]),
    case("a key as a field", CREATE).body(r#"{"name":"a","{key}":1}"#).invalid(&["/[credential]"]),
    case("a key as the new name of a key", PATCH).body(r#"{"name":"{key}"}"#).invalid(&["/name", NO_CREDENTIAL]),
    case("a key in the query of an API", "GET /echo?key={key}").fails(403, "", &[]),
    case("a key as a parameter of an API", "GET /echo?{key}=1").fails(403, "", &[]),
    case("a legacy key in the query of an API", "GET /echo?key={legacy}").fails(403, "", &[]),
    case("a legacy key as a parameter of an API", "GET /echo?{legacy}").fails(403, "", &[]),
    // Requests that HTTP does not allow.
    case("a control character in a header", CREATE)
        .with(&[("X-A", "a\u{1}b")])
        .body(r#"{"name":"control"}"#)
        .invalid(&["\"header\":\"x-a\"", "must have no control characters"]),
    case("the same beside a bootstrap", CREATE)
        .with(&[("X-A", "\u{7f}")])
        .body(r#"{"bootstrap":{"workspace_id":"eve","user_id":"eve","name":"eve"}}"#)
        .invalid(&["x-a"]),
    case("the same before a change", PATCH).with(&[("X-A", "\u{1}")]).body("{}").invalid(&["x-a"]),
    case("the same before a list", "GET /api-keys").with(&[("X-A", "\u{1}")]).invalid(&["x-a"]),
    case("the same for a token", TOKEN)
        .with(&[("X-A", "\u{1}")])
        .body("grant_type=client_credentials")
        .invalid(&["x-a"]),
    case("the same for an introspection without a client", "POST /oauth/introspect")
        .with(&[("X-A", "\u{1}"), ("Authorization", "")])
        .body("token=x")
        .invalid(&["x-a"]),
    case("the same for a revocation", "POST /oauth/revoke").with(&[("X-A", "\u{1}")]).body("token=x").invalid(&["x-a"]),
    // JSON.
    case("a byte order mark", CREATE).bytes(b"\xEF\xBB\xBF{\"name\":\"marked\"}").succeeds(201, &["marked"]),
    case("a trailing comma", CREATE)
        .body(r#"{"name":"a",}"#)
        .invalid(&["\"pointer\":\"\"", "trailing comma at line 1 column 13"]),
    case("a comment", CREATE).body("{\n  \"name\": \"a\" // mine\n}").invalid(&["at line 2 column 15"]),
    case("two documents", CREATE)
        .body(r#"{"name":"a"} {"name":"b"}"#)
        .invalid(&["unexpected content after the end of the document at line 1 column 14"]),
    case("no body", CREATE).body("").invalid(&["must be JSON, and is empty"]),
    case("half of a character", CREATE).body(r#"{"name":"\ud800"}"#).invalid(&["a lone surrogate", "at line 1"]),
    case("single quotes", CREATE).body("{'name':'a'}").invalid(&["key must be a string at line 1 column 2"]),
    case("an array", CREATE).body("[]").invalid(&["must be a JSON object"]),
    case("a compressed body", CREATE)
        .with(&[("Content-Encoding", "gzip")])
        .bytes(b"\x1F\x8B\x08\x00\x00\x00")
        .fails(415, "unsupported_media_type", &["content coding", "Content-Encoding"]),
    case("a compressed change", PATCH)
        .with(&[("Content-Encoding", "identity, br")])
        .body("{}")
        .fails(415, "unsupported_media_type", &["content coding"]),
    case("a compressed form", TOKEN)
        .with(&[("Content-Encoding", "deflate")])
        .body("grant_type=client_credentials")
        .invalid(&["content coding"]),
    case("no content coding, said", CREATE)
        .with(&[("Content-Encoding", "identity")])
        .body(r#"{"name":"uncoded"}"#)
        .succeeds(201, &["uncoded"]),
    case("fields that are there twice", CREATE)
        .body(r#"{"name":"twice","expires_in":3600,"scopes":["a"],"expires_in":null,"scopes":["workspace:admin"]}"#)
        .invalid(&["/expires_in", "/scopes", TWICE]),
    case("a field twice in a change", PATCH).body(r#"{"disabled":true,"disabled":false}"#).invalid(&["/disabled", TWICE]),
    case("a field twice in a rotation", ROTATE)
        .body(r#"{"overlap_seconds":60,"overlap_seconds":0}"#)
        .invalid(&["/overlap_seconds", TWICE]),
    case("a field twice within another one", CREATE)
        .body(r#"{"name":"a","scopes":[{"x":1,"x":2}]}"#)
        .invalid(&["/scopes/0/x", TWICE]),
    case("a whole number with a point", CREATE)
        .body(r#"{"name":"a","expires_in":3600.0}"#)
        .invalid(&["/expires_in", "whole number of seconds", "without a decimal point or an exponent"]),
    case("a whole number with an exponent", ROTATE)
        .body(r#"{"overlap_seconds":36e2}"#)
        .invalid(&["/overlap_seconds", "without a decimal point or an exponent"]),
    case("a number as a text", CREATE)
        .body(r#"{"name":"a","expires_in":"3600"}"#)
        .invalid(&["/expires_in", "must be a whole number of seconds"]),
    // Names and descriptions.
    case("a name", CREATE).body(r#"{"name":"Nightly export"}"#).succeeds(201, &[]),
    case("the same with a zero-width space", CREATE)
        .body(r#"{"name":"Nightly ex\u200bport"}"#)
        .fails(409, "name_taken", &[]),
    case("the same behind a byte order mark", CREATE).body(r#"{"name":"\ufeffnightly export"}"#).fails(409, "name_taken", &[]),
    case("the same with a soft hyphen", CREATE).body(r#"{"name":"Night\u00adly export"}"#).fails(409, "name_taken", &[]),
    case("the same with two spaces", CREATE).body(r#"{"name":"Nightly  export"}"#).fails(409, "name_taken", &[]),
    case("the same with a space that does not break", CREATE).body(r#"{"name":"Nightly\u00a0export"}"#).fails(409, "name_taken", &[]),
    case("a name of a zero-width space", CREATE)
        .body(r#"{"name":"\u200b"}"#)
        .invalid(&["/name", "must have at least one visible character"]),
    case("a name of a filler", CREATE).body(r#"{"name":"\u3164"}"#).invalid(&["/name", "visible"]),
    case("a name from right to left", CREATE)
        .body(r#"{"name":"a\u202etxt.exe"}"#)
        .invalid(&["/name", "change the direction of text"]),
    case("a name of two lines", PATCH).body(r#"{"name":"a\u2028b"}"#).invalid(&["/name", "end a line"]),
    case("a description from right to left", CREATE)
        .body(r#"{"name":"a","description":"a\u2066b"}"#)
        .invalid(&["/description", "change the direction of text"]),
    case("an emoji of several characters", CREATE)
        .body("{\"name\":\"👩\u{200D}💻\",\"description\":\"👨\u{200D}👩\u{200D}👧\"}")
        .succeeds(201, &["👩\u{200D}💻"]),
    case("a search for characters that are not compared", "GET /api-keys?name=%E2%80%8B").invalid(&["\"name\"", "visible"]),
    case("a search for a name, encoded", "GET /api-keys?name=NIGHTLY%20EX%E2%80%8BPORT").succeeds(200, &["Nightly export"]),
    // Scopes.
    case("a scope with a wildcard", CREATE)
        .body(r#"{"name":"a","scopes":["orders:*"]}"#)
        .invalid(&["/scopes/0", "scopes have no wildcards"]),
    case("a wildcard alone", PATCH).body(r#"{"scopes":["*"]}"#).invalid(&["/scopes/0", "scopes have no wildcards"]),
    case("a wildcard for a token", TOKEN)
        .body("grant_type=client_credentials&scope=orders:*")
        .fails(400, "invalid_scope", &["scopes have no wildcards"]),
    case("a token without saying for what", TOKEN)
        .body("grant_type=client_credentials")
        .succeeds(200, &["\"scope\":\"orders:read\""]),
    case("a token with an empty scope", TOKEN)
        .body("grant_type=client_credentials&scope=")
        .succeeds(200, &["\"scope\":\"orders:read\""]),
    case("a token that can be renewed, and for nothing", TOKEN)
        .body("grant_type=client_credentials&scope=offline_access")
        .succeeds(200, &["\"scope\":\"offline_access\"", "kg_ref_"]),
    case("the same with blanks", TOKEN)
        .body("grant_type=client_credentials&scope=++offline_access+")
        .succeeds(200, &["\"scope\":\"offline_access\""]),
    case("no expiry, said twice", CREATE)
        .body(r#"{"name":"lasting","expires_in":null,"expires_at":null}"#)
        .succeeds(201, &["\"expires_at\":null"]),
    case("no seconds", CREATE).body(r#"{"name":"a","expires_in":0}"#).invalid(&["/expires_in"]),
    case("fewer than no seconds", CREATE).body(r#"{"name":"a","expires_in":-1}"#).invalid(&["/expires_in"]),
    // Media types.
    case("JSON with a character set", PATCH)
        .with(&[("Content-Type", "Application/JSON; charset=UTF-8")])
        .body("{}")
        .succeeds(200, &[]),
    case("a merge patch", PATCH)
        .with(&[("Content-Type", "application/merge-patch+json")])
        .body("{}")
        .succeeds(200, &[]),
    case("JSON as plain text", PATCH)
        .with(&[("Content-Type", "text/plain")])
        .body("{}")
        .fails(415, "unsupported_media_type", &[]),
    // How a key is presented.
    case("a scheme in lower case", "GET /echo").with(&[("Authorization", "bearer {key}")]).succeeds(200, &[]),
    case("a scheme in upper case", "GET /echo").with(&[("Authorization", "BEARER {key}")]).succeeds(200, &[]),
    case("two spaces behind the scheme", "GET /echo").with(&[("Authorization", "Bearer  {key}")]).succeeds(200, &[]),
    case("a key in quotes", "GET /echo").with(&[("Authorization", "Bearer \"{key}\"")]).fails(403, "", &[]),
    case("a key in angle brackets", "GET /echo").with(&[("Authorization", "Bearer <{key}>")]).fails(403, "", &[]),
    case("a key and a comma", "GET /echo").with(&[("Authorization", "Bearer {key},")]).fails(403, "", &[]),
    case("a key and an encoded line break", "GET /echo")
        .with(&[("Authorization", "Bearer {key}%0A")])
        .fails(403, "", &[]),
    case("a scheme with a colon", "GET /echo").with(&[("Authorization", "Bearer: {key}")]).fails(403, "", &[]),
    case("a scheme twice", "GET /echo").with(&[("Authorization", "Bearer Bearer {key}")]).fails(403, "", &[]),
    case("a key without a scheme", "GET /echo").with(&[("Authorization", "{key}")]).fails(403, "", &[]),
    case("a variable that was not set", "GET /echo").with(&[("Authorization", "Bearer undefined")]).fails(403, "", &[]),
    // Queries.
    case("a time with an offset", "GET /api-keys?created_after=2026-11-01T00:00:00+00:00").invalid(&["created_after", PLUS]),
    case("the same in the trail", "GET /activity?from=2026-11-01T00:00:00+01:00").invalid(&["from", PLUS]),
    case("the same, encoded", "GET /api-keys?created_after=2026-11-01T00:00:00%2B00:00").succeeds(200, &[]),
    case("an address with a plus", "GET /api-keys?user_id=bob+ci@example.com").invalid(&["user_id", PLUS]),
    case("the same as an actor", "GET /activity?actor=bob+ci@example.com").invalid(&["actor", PLUS]),
    case("the same as an heir", "DELETE /users/bob?transfer_to=bob+ci@example.com").invalid(&["transfer_to", PLUS]),
    case("no time at all", "GET /api-keys?created_after=yesterday").invalid(&["created_after", "RFC 3339"]),
    case("a parameter twice", "GET /api-keys?limit=1&limit=2").invalid(&["limit", "must not be repeated"]),
    // Headers.
    case("a good key beside an empty legacy header", "GET /echo")
        .with(&[("Authorization", "Bearer {key}"), ("X-Legacy-Key", "")])
        .succeeds(200, &[]),
    case("a good key beside a blank legacy header", "GET /echo")
        .with(&[("Authorization", "Bearer {key}"), ("X-Legacy-Key", "  ")])
        .succeeds(200, &[]),
    case("a good key beside a legacy key", "GET /echo")
        .with(&[("Authorization", "Bearer {key}"), ("X-Legacy-Key", "{legacy}")])
        .fails(403, "", &[]),
    case("an OAuth client in its form beside an empty header", TOKEN)
        .with(&[("Authorization", "")])
        .body("grant_type=client_credentials&client_id={id}&client_secret={key}")
        .succeeds(200, &["kg_tok_"]),
    case("an ETag without quotes", PATCH).with(&[("If-Match", "1")]).body("{}").invalid(&["If-Match", "in double quotes"]),
    case("an ETag in single quotes", PATCH).with(&[("If-Match", "'1'")]).body("{}").invalid(&["If-Match", "in double quotes"]),
    case("an ETag that is none", ROTATE).with(&[("If-Match", "abc")]).body("{}").invalid(&["If-Match", "in double quotes"]),
    case("an empty ETag", "DELETE /api-keys/{id}").with(&[("If-Match", "")]).invalid(&["If-Match", "in double quotes"]),
    case("a weak ETag", PATCH).with(&[("If-Match", "W/\"1\"")]).body("{}").fails(412, "precondition_failed", &[]),
    case("another ETag", PATCH).with(&[("If-Match", "\"7,1\"")]).body("{}").fails(412, "precondition_failed", &[]),
    case("several ETags", PATCH).with(&[("If-Match", "\"7\", \"1\"")]).body("{}").succeeds(200, &[]),
];

#[tokio::test]
async fn each_public_case_gets_the_response_of_its_row() {
    let workspace = Workspace::new().await;
    let key = workspace.key_of("svc:cases", &["orders:read"]).await;
    let legacy = imported(&workspace, "svc:old", &[]).await;
    let mut wrong = Vec::new();
    for case in CASES {
        let answer = case.send(&workspace, &key, &legacy).await;
        assert!(!answer.text.contains(&key[key.len() - 49..]), "{} has the key in its response", case.about);
        if !case.is_answered_by(&answer) {
            wrong.push(format!("{}: {}: {answer:?}", case.about, case.request));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    workspace.contents().await;
}

/// A response much larger than its request would help an attacker to flood the service cheaply.
#[tokio::test]
async fn a_request_of_nothing_but_repetitions_gets_no_large_response() {
    let workspace = Workspace::new().await;
    let repeated = workspace.list(&workspace.admin, &format!("?{}", "a=&".repeat(2500))).await;
    let limits = workspace.list(&workspace.admin, &format!("?{}", "limit=1&".repeat(900))).await;
    let different: Vec<_> = (0..900).map(|index| format!("p{index}=")).collect();
    let different = workspace.list(&workspace.admin, &format!("?{}", different.join("&"))).await;
    let members: Vec<_> = (0..600).map(|index| format!("\"p{index}\":1,\"p{index}\":1")).collect();
    let body = workspace.create_text(&workspace.admin, format!("{{{}}}", members.join(","))).await;
    for answer in [repeated, limits, different, body] {
        answer.assert_problem(400, "invalid_request");
        assert!(answer.text.len() < 5_000, "{} bytes", answer.text.len());
    }
}

impl Case {
    fn is_answered_by(&self, answer: &Answer) -> bool {
        let media_type = answer.header("content-type").unwrap_or_default();
        let is_of_code = match (self.code, media_type) {
            ("", _) => true,
            (code, "application/problem+json") => {
                let problem = answer.json();
                problem["code"] == code
                    && problem["status"] == self.status
                    && problem["request_id"].is_string()
            }
            (code, "application/json") => answer.json()["error"] == code && self.request.contains(" /oauth/"),
            _ => false,
        };
        answer.status == self.status && is_of_code && self.says.iter().all(|says| answer.text.contains(says))
    }

    async fn send(&self, workspace: &Workspace, key: &str, legacy: &str) -> Answer {
        let filled =
            |text: &str| text.replace("{key}", key).replace("{id}", id_of(key)).replace("{legacy}", legacy);
        let (method, path) = self.request.split_once(' ').expect("a method and a path");
        let (base, authorization, media_type) = if path.starts_with("/oauth") {
            ("KEYGATE_OAUTH_URL", basic(key), "application/x-www-form-urlencoded")
        } else if path.starts_with("/echo") {
            ("KEYGATE_HTTP_EXAMPLE_URL", format!("Bearer {key}"), "")
        } else {
            ("KEYGATE_API_URL", format!("Bearer {}", workspace.admin), "application/json")
        };
        let base = variable(base);
        let (host, prefix) =
            base.split_once("//").and_then(|(_, rest)| rest.split_once('/')).unwrap_or((&base, ""));
        let host = host.trim_start_matches("http://");
        let prefix = if prefix.is_empty() { String::new() } else { format!("/{prefix}") };

        let body = self.body.map(|body| match std::str::from_utf8(body) {
            Ok(text) => filled(text).into_bytes(),
            Err(_) => body.to_vec(),
        });
        let mut headers = vec![("Authorization", authorization)];
        if let Some(body) = &body {
            headers.push(("Content-Type", media_type.to_owned()));
            headers.push(("Content-Length", body.len().to_string()));
        }
        headers.retain(|(name, _)| self.headers.iter().all(|(own, _)| own != name));
        headers.extend(self.headers.iter().map(|(name, value)| (*name, filled(value))));
        let lines = headers.into_iter().map(|(name, value)| format!("{name}: {value}\r\n"));
        let head = format!(
            "{method} {prefix}{} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{}\r\n",
            filled(path),
            lines.collect::<String>()
        );
        exchange(host, head.as_bytes(), &body.unwrap_or_default()).await
    }
}

/// Sends bytes unchanged. HTTP clients refuse some of these requests, or repair them.
async fn exchange(host: &str, head: &[u8], body: &[u8]) -> Answer {
    let exchanged = async {
        let mut connection = TcpStream::connect(host).await?;
        connection.write_all(&[head, body].concat()).await?;
        let mut received = Vec::new();
        // Not to the end of the connection, which some servers leave open.
        while answer(&received).is_none() {
            assert_ne!(connection.read_buf(&mut received).await?, 0, "a whole response");
        }
        Ok::<_, std::io::Error>(received)
    };
    let received = tokio::time::timeout(Duration::from_secs(30), exchanged).await;
    let head = String::from_utf8_lossy(head);
    let received = received.unwrap_or_else(|_| panic!("a response in time to {head}"));
    answer(&received.unwrap_or_else(|error| panic!("{error}: {head}"))).expect("a whole response")
}

/// The response that has been received, or nothing if it is not complete.
fn answer(received: &[u8]) -> Option<Answer> {
    let received = std::str::from_utf8(received).ok()?;
    let (head, text) = received.split_once("\r\n\r\n")?;
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok()).expect("a status");
    let header = |line: &str| {
        let (name, value) = line.split_once(':')?;
        Some((name.to_lowercase(), value.trim().to_owned()))
    };
    let answer = Answer { status, headers: lines.filter_map(header).collect(), text: text.to_owned() };
    let length = answer.header("content-length").map_or(0, |length| length.parse().expect("a length"));
    (text.len() >= length).then_some(answer)
}
