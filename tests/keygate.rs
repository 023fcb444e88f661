//! Keygate, tested where it runs: behind API Gateway, on DynamoDB and KMS.
//!
//! The variables that `make e2e` sets tell the tests where the stack is. Each test has a workspace of its own, so tests run
//! side by side. The checks in [`whole_run`] concern a whole run: `make e2e` runs them last. A test that waits for
//! something polls with [`support::eventually`], which fails at a deadline.

mod support;

mod access_log;
mod access_tokens;
mod alarms;
mod authorizer;
mod authorizer_matrix;
mod authorizer_mutations;
mod bootstrap;
mod cache;
mod cache_invalidation;
mod call_activity;
mod consumption;
mod cors;
mod create_key;
mod deferred_work;
mod delete_key;
mod endpoints;
mod events;
mod expired_keys;
mod faults;
mod get_key;
mod idempotent_create;
mod idempotent_rotate;
mod import_legacy_keys;
mod interruptions;
mod introspect_token;
mod invocations;
mod issue_token;
mod key_life;
mod legacy_keys;
mod life_of_names_and_places;
mod lifecycle;
mod limits;
mod list_activity;
mod list_keys;
mod list_tokens;
mod list_walks;
mod manage_legacy_keys;
mod metadata;
mod metrics;
mod networks;
mod oauth_clients;
mod other_workspaces;
mod people;
mod pepper_status;
mod permissions;
mod public_cases;
mod purge;
mod races;
mod refresh_reuse;
mod refused_clients;
mod removal_limit;
mod remove_user;
mod revocation;
mod revoke_token;
mod rights;
mod rotate_key;
mod sessions;
mod story;
mod timeouts;
mod tokens_per_key;
mod unprocessed_keys;
mod unused_keys;
mod update_key;
mod upgrade;
mod usage;
mod whoami;
mod whole_run;
