#!/usr/bin/env bash
# demo.sh [FOLDER]
#
# Shows the main use of the running stack of FOLDER (.local) with curl: create a key, use it at two APIs, find it in the
# list, delete it, and be refused. Secrets are masked. Fails at the first unexpected response.
set -euo pipefail

folder=${1:-.local}
# shellcheck source=/dev/null
. "$folder/env"
answer=$(mktemp)
trap 'rm -f "$answer"' EXIT

# The printed commands call this function. It writes the response to a file and prints the status.
curl() {
    command curl --silent --show-error --max-time 60 --output "$answer" --write-out '%{http_code}' "$@"
}

# Masks the secret of each credential; brand, kind and id remain.
mask() {
    sed -E 's/\b([a-z][a-z0-9]{1,9}_key_[0-9A-Z]{26}_)[0-9A-Za-z]{49}\b/\1*****/g'
}

# say TEXT: announces the next step.
say() {
    printf '\n# %s\n' "$1"
}

# call STATUS COMMAND: prints the command, runs it, prints the response and checks the status.
call() {
    local expected=$1 command=$2 status
    printf '$ %s\n' "$command"
    : >"$answer"
    status=$(eval "$command") || {
        echo "demo: no response" >&2
        exit 1
    }
    echo "HTTP $status"
    { jq . "$answer" 2>/dev/null || cat "$answer"; } | mask
    if [[ $status != "$expected" ]]; then
        echo "demo: expected HTTP $expected; \`make logs\` shows the functions' logs" >&2
        exit 1
    fi
}

# The variables in single quotes are meant to be seen as variables: `call` evaluates them.
# shellcheck disable=SC2016,SC2034
{
    NAME="demo of $(date '+%Y-%m-%d %H:%M:%S')"

    say "An administrator creates a key. Only this response shows the credential, \$KEY below; \$ID is the id of the key."
    call 201 'curl "$KEYGATE_API_URL/api-keys" \
    -H "Authorization: Bearer $KEYGATE_ADMIN_KEY" -H "Content-Type: application/json" \
    -d "{\"name\": \"$NAME\", \"scopes\": [\"orders:read\"], \"expires_in\": 3600}"'
    KEY=$(jq -er .key "$answer")
    ID=$(jq -er .id "$answer")

    say "An API behind the authorizer accepts the key and knows its caller: a REST API ..."
    call 200 'curl "$KEYGATE_REST_EXAMPLE_URL/echo" -H "Authorization: Bearer $KEY"'

    say "... and an HTTP API."
    call 200 'curl "$KEYGATE_HTTP_EXAMPLE_URL/echo" -H "Authorization: Bearer $KEY"'

    say "The management API refuses it, because it does not have the scope keys:write."
    call 403 'curl -X DELETE "$KEYGATE_API_URL/api-keys/$ID" -H "Authorization: Bearer $KEY"'

    say "The list shows the key without its credential."
    call 200 'curl "$KEYGATE_API_URL/api-keys?limit=1" -H "Authorization: Bearer $KEYGATE_ADMIN_KEY"'

    say "The administrator deletes the key."
    call 204 'curl -X DELETE "$KEYGATE_API_URL/api-keys/$ID" -H "Authorization: Bearer $KEYGATE_ADMIN_KEY"'

    say "The key is refused: a REST API returns 401 ..."
    call 401 'curl "$KEYGATE_REST_EXAMPLE_URL/echo" -H "Authorization: Bearer $KEY"'

    say "... and an HTTP API 403."
    call 403 'curl "$KEYGATE_HTTP_EXAMPLE_URL/echo" -H "Authorization: Bearer $KEY"'
}

cat <<END

The stack is running; \`set -a; . $folder/env; set +a\` gives a shell its addresses and its administrator key.
  management API    $KEYGATE_API_URL
  OAuth API         $KEYGATE_OAUTH_URL
  identity provider $KEYGATE_OIDC_ISSUER
  REST API example  $KEYGATE_REST_EXAMPLE_URL
  HTTP API example  $KEYGATE_HTTP_EXAMPLE_URL
  DynamoDB Local    $KEYGATE_DYNAMODB_URL
  AWS emulator      $AWS_ENDPOINT_URL
\`make dev\` deploys your changes, \`make logs\` shows the functions' logs, \`make down\` stops it.
END
