//! `keygate keys`.

use clap::{Args, Subcommand, ValueEnum};
use http::Method;
use serde_json::{Map, Value, json};

use crate::api::Call;
use crate::commands::{Extent, OutputFile, deliver};
use crate::context::Context;
use crate::failure::{Failure, Status};
use crate::output::Column;

const COLUMNS: [Column; 8] = [
    ("ID", "id"),
    ("NAME", "name"),
    ("USER", "user_id"),
    ("STATUS", "status"),
    ("SCOPES", "scopes"),
    ("CREATED", "created_at"),
    ("EXPIRES", "expires_at"),
    ("LAST USED", "last_used_at"),
];

/// The members in the order of the API's documentation.
const MEMBERS: [&str; 18] = [
    "id",
    "name",
    "description",
    "prefix",
    "user_id",
    "created_by",
    "created_at",
    "expires_at",
    "last_used_at",
    "last_used_from",
    "status",
    "leaked_at",
    "scopes",
    "endpoints",
    "networks",
    "metadata",
    "can",
    "limits",
];

/// Create, list, change and delete API keys
#[derive(Subcommand)]
pub(crate) enum Keys {
    List(List),
    Show(Show),
    Create(Create),
    Rotate(Rotate),
    Update(Update),
    Disable(Disable),
    Enable(Enable),
    Delete(Delete),
}

/// List the keys of the workspace, or your own, as your key allows
#[derive(Args)]
#[command(after_help = "Examples:\n  keygate keys list --status unused --unused-days 90\n  \
    keygate keys list --metadata env=live --json | jq -r '.items[].id'")]
pub(crate) struct List {
    /// Keys whose name begins with this
    #[arg(long)]
    name: Option<String>,
    /// Keys of a user
    #[arg(long, value_name = "USER")]
    user_id: Option<String>,
    /// Keys that a user created
    #[arg(long, value_name = "USER")]
    created_by: Option<String>,
    /// Keys created since (RFC 3339)
    #[arg(long, value_name = "TIME")]
    created_after: Option<String>,
    /// Keys created before (RFC 3339)
    #[arg(long, value_name = "TIME")]
    created_before: Option<String>,
    /// Keys in a state
    #[arg(long)]
    status: Option<State>,
    /// With --status unused: for how many days
    #[arg(long, value_name = "DAYS")]
    unused_days: Option<u32>,
    /// Keys with metadata; all that are named
    #[arg(long, value_name = "NAME=VALUE", value_parser = metadata)]
    metadata: Vec<(String, String)>,
    /// Order
    #[arg(long)]
    sort: Option<Sort>,
    /// Direction of the order
    #[arg(long)]
    order: Option<Direction>,
    #[command(flatten)]
    extent: Extent,
}

/// The states that the list can be asked for.
#[derive(Clone, Copy, ValueEnum)]
enum State {
    Active,
    Expired,
    Disabled,
    Unused,
}

/// The orders of the list.
#[derive(Clone, Copy, ValueEnum)]
enum Sort {
    Name,
    User,
    #[value(name = "created_by")]
    CreatedBy,
    #[value(name = "created_at")]
    CreatedAt,
    #[value(name = "last_used_at")]
    LastUsedAt,
}

#[derive(Clone, Copy, ValueEnum)]
enum Direction {
    Asc,
    Desc,
}

/// The value as the API has it.
fn name_of(value: Option<impl ValueEnum>) -> Option<String> {
    value?.to_possible_value().map(|value| value.get_name().to_owned())
}

/// Show a key
#[derive(Args)]
#[command(after_help = "Example:\n  keygate keys show 01M8G3V5Z5K8T3Q1W7X2Y9B4CD")]
pub(crate) struct Show {
    /// The key's id
    id: String,
}

/// Create a key, and print it: it is shown only once
#[derive(Args)]
#[command(
    after_help = "Examples:\n  keygate keys create \"nightly export\" --scope orders:read --expires-in 90d\n  \
    keygate keys create deploy --user-id svc:deploy --endpoint \"POST /releases/*\" --output deploy.key\n\n\
    A lost answer is repeated, and makes no second key."
)]
pub(crate) struct Create {
    /// The name, unique in the workspace
    name: String,
    /// What it is for
    #[arg(long)]
    description: Option<String>,
    /// The user who gets it [default: you]
    #[arg(long, value_name = "USER")]
    user_id: Option<String>,
    #[command(flatten)]
    rules: Rules,
    #[command(flatten)]
    expiry: Expiry,
    #[command(flatten)]
    repetition: Repetition,
    #[command(flatten)]
    file: OutputFile,
}

/// What a key may do.
#[derive(Args)]
struct Rules {
    /// What it may do; several are separated by commas
    #[arg(long = "scope", value_name = "SCOPE", value_delimiter = ',')]
    scopes: Vec<String>,
    /// Which method and path it may call, such as "GET /orders/*" [default: all]
    #[arg(long = "endpoint", value_name = "RULE")]
    endpoints: Vec<String>,
    /// From which addresses, such as 192.0.2.0/24 [default: all]
    #[arg(long = "network", value_name = "CIDR", value_delimiter = ',')]
    networks: Vec<String>,
    /// How often, such as 1000/hour
    #[arg(long = "calls", value_name = "NUMBER/UNIT", value_parser = limit)]
    limits: Vec<Value>,
    /// What you attach to it
    #[arg(long, value_name = "NAME=VALUE", value_parser = metadata)]
    metadata: Vec<(String, String)>,
}

impl Rules {
    /// The members of a request for what was given.
    fn members(self) -> Map<String, Value> {
        let metadata: Map<_, _> =
            self.metadata.into_iter().map(|(name, value)| (name, value.into())).collect();
        [
            ("scopes", json!(self.scopes)),
            ("endpoints", json!(self.endpoints)),
            ("networks", json!(self.networks)),
            ("limits", json!(self.limits)),
            ("metadata", json!(metadata)),
        ]
        .into_iter()
        .filter(|(_, value)| value != &json!([]) && value != &json!({}))
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
    }
}

/// When a key stops working.
#[derive(Args)]
struct Expiry {
    /// When it stops working (RFC 3339) [default: never]
    #[arg(long, value_name = "TIME", conflicts_with = "expires_in")]
    expires_at: Option<String>,
    /// After which time it stops working, such as 12h, 90d or 52w
    #[arg(long, value_name = "DURATION", value_parser = seconds)]
    expires_in: Option<u64>,
}

/// How a command that was interrupted is repeated.
#[derive(Args)]
struct Repetition {
    /// The Idempotency-Key of a command that was interrupted, to repeat it [default: a new one]
    #[arg(long, value_name = "TEXT")]
    idempotency_key: Option<String>,
}

impl Repetition {
    /// The given one, or a new one.
    fn key(self) -> Result<String, Failure> {
        if let Some(key) = self.idempotency_key {
            return Ok(key);
        }
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).map_err(|error| {
            Failure::new(Status::Failed, format!("the operating system has no random bytes: {error}"))
        })?;
        Ok(format!("{:032x}", u128::from_be_bytes(bytes)))
    }
}

/// Replace the secret of a key, and print the new one: it is shown only once
#[derive(Args)]
#[command(
    after_help = "Example:\n  keygate keys rotate 01M8G3V5Z5K8T3Q1W7X2Y9B4CD --overlap 24h --output new.key\n\n\
    A lost answer is repeated, and rotates once."
)]
pub(crate) struct Rotate {
    /// The key's id
    id: String,
    /// For how long the old secret still works, such as 24h [default: not at all]
    #[arg(long, value_name = "DURATION", value_parser = seconds)]
    overlap: Option<u64>,
    /// Whether its access tokens end [default: without an overlap]
    #[arg(long, value_name = "BOOL")]
    revoke_tokens: Option<bool>,
    #[command(flatten)]
    repetition: Repetition,
    #[command(flatten)]
    file: OutputFile,
}

/// Change a key; what is not named stays as it is
#[derive(Args)]
#[command(
    after_help = "Examples:\n  keygate keys update 01M8G3V5Z5K8T3Q1W7X2Y9B4CD --scope orders:read,orders:write\n  \
    keygate keys update 01M8G3V5Z5K8T3Q1W7X2Y9B4CD --no-networks --remove-metadata env"
)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of its own on the command line")]
pub(crate) struct Update {
    /// The key's id
    id: String,
    /// The new name
    #[arg(long)]
    name: Option<String>,
    /// The new description
    #[arg(long, conflicts_with = "no_description")]
    description: Option<String>,
    #[command(flatten)]
    rules: Rules,
    /// When it stops working (RFC 3339)
    #[arg(long, value_name = "TIME", conflicts_with = "no_expiry")]
    expires_at: Option<String>,
    /// Remove an entry of its metadata
    #[arg(long, value_name = "NAME")]
    remove_metadata: Vec<String>,
    /// Remove the description
    #[arg(long)]
    no_description: bool,
    /// Remove all scopes
    #[arg(long, conflicts_with = "scopes")]
    no_scopes: bool,
    /// Allow every method and path
    #[arg(long, conflicts_with = "endpoints")]
    no_endpoints: bool,
    /// Allow every address
    #[arg(long, conflicts_with = "networks")]
    no_networks: bool,
    /// Allow any number of calls
    #[arg(long, conflicts_with = "limits")]
    no_limits: bool,
    /// Let it work for ever
    #[arg(long)]
    no_expiry: bool,
}

impl Update {
    /// The body of the request.
    fn changes(self) -> Result<Value, Failure> {
        let mut changes = self.rules.members();
        let removed = [
            ("description", self.no_description),
            ("scopes", self.no_scopes),
            ("endpoints", self.no_endpoints),
            ("networks", self.no_networks),
            ("limits", self.no_limits),
            ("expires_at", self.no_expiry),
        ];
        changes.extend(
            removed
                .into_iter()
                .filter(|(_, is_removed)| *is_removed)
                .map(|(name, _)| (name.to_owned(), Value::Null)),
        );
        let texts = [("name", self.name), ("description", self.description), ("expires_at", self.expires_at)];
        changes.extend(texts.into_iter().filter_map(|(name, text)| Some((name.to_owned(), text?.into()))));
        for name in self.remove_metadata {
            let metadata = changes.entry("metadata").or_insert_with(|| json!({}));
            metadata[name] = Value::Null;
        }
        if changes.is_empty() {
            return Err(Failure::usage(
                "nothing to change: name an option, see `keygate keys update --help`",
            ));
        }
        Ok(Value::Object(changes))
    }
}

/// Stop a key from working; its tokens and sessions end for good
#[derive(Args)]
#[command(after_help = "Example:\n  keygate keys disable 01M8G3V5Z5K8T3Q1W7X2Y9B4CD")]
pub(crate) struct Disable {
    /// The key's id
    id: String,
}

/// Let a disabled key work again
#[derive(Args)]
#[command(after_help = "Example:\n  keygate keys enable 01M8G3V5Z5K8T3Q1W7X2Y9B4CD")]
pub(crate) struct Enable {
    /// The key's id
    id: String,
}

/// Delete a key; this cannot be undone
#[derive(Args)]
#[command(after_help = "Example:\n  keygate keys delete 01M8G3V5Z5K8T3Q1W7X2Y9B4CD --yes")]
pub(crate) struct Delete {
    /// The key's id
    id: String,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

impl Keys {
    /// Runs the command.
    ///
    /// # Errors
    ///
    /// As [`ManagementApi::send`](crate::api::ManagementApi::send), and for output that cannot be written.
    pub(crate) fn run(self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::List(list) => {
                let mut call = Call::new(Method::GET, &["api-keys"])
                    .query("name", list.name)
                    .query("user_id", list.user_id)
                    .query("created_by", list.created_by)
                    .query("created_after", list.created_after)
                    .query("created_before", list.created_before)
                    .query("status", name_of(list.status))
                    .query("unused_days", list.unused_days)
                    .query("sort", name_of(list.sort))
                    .query("order", name_of(list.order));
                for (name, value) in list.metadata {
                    call = call.query(&format!("metadata.{name}"), Some(value));
                }
                let (items, more) = context.api()?.list(&call, list.extent.limit())?;
                context.output.list(&COLUMNS, &items, more)
            }
            Self::Show(Show { id }) => {
                let key = context.api()?.send(&Call::new(Method::GET, &["api-keys", &id]))?;
                context.output.item(&key, &MEMBERS)
            }
            Self::Create(create) => {
                let api = context.api()?;
                let destination = create.file.open()?;
                let mut body = create.rules.members();
                body.insert("name".to_owned(), create.name.into());
                let others = [
                    ("description", create.description.map(Value::from)),
                    ("user_id", create.user_id.map(Value::from)),
                    ("expires_at", create.expiry.expires_at.map(Value::from)),
                    ("expires_in", create.expiry.expires_in.map(Value::from)),
                ];
                body.extend(others.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
                let call = Call::new(Method::POST, &["api-keys"])
                    .body(Value::Object(body))
                    .idempotency_key(&create.repetition.key()?);
                let key = api.send(&call)?;
                let sentence = format!("Key {} of {} is created.", text(&key, "id"), text(&key, "user_id"));
                deliver(context.output, key, "key", &["key"], destination, &sentence)
            }
            Self::Rotate(rotate) => {
                let api = context.api()?;
                let destination = rotate.file.open()?;
                let members = [
                    ("overlap_seconds", rotate.overlap.map(Value::from)),
                    ("revoke_tokens", rotate.revoke_tokens.map(Value::from)),
                ];
                let body: Map<_, _> =
                    members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
                let call = Call::new(Method::POST, &["api-keys", &rotate.id, "rotate"])
                    .body(Value::Object(body))
                    .idempotency_key(&rotate.repetition.key()?);
                let key = api.send(&call)?;
                let sentence = match key["previous_expires_at"].as_str() {
                    Some(end) => format!("Key {} is rotated. Its old secret works until {end}.", rotate.id),
                    None => format!("Key {} is rotated. Its old secret has ended.", rotate.id),
                };
                deliver(context.output, key, "key", &["key"], destination, &sentence)
            }
            Self::Update(update) => {
                let id = update.id.clone();
                change(context, &id, update.changes()?, "is changed")
            }
            Self::Disable(Disable { id }) => change(context, &id, json!({"disabled": true}), "is disabled"),
            Self::Enable(Enable { id }) => change(context, &id, json!({"disabled": false}), "is enabled"),
            Self::Delete(Delete { id, yes }) => {
                context.confirm(yes, &format!("Delete key {id} for good?"))?;
                context.api()?.send(&Call::new(Method::DELETE, &["api-keys", &id]))?;
                context.output.done(&json!({"id": id, "result": "deleted"}), &format!("Key {id} is deleted."))
            }
        }
    }
}

fn change(context: &Context, id: &str, body: Value, done: &str) -> Result<(), Failure> {
    let key = context.api()?.send(&Call::new(Method::PATCH, &["api-keys", id]).body(body))?;
    context.output.done(&key, &format!("Key {id} {done}."))
}

fn text<'a>(item: &'a Value, member: &str) -> &'a str {
    item[member].as_str().unwrap_or_default()
}

/// A duration such as `90d`, in seconds; a number alone is of seconds.
pub(crate) fn seconds(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|character: char| character.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        "w" => 604_800,
        _ => return Err("the units are s, m, h, d and w, as in 90d".to_owned()),
    };
    let number: u64 = digits.parse().map_err(|_| "a number and a unit, as in 90d".to_owned())?;
    number.checked_mul(unit).ok_or_else(|| "it is too long".to_owned())
}

/// `NAME=VALUE`.
fn metadata(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("a name, an equals sign and a value, as in env=live")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// `NUMBER/UNIT`, as a limit of the API, which checks the unit.
fn limit(text: &str) -> Result<Value, String> {
    let form = || "a number and a unit (second, minute, hour, day, month), as in 1000/hour".to_owned();
    let (calls, per) = text.split_once('/').ok_or_else(form)?;
    let calls: u64 = calls.parse().map_err(|_| form())?;
    Ok(json!({"calls": calls, "per": per}))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(subcommand)]
        keys: Keys,
    }

    fn update(arguments: &[&str]) -> Result<Value, Failure> {
        let line = Line::try_parse_from([&["keygate", "update", "id"], arguments].concat()).unwrap();
        let Keys::Update(update) = line.keys else { panic!("an update") };
        update.changes()
    }

    #[test]
    fn members_are_in_the_order_of_the_documentation() {
        assert_eq!(crate::commands::tests::documented("Key"), MEMBERS);
    }

    #[test]
    fn durations_have_units() {
        for (text, expected) in
            [("90d", 7_776_000), ("12h", 43_200), ("2w", 1_209_600), ("45", 45), ("5m", 300)]
        {
            assert_eq!(seconds(text), Ok(expected), "{text}");
        }
        for wrong in ["", "d", "1y", "-1d", "1.5h", "99999999999999999w", "1 d"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_limit_is_a_number_of_calls_and_a_unit() {
        assert_eq!(limit("1000/hour"), Ok(json!({"calls": 1000, "per": "hour"})));
        for wrong in ["1000", "/hour", "x/hour", "-1/hour"] {
            assert!(limit(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_update_has_what_was_named_alone() {
        let changes = update(&[
            "--scope",
            "a,b",
            "--no-networks",
            "--metadata",
            "env=live",
            "--remove-metadata",
            "team",
        ]);
        let expected =
            json!({"scopes": ["a", "b"], "networks": null, "metadata": {"env": "live", "team": null}});
        assert_eq!(changes.unwrap(), expected);
        assert_eq!(update(&[]).unwrap_err().status, Status::Usage);
    }
}
