#!/usr/bin/env bash
# demo.sh [FOLDER]
#
# The main job against the running stack of FOLDER (.local), as a person would do it with curl: create a key, use it at
# two APIs, find it in the list, delete it, and be refused. Secrets are masked. Fails at the first unexpected answer.
set -euo pipefail

folder=${1:-.local}
# shellcheck source=/dev/null
. "$folder/env"
answer=$(mktemp)
trap 'rm -f "$answer"' EXIT

# What the printed commands call: curl, which leaves the answer in a file and says its status.
curl() {
    command curl --silent --show-error --max-time 60 --output "$answer" --write-out '%{http_code}' "$@"
}

# Keeps of a credential what may be seen: its brand, kind and id.
mask() {
    sed -E 's/\b([a-z][a-z0-9]{1,9}_key_[0-9A-Z]{26}_)[0-9A-Za-z]{49}\b/\1*****/g'
}

# say TEXT: what comes next.
say() {
    printf '\n# %s\n' "$1"
}

# call STATUS COMMAND: shows the command as it would be typed, runs it, shows the answer, insists on the status.
call() {
    local expected=$1 command=$2 status
    printf '$ %s\n' "$command"
    : >"$answer"
    status=$(eval "$command") || {
        echo "demo: no answer" >&2
        exit 1
    }
    echo "HTTP $status"
    { jq . "$answer" 2>/dev/null || cat "$answer"; } | mask
    if [[ $status != "$expected" ]]; then
        echo "demo: expected HTTP $expected; \`make logs\` shows what the functions say" >&2
        exit 1
    fi
}

# The variables in single quotes are meant to be seen as variables: `call` evaluates them.
# shellcheck disable=SC2016,SC2034
{
    NAME="demo of $(date '+%Y-%m-%d %H:%M:%S')"

    say "An administrator creates a key. The answer has the credential, this once: \$KEY from here on, as its id is \$ID."
    call 201 'curl "$KEYGATE_API_URL/api-keys" \
    -H "Authorization: Bearer $KEYGATE_ADMIN_KEY" -H "Content-Type: application/json" \
    -d "{\"name\": \"$NAME\", \"scopes\": [\"orders:read\"], \"expires_in\": 3600}"'
    KEY=$(jq -er .key "$answer")
    ID=$(jq -er .id "$answer")

    say "With it, an API behind the authorizer is open, and knows its caller: here a REST API ..."
    call 200 'curl "$KEYGATE_REST_EXAMPLE_URL/echo" -H "Authorization: Bearer $KEY"'

    say "... and here an HTTP API."
    call 200 'curl "$KEYGATE_HTTP_EXAMPLE_URL/echo" -H "Authorization: Bearer $KEY"'

    say "It does not open the management API, because it does not carry keys:write."
    call 403 'curl -X DELETE "$KEYGATE_API_URL/api-keys/$ID" -H "Authorization: Bearer $KEY"'

    say "The list has the key, and nothing that could be used in its place."
    call 200 'curl "$KEYGATE_API_URL/api-keys?limit=1" -H "Authorization: Bearer $KEYGATE_ADMIN_KEY"'

    say "The administrator deletes it."
    call 204 'curl -X DELETE "$KEYGATE_API_URL/api-keys/$ID" -H "Authorization: Bearer $KEYGATE_ADMIN_KEY"'

    say "From now on it is refused: a REST API answers 401 ..."
    call 401 'curl "$KEYGATE_REST_EXAMPLE_URL/echo" -H "Authorization: Bearer $KEY"'

    say "... and an HTTP API 403."
    call 403 'curl "$KEYGATE_HTTP_EXAMPLE_URL/echo" -H "Authorization: Bearer $KEY"'
}

cat <<END

The stack is up; \`set -a; . $folder/env; set +a\` gives a shell its addresses and its administrator key.
  management API    $KEYGATE_API_URL
  OAuth API         $KEYGATE_OAUTH_URL
  REST API example  $KEYGATE_REST_EXAMPLE_URL
  HTTP API example  $KEYGATE_HTTP_EXAMPLE_URL
  DynamoDB Local    $KEYGATE_DYNAMODB_URL
  AWS emulator      $AWS_ENDPOINT_URL
\`make dev\` deploys your changes, \`make logs\` shows the functions' logs, \`make down\` ends it.
END
