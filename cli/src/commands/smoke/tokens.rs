//! Access and refresh tokens of a key, introspection, and JWTs.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use super::call::SmokeCall;
use super::run::{Incomplete, Key, Run, ensure};

/// A part of the check, with a key of its own.
type Part = fn(&mut Run, &Key) -> Result<(), Incomplete>;

const GRANT: (&str, &str) = ("grant_type", "client_credentials");

pub(super) fn check(run: &mut Run) -> Result<(), Incomplete> {
    let metadata = run.expect(&SmokeCall::oauth("GET /.well-known/oauth-authorization-server"), 200)?.json();
    ensure(metadata["token_endpoint"].is_string(), || format!("the metadata of the OAuth API: {metadata}"))?;
    // Not one key for all parts, because a stack can allow a key two tokens.
    let parts: [Part; 4] = [introspect, refresh, revoke, list];
    for part in parts {
        let key = run.create_key("smoke-client", &["orders:read", "keys:write", "tokens:introspect"])?;
        part(run, &key)?;
        let admin = run.admin();
        let end = SmokeCall::management("DELETE /api-keys/{id}").with("id", &key.id).by(&admin);
        run.expect(&end, 204)?;
    }
    Ok(())
}

fn token(form: &[(&str, &str)]) -> SmokeCall {
    SmokeCall::oauth("POST /oauth/token").form(form)
}

fn introspection(form: &[(&str, &str)]) -> SmokeCall {
    SmokeCall::oauth("POST /oauth/introspect").form(form)
}

fn introspect(run: &mut Run, key: &Key) -> Result<(), Incomplete> {
    let wrong = Key { id: key.id.clone(), text: format!("{}!", key.text.expose_secret()).into() };
    run.refuse(&token(&[GRANT]).by_client(&wrong), 401, "invalid_client")?;
    let issued = run.expect(&token(&[GRANT, ("scope", "orders:read")]).by_client(key), 200)?;
    let access_token = issued.secret("access_token")?;
    let asked = ("token", access_token.expose_secret());
    let seen = run.expect(&introspection(&[asked]).by_client(key), 200)?.json();
    ensure(seen["active"] == true, || format!("POST /oauth/introspect: {seen}"))?;
    let of_call = |method| [asked, ("method", method), ("path", "/orders/7"), ("address", "203.0.113.7")];
    let seen = run.expect(&introspection(&of_call("GET")).by_client(key), 200)?.json();
    ensure(seen["allowed"] == true, || format!("POST /oauth/introspect of a call: {seen}"))?;
    run.refuse(&introspection(&of_call("get")).by_client(key), 400, "invalid_request")
}

/// Refreshes a token. A refresh token that is used twice ends all tokens of its family, unless the stack allows a repetition.
fn refresh(run: &mut Run, key: &Key) -> Result<(), Incomplete> {
    let issued = run.expect(&token(&offline("orders:read offline_access")).by_client(key), 200)?;
    run.refuse(&token(&offline("orders:delete")).by_client(key), 400, "invalid_scope")?;
    let refresh_token = issued.secret("refresh_token")?;
    // A stack can allow a key two tokens, of which the refresh token is one.
    let first = issued.secret("access_token")?;
    run.expect(&SmokeCall::oauth("POST /oauth/revoke").form(&[("token", first.expose_secret())]), 200)?;
    let renewal = [("grant_type", "refresh_token"), ("refresh_token", refresh_token.expose_secret())];
    let renewed = run.expect(&token(&renewal), 200)?.secret("access_token")?;
    if run.stack.parameter("RefreshReuseSeconds").is_none_or(|seconds| seconds == "0") {
        run.accepts(&renewed, "the token of a refresh token that was used once")?;
        run.refuse(&token(&renewal), 400, "invalid_grant")?;
        run.until_refused(&renewed, "a token of a refresh token that was used twice")?;
    }
    Ok(())
}

fn offline(scope: &str) -> [(&str, &str); 3] {
    [GRANT, ("scope", scope), ("expires_in", "600")]
}

fn revoke(run: &mut Run, key: &Key) -> Result<(), Incomplete> {
    let access_token = run.expect(&token(&[GRANT]).by_client(key), 200)?.secret("access_token")?;
    run.expect(&SmokeCall::management("GET /me").by(&access_token), 200)?;
    let asked = [("token", access_token.expose_secret())];
    run.expect(&SmokeCall::oauth("POST /oauth/revoke").form(&asked), 200)?;
    run.until_refused(&access_token, "a revoked access token")?;
    let seen = run.expect(&introspection(&asked).by_client(key), 200)?.json();
    ensure(seen["active"] == false, || format!("POST /oauth/introspect of a revoked token: {seen}"))
}

/// The tokens of a key are listed, and end one by one or together.
fn list(run: &mut Run, key: &Key) -> Result<(), Incomplete> {
    let mut tokens = Vec::new();
    for _ in 0..2 {
        let issued = run.expect(&token(&[GRANT]).by_client(key), 200)?.secret("access_token")?;
        run.accepts(&issued, "a new access token")?;
        tokens.push(issued);
    }
    let call = |route| SmokeCall::management(route).with("id", &key.id).by(&key.text);
    let listed = run.expect(&call("GET /api-keys/{id}/tokens"), 200)?.json();
    let first = listed["items"][0]["id"].as_str();
    let first = first.ok_or_else(|| Incomplete::failed(format!("GET /api-keys/{{id}}/tokens: {listed}")))?;
    run.expect(&call("DELETE /api-keys/{id}/tokens/{token_id}").with("token_id", first), 204)?;
    let left = run.expect(&call("GET /api-keys/{id}/tokens"), 200)?.json();
    let is_one = left["items"].as_array().is_some_and(|tokens| tokens.len() == 1 && tokens[0]["id"] != first);
    ensure(is_one, || format!("tokens that are left of two after the revocation of {first}: {left}"))?;
    run.expect(&call("DELETE /api-keys/{id}/tokens"), 204)?;
    let left = run.expect(&call("GET /api-keys/{id}/tokens"), 200)?.json();
    ensure(left["items"] == Value::Array(Vec::new()), || format!("tokens that are left: {left}"))?;
    tokens.iter().try_for_each(|token| run.until_refused(token, "a revoked access token of the list"))
}

/// JWTs of a key, and the documents by which APIs verify them.
pub(super) fn check_jwts(run: &mut Run) -> Result<(), Incomplete> {
    let audiences = run.stack.parameter("JwtAudiences").unwrap_or_default();
    let audience = audiences.split(',').next().unwrap_or_default().trim().to_owned();
    if audience.is_empty() {
        return Err(Incomplete::not_checked("JwtAudiences is empty"));
    }
    let metadata = run.expect(&SmokeCall::oauth("GET /.well-known/openid-configuration"), 200)?.json();
    let keys = run.expect(&SmokeCall::oauth("GET /.well-known/jwks.json"), 200)?.json();
    let key = run.create_key("smoke-jwt", &["orders:read"])?;
    let jwt = run.expect(&token(&[GRANT, ("resource", &audience)]).by_client(&key), 200)?;
    let jwt = jwt.secret("access_token")?;
    let (head, claims) =
        parts(&jwt).ok_or_else(|| Incomplete::failed("POST /oauth/token: the token is no JWT"))?;
    let published = keys["keys"].as_array().map_or(&[][..], Vec::as_slice);
    ensure(published.iter().any(|key| key["kid"] == head["kid"]), || {
        format!("GET /.well-known/jwks.json: the key {} of a JWT is not published", head["kid"])
    })?;
    ensure(claims["iss"] == metadata["issuer"] && claims["aud"] == audience.as_str(), || {
        format!("the claims of a JWT: {claims}")
    })?;
    let unlisted = [GRANT, ("resource", "urn:example:keygate-smoke-unlisted")];
    run.refuse(&token(&unlisted).by_client(&key), 400, "invalid_target")?;
    let revocation = SmokeCall::oauth("POST /oauth/revoke").form(&[("token", jwt.expose_secret())]);
    run.refuse(&revocation, 400, "unsupported_token_type")
}

/// The header and the claims of a JWT, whose signature is not verified.
fn parts(jwt: &SecretString) -> Option<(Value, Value)> {
    let mut parts = jwt.expose_secret().split('.').map(|part| {
        let bytes = URL_SAFE_NO_PAD.decode(part).ok()?;
        serde_json::from_slice(&bytes).ok()
    });
    Some((parts.next()??, parts.next()??))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_a_jwt_are_read() {
        let (head, claims) = parts(&"eyJraWQiOiJhIn0.eyJhdWQiOiJiIn0.c2ln".into()).unwrap();
        assert_eq!((&head["kid"], &claims["aud"]), (&"a".into(), &"b".into()));
        for wrong in ["", "a.b", "eyJraWQiOiJhIn0", "kg_tok_1"] {
            assert!(parts(&wrong.into()).is_none(), "{wrong}");
        }
    }
}
