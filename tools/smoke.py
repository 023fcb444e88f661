"""The second part of the smoke test: settles doubts about AWS, with a deployed stack and the example stack.

    smoke.py --stack keygate --examples keygate-examples [--wait MINUTES] [--probe-role]

The first part is `keygate smoke`, which calls the routes of the management and OAuth APIs. This part bootstraps a
workspace of its own, calls the example stack's APIs, and ends every key that it made. Some properties of AWS can be
seen in a real account only. A table says of each such doubt whether it was confirmed, refuted or not confirmed, with
the evidence. The exit status is 0 if no call failed and nothing was refuted.

--wait is the number of minutes to wait for schedules, and for the end of idle environments. --probe-role makes an IAM
role for the time of the run, which only the caller can assume and which may read and write items of the table of keys.
Under single statements of the functions' roles it shows which calls DynamoDB permits.

No secret is printed. An interrupted run cleans up. After one that was killed the next one does, and the keys of the
killed run expire within an hour. Two runs must not use one stack at the same time. docs/first-deployment.md lists the
rights that it needs.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import textwrap
from collections import Counter
from collections.abc import Mapping

from deployed_stack import DeployedStack, run
from smoke_calls import call_examples, clean_up, make_workspace
from smoke_doubts import (
    check_alias,
    check_cache_clearing,
    check_compression,
    check_deferred_work,
    check_expiry_in_cache,
    check_failures,
    check_import,
    check_networks,
    check_origins,
    check_paths,
    check_refusals,
    check_schedules,
    delete_leftover_apis,
    restore_description,
    waiting_messages,
)
from smoke_roles import check_conditions, delete_leftover_roles, probe_conditions
from smoke_run import REFUTED, UNCONFIRMED, Run

# The addresses in the local stack, which are not those that the outputs have.
LOCAL_URLS = {
    "management": "KEYGATE_API_URL",
    "oauth": "KEYGATE_OAUTH_URL",
    "rest": "KEYGATE_REST_EXAMPLE_URL",
    "http": "KEYGATE_HTTP_EXAMPLE_URL",
    "websocket": "KEYGATE_WEBSOCKET_EXAMPLE_URL",
}
WIDTH = 118


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stack", required=True)
    parser.add_argument("--examples", required=True)
    parser.add_argument("--wait", type=float, default=0, metavar="MINUTES")
    parser.add_argument("--probe-role", action="store_true")
    arguments = parser.parse_args()
    # So that a run that is terminated cleans up too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    stack, examples = DeployedStack(arguments.stack), DeployedStack(arguments.examples)
    is_emulated = "AWS_ENDPOINT_URL" in os.environ
    urls = addresses(stack.outputs, examples.outputs, os.environ if is_emulated else {})
    smoke = Run(stack, examples, urls, is_emulated, arguments.wait * 60)
    place = " in the emulator" if is_emulated else ""
    smoke.say(f"Stack {stack.name}, examples {examples.name}{place}, workspace {smoke.workspace}")
    for delete in (delete_leftover_apis, delete_leftover_roles, restore_description):
        with smoke.section("Leftovers of runs that were killed"):
            delete(smoke)
    try:
        use(smoke, arguments.probe_role)
    finally:
        with smoke.section("End every key of the run"):
            clean_up(smoke)
    return report(smoke)


def addresses(outputs: Mapping[str, str], examples: Mapping[str, str], local: Mapping[str, str]) -> dict[str, str]:
    """The base URL of each API."""
    if local:
        return {name: local[variable] for name, variable in LOCAL_URLS.items()}
    return {
        "management": outputs["ApiUrl"],
        "oauth": outputs["OAuthUrl"],
        "rest": examples["RestExampleUrl"],
        "http": examples["HttpExampleUrl"],
        "websocket": examples["WebSocketExampleUrl"],
    }


def use(smoke: Run, probes_role: bool) -> None:
    """All sections of a run. A failure in one does not end the others."""
    queues = waiting_messages(smoke)
    with smoke.section("Bootstrap a workspace"):
        make_workspace(smoke)
    if not smoke.administrator:
        return
    for title, section in (
        ("REST, HTTP and WebSocket APIs", call_examples),
        ("Refused credentials", check_refusals),
        ("Origins of pages", check_origins),
        ("Compressed responses", check_compression),
        ("Encoded paths", check_paths),
        ("Networks of keys", check_networks),
        ("Expiry of a cached policy", check_expiry_in_cache),
        ("Clearing of caches", check_cache_clearing),
        ("Version of the authorizer", check_alias),
        ("Import with warnings as errors", check_import),
        ("Conditions of the roles, by IAM's simulator", check_conditions),
    ):
        with smoke.section(title):
            section(smoke)
    if probes_role:
        with smoke.section("Conditions of the roles, by DynamoDB"):
            probe_conditions(smoke, smoke.administrator)
    else:
        smoke.find("DynamoDB fills the context keys of the conditions", UNCONFIRMED, "takes --probe-role")
    with smoke.section("Deferred work"):
        check_deferred_work(smoke)
    with smoke.section("Schedules and rules"):
        check_schedules(smoke)
    with smoke.section("Queues of failures, and denied calls"):
        check_failures(smoke, queues)


def report(smoke: Run) -> int:
    """Prints the table and the sum. Returns the exit status."""
    print()
    for finding in smoke.findings:
        print(f"{finding.verdict:14} {finding.doubt}")
        print(textwrap.fill(finding.evidence, WIDTH, initial_indent=" " * 15, subsequent_indent=" " * 15))
    counts = Counter(finding.verdict for finding in smoke.findings)
    verdicts = ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
    print(f"\n{smoke.calls} calls, {len(smoke.failures)} failed. Doubts: {verdicts or 'none'}.")
    for failure in smoke.failures:
        print(f"  FAILED: {failure}")
    return 1 if smoke.failures or counts[REFUTED] else 0


if __name__ == "__main__":
    try:
        sys.exit(run("smoke", main))
    except KeyboardInterrupt:
        sys.exit(130)
