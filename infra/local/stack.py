"""The local stack: DynamoDB Local, the AWS emulator, the proxies, an identity provider, and Keygate deployed into it.

    stack.py up      starts missing processes, builds, deploys, and writes the addresses to FOLDER/env
    stack.py down    stops the processes
    stack.py logs    shows the functions' logs
    stack.py watch   serves the functions from source, with the stack's tables and KMS key
    stack.py run -- COMMAND ...
                     runs a command against a new stack, which is stopped afterwards

A stack has its own folder (--folder, default .local), so several can run at the same time. DynamoDB Local keeps its
tables and the emulator its KMS keys in memory, and one is useless without the other: if one of the two has stopped,
both start again.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from botocore.exceptions import BotoCoreError, ClientError

import certificates
from deploy import (
    EXAMPLES_STACK,
    EXAMPLES_TEMPLATE,
    ROOT,
    STACK,
    TEMPLATE,
    Deployment,
    aws_environment,
    read_dotenv,
    write_dotenv,
)
from services import Service, StackError, alive_record, port_taken, stop

HERE = Path(__file__).resolve().parent
TOOLS = ROOT / ".local" / "tools"

LEGACY_PATTERN = "old-[0-9a-f]{32}"
JWT_AUDIENCE = "https://orders.example.com"

# All functions share one machine, and unoptimised ones start slowly: when many start at once, the default budget may be
# too short. A failed start is worse here than on AWS, because the emulator then ends all environments.
PARAMETERS = {
    "AuthorizerBudgetMs": "4000",
    "LogLevel": "debug",
    # Nothing is cached before the examples and the management API. Tests of a deployment with caches start functions of
    # their own.
    "AuthorizerUncached": "true",
    "AllowedCallLog": "all",
    # The emulator has neither alarms on several metrics nor saved queries, so there is no topic either. The tests of
    # alarms, dashboard and queries are in infra/test_alarms.py.
    "Dashboard": "false",
    # The emulator writes no access logs. Tests put log lines there.
    "ApiAccessLogGroup": f"/aws/apigateway/{STACK}/access",
    # The events of the emulator do not have the address of the API.
    "ConsoleUrl": "https://keys.example.com/console",
    "UserRemovalPattern": '{"source": ["example.users"], "detail-type": ["user removed"]}',
    # The login page of the identity provider asks for groups and a workspace.
    "OidcAudience": "https://keys.example.com",
    # The keys page is its client.
    "ConsoleClientId": "keygate-console",
    "ConsoleResource": "https://keys.example.com",
    "OidcWorkspaceClaim": "workspace",
    "OidcGroupScopes": '{"admins": "workspace:admin", "developers": "keys:write orders:read"}',
    # JWTs for the API of infra/examples/jwt.yaml, and for another one. Both keys are published, so that the roles are
    # those of a rotation.
    "JwtAudiences": f"{JWT_AUDIENCE},urn:example:reports",
    "JwtKeys": "a,b",
    # Far in the future: tests of the sunset start functions with another one.
    "LegacySunset": "2099-12-31T23:59:59Z",
    "LegacyPattern": LEGACY_PATTERN,
    "LegacyHeader": "X-Legacy-Key",
    # Reports that the key of the identity provider has signed.
    "GitHubReports": "true",
    "LifecycleCheckMinutes": "2",
    "DisableUnusedDays": "90",
    # The emulator has no authorizer caches, so these stages need not exist. The recorder records calls to clear them.
    "AuthorizerCaches": "restapis/local/stages/test,apis/local/stages/$default",
}


class Stack:
    """One local stack, with its folder, its six processes and the deployment."""

    def __init__(self, folder: Path, free_ports: bool = False) -> None:
        self.folder = folder
        self.env_file = folder / "env"
        self.calls, self.distinct_calls = folder / "calls.jsonl", folder / "distinct-calls.jsonl"
        # The origins whose pages may call the management API from a browser.
        self.origins = os.environ.get("KEYGATE_CORS_ALLOW_ORIGINS", "")
        self.emulator_files = folder / "run" / "emulator-files"
        # The certificates and the signing keys of the identity provider.
        self.identity = folder / "run" / "identity"

        def port(name: str, variable: str, default: int) -> int:
            return choose_port(folder / "run" / f"{name}.json", variable, default, free_ports)

        dynamodb_port = port("dynamodb-local", "KEYGATE_DYNAMODB_PORT", 28000)
        emulator_port = port("emulator", "KEYGATE_EMULATOR_PORT", 24566)
        recorder_port = port("recorder", "KEYGATE_RECORDER_PORT", 28100)
        self.oauth_port = port("oauth-front", "KEYGATE_OAUTH_PORT", 28200)
        pump_port = port("pump", "KEYGATE_PUMP_PORT", 28300)
        self.oidc_port = port("identity-provider", "KEYGATE_OIDC_PORT", 28400)
        dynamodb_url, emulator_url, recorder_url = (
            f"http://127.0.0.1:{port}" for port in (dynamodb_port, emulator_port, recorder_port)
        )

        home = TOOLS / "dynamodb-local"
        self.dynamodb = Service(
            name="dynamodb-local",
            port=dynamodb_port,
            port_variable="KEYGATE_DYNAMODB_PORT",
            command=[
                *("java", f"-Djava.library.path={home}/DynamoDBLocal_lib", "-jar", f"{home}/DynamoDBLocal.jar"),
                # Shared, because the functions and these scripts have different credentials.
                *("-inMemory", "-sharedDb", "-disableTelemetry", "-port", str(dynamodb_port)),
            ],
            environment={"PATH": os.environ["PATH"]},
            folder=folder / "run",
        )
        self.emulator = Service(
            name="emulator",
            port=emulator_port,
            port_variable="KEYGATE_EMULATOR_PORT",
            # Without the folder of the script in Python's path: the emulator's modules have names like ours.
            command=[str(TOOLS / "emulator" / "bin" / "python"), "-P", str(HERE / "emulator.py")],
            # Functions inherit this environment and find DynamoDB Local and the recorder in it. It has only the path of
            # the user's environment, whose first python3 runs the inline Python functions.
            environment={
                **aws_environment(emulator_url),
                "AWS_ENDPOINT_URL_DYNAMODB": recorder_url,
                "AWS_ENDPOINT_URL_KMS": recorder_url,
                "AWS_ENDPOINT_URL_LAMBDA": recorder_url,
                "AWS_ENDPOINT_URL_EVENTBRIDGE": recorder_url,
                "AWS_ENDPOINT_URL_SQS": recorder_url,
                "AWS_ENDPOINT_URL_API_GATEWAY": recorder_url,
                "GATEWAY_PORT": str(emulator_port),
                "BIND_HOST": "127.0.0.1",
                "IOT_MTLS_ENABLED": "0",
                # What issued the certificate of the identity provider.
                "AWS_CA_BUNDLE": str(self.identity / "ca.pem"),
                "PYTHONPATH": str(HERE / "python-path"),
                "TMPDIR": str(self.emulator_files),
                "PATH": f"{TOOLS}/emulator/bin:{os.environ['PATH']}",
            },
            folder=folder / "run",
        )
        self.recorder = Service(
            name="recorder",
            port=recorder_port,
            port_variable="KEYGATE_RECORDER_PORT",
            command=[
                *(sys.executable, str(HERE / "recorder.py"), "--port", str(recorder_port)),
                *("--dynamodb-port", str(dynamodb_port), "--emulator-port", str(emulator_port)),
                *("--calls", str(self.calls), "--distinct-calls", str(self.distinct_calls)),
            ],
            folder=folder / "run",
        )
        self.pump = Service(
            name="pump",
            port=pump_port,
            port_variable="KEYGATE_PUMP_PORT",
            command=[
                *(sys.executable, str(HERE / "pump.py"), "--port", str(pump_port)),
                *("--dynamodb-port", str(dynamodb_port), "--emulator-port", str(emulator_port)),
            ],
            folder=folder / "run",
        )
        self.oauth_url = f"http://127.0.0.1:{self.oauth_port}"
        self.oidc_issuer = f"https://127.0.0.1:{self.oidc_port}"
        self.deployment = Deployment(folder, emulator_url, dynamodb_url, self.oauth_url)

    def up(self) -> dict[str, str]:
        """Brings the stack up and returns the environment that it wrote for shells and tests."""
        front, provider = self.oauth_front(""), self.identity_provider("")
        for service in (self.dynamodb, self.emulator, self.recorder, self.pump, front, provider):
            service.check_port()
        steps = Steps(12)
        with steps.step("Build the functions"):
            binaries = build_functions()
        if not (self.dynamodb.running() and self.emulator.running()) and self.down():
            print("      (a part of the stack was not running or used another port: the whole stack restarts)")
        self.emulator_files.mkdir(parents=True, exist_ok=True)
        certificates.issue(self.identity)
        self.start(steps, self.dynamodb, "Start DynamoDB Local")
        self.start(steps, self.emulator, "Start the AWS emulator")
        self.start(steps, self.recorder, "Start the recorder between the functions and both")
        with steps.step(f"Merge infra/template, and deploy it as {STACK}"):
            self.deployment.stage(binaries)
            cors = {"CorsAllowOrigins": self.origins} if self.origins else {}
            revision = {"ConfigurationRevision": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")}
            issuers = {
                "OAuthIssuer": self.oauth_url,
                "OidcIssuer": self.oidc_issuer,
                "ConsoleAuthorizationEndpoint": f"{self.oidc_issuer}/auth",
                "ConsoleTokenEndpoint": f"{self.oidc_issuer}/token",
                "GitHubKeysUrl": f"{self.oidc_issuer}/github/keys",
            }
            self.deployment.deploy(STACK, TEMPLATE, PARAMETERS | cors | revision | issuers)
            keygate = self.deployment.outputs(STACK)
        with steps.step(f"Give the OAuth API a host of its own, port {self.oauth_port}"):
            front = self.oauth_front(keygate["OAuthApiId"])
            if not front.running():
                front.start()
        provider = self.identity_provider(f"{self.deployment.api_url()}/console")
        self.start(steps, provider, "Start the identity provider")
        with steps.step(f"Deploy {EXAMPLES_TEMPLATE} as {EXAMPLES_STACK}"):
            authorizer = {"AuthorizerFunctionArn": keygate["AuthorizerFunctionArn"]}
            legacy = {"LegacyPattern": LEGACY_PATTERN}
            self.deployment.deploy(EXAMPLES_STACK, EXAMPLES_TEMPLATE, authorizer | legacy)
        with steps.step("Add the gateway responses, which the emulator does not import"):
            self.deployment.put_gateway_responses(self.origins)
            self.deployment.put_gateway_responses_of_examples()
        with steps.step("Create the deployed tables in DynamoDB Local"):
            self.deployment.create_tables()
        self.start(steps, self.pump, "Start the pump from the tables' streams to the functions")
        with steps.step("Bootstrap the administrator key of alice@example.com in workspace acme"):
            known_key = read_dotenv(self.env_file).get("KEYGATE_ADMIN_KEY")
            environment = self.deployment.environment(self.calls, self.distinct_calls, known_key)
            environment |= {
                "KEYGATE_OIDC_ISSUER": self.oidc_issuer,
                "KEYGATE_OIDC_AUDIENCE": PARAMETERS["OidcAudience"],
                "KEYGATE_OIDC_FILES": str(self.identity),
            }
            write_dotenv(self.env_file, environment)
        return environment

    def start(self, steps: Steps, service: Service, title: str) -> None:
        """Starts a process unless it runs."""
        running = service.running()
        with steps.step(f"{title}, port {service.port}{' (runs already)' if running else ''}"):
            if not running:
                service.start()

    def oauth_front(self, api: str) -> Service:
        """The proxy that gives the OAuth API with that id its own host, as on AWS."""
        return Service(
            name="oauth-front",
            port=self.oauth_port,
            port_variable="KEYGATE_OAUTH_PORT",
            command=[
                *(sys.executable, str(HERE / "front.py"), "--port", str(self.oauth_port)),
                *("--emulator-port", str(self.emulator.port)),
                *("--host", f"{api}.execute-api.localhost:{self.emulator.port}"),
            ],
            folder=self.folder / "run",
        )

    def identity_provider(self, page: str) -> Service:
        """Where people sign in, to come back to that page with a code."""
        return Service(
            name="identity-provider",
            port=self.oidc_port,
            port_variable="KEYGATE_OIDC_PORT",
            command=[
                *("node", str(HERE / "identity_provider.mjs"), "--modules", str(TOOLS / "oidc-provider")),
                *("--certificates", str(self.identity), "--keys", str(self.identity / "signing-keys.json")),
                *("--port", str(self.oidc_port), "--redirect-uri", page),
            ],
            environment={"PATH": os.environ["PATH"]},
            folder=self.folder / "run",
        )

    def down(self) -> bool:
        """Stops the stack's processes and removes their records; False if none was running."""
        front, provider = self.oauth_front(""), self.identity_provider("")
        services = (self.pump, provider, front, self.recorder, self.emulator, self.dynamodb)
        stopped = [stop(service.record) for service in services]
        for leftover in (self.env_file, self.calls, self.distinct_calls, self.folder / "watch.env"):
            leftover.unlink(missing_ok=True)
        others = (self.folder / name for name in ("deploy", "sam", "tests"))
        for folder in (self.emulator_files, self.identity, *others):
            shutil.rmtree(folder, ignore_errors=True)
        return any(stopped)

    def logs(self, function: str | None) -> Iterator[str]:
        """The functions' log lines in the order of time, each as `time function line`."""
        client = self.deployment.client("logs")
        events, is_known = [], function is None
        for group in client.get_paginator("describe_log_groups").paginate().search("logGroups"):
            name = group["logGroupName"].rpartition("/")[2]
            if group["logGroupName"].startswith("/aws/lambda/") and function in (None, name):
                is_known = True
                pages = client.get_paginator("filter_log_events").paginate(logGroupName=group["logGroupName"])
                events += [(event["timestamp"], name, event["message"].rstrip()) for event in pages.search("events")]
        if not is_known:
            raise StackError(f"the function {function} does not exist: see functions/src/bin")
        for timestamp, name, message in sorted(events, key=lambda event: event[0]):
            if not message.startswith(("START ", "END ", "REPORT ")):  # Lambda's own lines
                yield f"{datetime.fromtimestamp(timestamp / 1000, UTC):%H:%M:%S} {name:12} {message}"

    def watch(self, port: int) -> None:
        """Replaces this process by `cargo lambda watch`, with the environment of the deployed functions."""
        if port_taken(port):
            raise StackError(f"port {port} is taken by another process: set KEYGATE_WATCH_PORT to a free one")
        environment = aws_environment(self.deployment.emulator_url)
        environment["AWS_ENDPOINT_URL_DYNAMODB"] = self.deployment.dynamodb_url
        environment["AWS_CA_BUNDLE"] = str(self.identity / "ca.pem")
        for configuration in self.deployment.functions().values():
            environment |= configuration["Environment"]["Variables"]
        # Where the function of the keys page finds its files.
        environment["LAMBDA_TASK_ROOT"] = str(self.folder / "deploy" / "target" / "lambda" / "console")
        env_file = self.folder / "watch.env"
        env_file.write_text("".join(f"{name}={value}\n" for name, value in environment.items()), encoding="utf-8")
        os.chdir(ROOT)
        command = ["cargo", "lambda", "watch", "--wait", "--env-file", str(env_file)]
        os.execvp("cargo", [*command, "--invoke-address", "127.0.0.1", "--invoke-port", str(port)])

    def must_run(self) -> None:
        """Raises unless there is a running stack to work with."""
        if not (self.emulator.running() and self.dynamodb.running() and self.env_file.is_file()):
            raise StackError("no stack is running here; `make dev` starts one")


class Steps:
    """Prints a step while it runs, and how long it took."""

    def __init__(self, total: int) -> None:
        self.number, self.total = 0, total

    @contextlib.contextmanager
    def step(self, title: str) -> Iterator[None]:
        self.number += 1
        print(f"[{self.number}/{self.total}] {title} ... ", end="", flush=True)
        started = time.monotonic()
        try:
            yield
        except BaseException:
            print("failed", flush=True)
            raise
        print(f"{time.monotonic() - started:.1f} s", flush=True)


def build_functions() -> Path:
    """Builds the functions in the profile that the tests use too, and returns the folder of the binaries."""
    command = ["cargo", "build", "--workspace", "--exclude", "keygate-bench", "--bins"]
    if os.environ.get("CI"):
        command.append("--locked")
    interactive = sys.stdout.isatty()  # then cargo's own progress is worth more than a tidy line
    if interactive:
        print(flush=True)
    done = subprocess.run(
        command, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=not interactive, text=True, check=False
    )
    if done.returncode != 0:
        raise StackError("the functions do not build" + (f":\n{done.stderr}" if done.stderr else ""))
    return Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "debug"


def run_with_stack(stack: Stack, command: list[str]) -> int:
    """Runs a command with the environment of a new stack, which is kept afterwards only if KEEP is set."""
    stack.down()
    try:
        environment = stack.up()
        code, panics = run_and_remember_panics(command, os.environ | environment)
        if code != 0:
            lines = list(stack.logs(None))
            log = stack.folder / "functions.log"
            log.write_text("\n".join(lines) + "\n", encoding="utf-8")
            # Requests that are accepted or refused, and metrics, rarely explain a failure.
            remarkable = [line for line in lines if not re.search(r'"level":"(INFO|DEBUG)"', line)]
            print("\n".join(["", f"The functions' warnings and errors (all lines in {log}):", *remarkable[-60:]]))
            if panics:  # Last, because a log that is cut is cut in its middle.
                print("\n".join(["", "The tests' panics:", *panics]), flush=True)
        return code
    finally:
        if os.environ.get("KEEP"):
            print(f"The stack is kept, with its addresses in {stack.env_file}; `make down FOLDER=...` ends it.")
        else:
            stack.down()


def run_and_remember_panics(command: list[str], environment: dict[str, str]) -> tuple[int, list[str]]:
    """Runs a command, and returns its status and the messages of the last panics in its output, each with its place."""
    panics: collections.deque[str] = collections.deque(maxlen=40)
    left = 0  # lines of the current message
    environment |= {"PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        command,
        env=environment,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        for line in process.stdout:
            print(line, end="", flush=True)
            if " panicked at " in line:
                left = 6
            elif line.startswith(("stack backtrace:", "note: ")):
                left = 0
            if left:
                panics.append(line.rstrip("\n")[:1000])
                left -= 1
    return process.returncode, list(panics)


@contextlib.contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Prevents two commands from starting or stopping the same stack at the same time."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "w", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StackError(f"another command uses the stack in {folder}; wait for it") from None
        yield


def choose_port(record: Path, variable: str, default: int, free: bool) -> int:
    """A process's port: its variable's value, else the port in use, else the default or the next free one."""
    if value := os.environ.get(variable):
        if value.isdecimal() and 0 < int(value) < 65536:
            return int(value)
        raise StackError(f"{variable} must be a port number from 1 to 65535, not `{value}`")
    if running := alive_record(record):
        return running["port"]
    port = default
    while free and port_taken(port):
        port += 1
    return port


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path(".local"))
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("up")
    commands.add_parser("down")
    commands.add_parser("logs").add_argument("--function")
    commands.add_parser("watch").add_argument("--port", type=int, required=True)
    commands.add_parser("run").add_argument("arguments", nargs="+", metavar="COMMAND")
    arguments = parser.parse_args()
    folder = ROOT / arguments.folder

    # The local stack must not use the user's AWS configuration.
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    os.environ |= {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull}
    # The `finally` that stops a test's stack must run when `make` is terminated, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        stack = Stack(folder, free_ports=arguments.command == "run")
        if arguments.command == "up":
            with only_one(folder):
                stack.up()
        elif arguments.command == "down":
            with only_one(folder):
                print("The stack is stopped." if stack.down() else "No stack was running.")
        elif arguments.command == "run":
            with only_one(folder):
                return run_with_stack(stack, arguments.arguments)
        elif arguments.command == "logs":
            stack.must_run()
            for line in stack.logs(arguments.function):
                print(line)
        elif arguments.command == "watch":
            stack.must_run()
            stack.watch(arguments.port)
    except StackError as error:
        print(f"stack: {error}", file=sys.stderr)
        return 1
    except (BotoCoreError, ClientError) as error:
        print(f"stack: the emulator returned an error: {error}; its log is {folder}/run/emulator.log", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # `make logs | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


if __name__ == "__main__":
    sys.exit(main())
