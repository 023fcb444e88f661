//! A key that is used more often than its partition of the database serves reads: what 50 environments of the authorizer respond
//! while its reads are throttled, with the default settings.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use keygate::authorizer::cache::Cache;
use keygate::authorizer::metrics::LookupSource;
use keygate::authorizer::settings::{CacheSettings, budget};
use keygate::authorizer::verifier::Verifier;
use keygate::authorizer::{Authorizer, CredentialHeader};
use keygate::aws::Aws;
use keygate::aws::kms::MacKeySources;
use keygate::aws::settings::AwsSettings;
use keygate::store::reader::CredentialReader;
use keygate_core::credential::Brand;
use keygate_core::decision::Decision;
use keygate_core::environment::Environment;
use keygate_core::error::Error;
use tokio::task::{LocalSet, spawn_local};
use tokio::time::sleep;

use crate::support::partition::Partition;
use crate::support::stack::variable;
use crate::support::workspace::{Workspace, id_of};

const ENVIRONMENTS: usize = 50;

/// The default of `StaleIfErrorSeconds`.
const STALE_SECONDS: i64 = 60;

/// The response of an environment to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    /// It has read the key, and accepts it.
    Accepted,
    /// It could not read the key, and accepts it because it verified it before.
    Stale,
    Refused,
    /// It could not read the key, and decides nothing.
    Failed,
}

/// An authorizer with its own connections, peppers and cache, as an environment of Lambda has them, and the default settings.
struct OwnEnvironment(Authorizer);

impl OwnEnvironment {
    async fn start(partition: &Partition) -> Rc<Self> {
        let named = [
            ("AWS_REGION", "AWS_REGION"),
            ("AWS_ACCESS_KEY_ID", "AWS_ACCESS_KEY_ID"),
            ("AWS_SECRET_ACCESS_KEY", "AWS_SECRET_ACCESS_KEY"),
            ("AWS_ENDPOINT_URL_KMS", "AWS_ENDPOINT_URL"),
            ("KEYS_TABLE", "KEYGATE_KEYS_TABLE"),
            ("TOKENS_TABLE", "KEYGATE_TOKENS_TABLE"),
            ("PEPPER_KEY", "KEYGATE_PEPPER_KEY"),
            ("PEPPER_VERSIONS", "KEYGATE_PEPPER_VERSIONS"),
            ("CURRENT_PEPPER_VERSION", "KEYGATE_CURRENT_PEPPER_VERSION"),
        ];
        let named = named.map(|(name, from)| (name.to_owned(), variable(from)));
        // All environments share one machine.
        let own = [("AWS_ENDPOINT_URL_DYNAMODB", partition.url()), ("AUTHORIZER_BUDGET_MS", "4000")];
        let own = own.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let environment: Environment = named.into_iter().chain(own).collect();
        let settings = AwsSettings::from_environment(&environment).expect("complete settings");
        let budget = budget(&environment).expect("a budget");
        let aws = Aws::new(&settings, "tests", budget).expect("settings that can be used");
        let sources = MacKeySources::peppers(&environment).expect("versions of the pepper");
        let peppers = aws.macs().derive(sources).await.expect("the peppers");
        let reader = CredentialReader::new(aws.dynamodb_read(), &environment).expect("the tables");
        Rc::new(Self(Authorizer {
            brand: "kg".parse::<Brand>().expect("a brand"),
            legacy: None,
            verifier: Verifier { peppers, reader },
            cache: Cache::new(CacheSettings::from_environment(&environment).expect("the defaults")),
        }))
    }

    async fn call(&self, authorization: &str, now: DateTime<Utc>) -> Answer {
        match self.0.decide(Some(CredentialHeader::Authorization(authorization)), now).await {
            Ok(result) => match (result.decision, result.lookup) {
                (Decision::Accepted(_), LookupSource::Store(_)) => Answer::Accepted,
                (Decision::Accepted(_), LookupSource::Stale) => Answer::Stale,
                (Decision::Accepted(_), other) => panic!("accepted by {other:?}"),
                (Decision::Refused(_), _) => Answer::Refused,
            },
            Err(Error::Unavailable { .. }) => Answer::Failed,
            Err(error) => panic!("{error}"),
        }
    }
}

async fn start(partition: &Partition) -> Vec<Rc<OwnEnvironment>> {
    let mut environments = Vec::with_capacity(ENVIRONMENTS);
    for _ in 0..ENVIRONMENTS {
        environments.push(OwnEnvironment::start(partition).await);
    }
    environments
}

/// The responses of all environments to a call of each at the same time.
async fn call_all(
    environments: &[Rc<OwnEnvironment>],
    authorization: &str,
    now: DateTime<Utc>,
) -> Vec<Answer> {
    let calls: Vec<_> = environments
        .iter()
        .map(|environment| {
            let (environment, authorization) = (Rc::clone(environment), authorization.to_owned());
            spawn_local(async move { environment.call(&authorization, now).await })
        })
        .collect();
    let mut answers = Vec::with_capacity(calls.len());
    for call in calls {
        answers.push(call.await.expect("a response"));
    }
    answers
}

#[test]
fn the_template_has_the_same_default() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../infra/template/parameters.yaml");
    let template = std::fs::read_to_string(path).expect("the parameters");
    let (_, parameter) = template.split_once("\n  StaleIfErrorSeconds:\n").expect("the parameter");
    let default = parameter.lines().find_map(|line| line.trim().strip_prefix("Default: "));
    assert_eq!(default, Some(STALE_SECONDS.to_string().as_str()));
    let settings = CacheSettings::from_environment(&Environment::default()).expect("the defaults");
    assert_eq!((settings.fresh_for, settings.stale_for.num_seconds()), (TimeDelta::zero(), STALE_SECONDS));
}

#[tokio::test]
async fn while_all_reads_are_throttled_a_key_is_accepted_for_60_seconds_by_environments_that_verified_it() {
    let workspace = Workspace::new().await;
    let key = workspace.key_of("bob", &[]).await;
    let authorization = format!("Bearer {key}");
    let all_calls = async {
        let partition = Partition::start().await;
        let environments = start(&partition).await;
        let new_environment = OwnEnvironment::start(&partition).await;
        let (verified_at, all) = (Utc::now(), |answer| vec![answer; ENVIRONMENTS]);
        let after = |seconds| verified_at + TimeDelta::seconds(seconds);
        assert_eq!(call_all(&environments, &authorization, verified_at).await, all(Answer::Accepted));

        partition.serve(Some(0));
        for seconds in [1, STALE_SECONDS - 1] {
            assert_eq!(call_all(&environments, &authorization, after(seconds)).await, all(Answer::Stale));
        }
        assert!(partition.take_throttled() >= 2 * ENVIRONMENTS, "each call tries to read the key");
        assert_eq!(new_environment.call(&authorization, after(1)).await, Answer::Failed, "it is no refusal");

        // The revoked key is accepted no longer than that, and not once a read succeeds.
        workspace.delete(&workspace.admin, id_of(&key)).await.assert_succeeded();
        assert_eq!(
            call_all(&environments, &authorization, after(STALE_SECONDS - 1)).await,
            all(Answer::Stale)
        );
        assert_eq!(call_all(&environments, &authorization, after(STALE_SECONDS)).await, all(Answer::Failed));
        partition.serve(None);
        assert_eq!(
            call_all(&environments, &authorization, after(STALE_SECONDS - 1)).await,
            all(Answer::Refused)
        );
        partition.serve(Some(0));
        assert_eq!(
            call_all(&environments, &authorization, after(STALE_SECONDS - 1)).await,
            all(Answer::Failed),
            "an environment that has seen the revocation keeps to it"
        );
    };
    LocalSet::new().run_until(Box::pin(all_calls)).await;
}

/// A partition that serves a part of the reads, as one that is used too much does.
#[tokio::test]
async fn a_key_that_is_used_more_than_its_partition_serves_is_not_refused_until_it_is_revoked() {
    const SERVED_PER_SECOND: u32 = 20;
    const PAUSE: Duration = Duration::from_millis(300);
    const PHASE: Duration = Duration::from_secs(4);
    let workspace = Workspace::new().await;
    let key = workspace.key_of("bob", &[]).await;
    let authorization = format!("Bearer {key}");
    let all_calls = async {
        let partition = Partition::start().await;
        let environments = start(&partition).await;
        let warm = call_all(&environments, &authorization, Utc::now()).await;
        assert_eq!(warm, [Answer::Accepted; ENVIRONMENTS]);

        partition.serve(Some(SERVED_PER_SECOND));
        let is_over = Rc::new(Cell::new(false));
        let callers: Vec<_> = environments
            .iter()
            .map(|environment| {
                let (environment, authorization) = (Rc::clone(environment), authorization.clone());
                let is_over = Rc::clone(&is_over);
                spawn_local(async move {
                    let mut answers = Vec::new();
                    while !is_over.get() {
                        let begun = Instant::now();
                        let answer = environment.call(&authorization, Utc::now()).await;
                        answers.push((begun, answer, Instant::now()));
                        sleep(PAUSE).await;
                    }
                    answers
                })
            })
            .collect();
        sleep(PHASE).await;
        let before = Instant::now();
        workspace.delete(&workspace.admin, id_of(&key)).await.assert_succeeded();
        let after = Instant::now();
        sleep(PHASE).await;
        is_over.set(true);

        let (mut early, mut late) = (Vec::new(), Vec::new());
        for caller in callers {
            let answers = caller.await.expect("the responses of an environment");
            let answered = answers.iter().filter(|(_, _, end)| *end < before).map(|(_, answer, _)| *answer);
            early.extend(answered);
            let own: Vec<_> =
                answers.iter().filter(|(begun, ..)| *begun > after).map(|(_, answer, _)| *answer).collect();
            let seen = own.iter().position(|answer| *answer == Answer::Refused).unwrap_or(own.len());
            let keeps = own[seen..].iter().all(|answer| matches!(answer, Answer::Refused | Answer::Failed));
            assert!(keeps, "an environment that has seen the revocation accepts the key no more: {own:?}");
            late.extend(own);
        }
        let count = |answers: &[Answer], wanted| answers.iter().filter(|answer| **answer == wanted).count();
        assert!(early.iter().all(|answer| matches!(answer, Answer::Accepted | Answer::Stale)), "{early:?}");
        assert!(count(&early, Answer::Accepted) > 0 && count(&early, Answer::Stale) > 0, "{early:?}");
        assert_eq!(count(&late, Answer::Accepted), 0, "no read after the revocation finds the key");
        assert!(count(&late, Answer::Stale) > 0 && count(&late, Answer::Refused) > 0, "{late:?}");

        partition.serve(None);
        let recovered = call_all(&environments, &authorization, Utc::now()).await;
        assert_eq!(recovered, [Answer::Refused; ENVIRONMENTS], "reads recover by themselves");
    };
    LocalSet::new().run_until(all_calls).await;
}
