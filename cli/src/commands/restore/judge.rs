//! What is done with a restored item. No credential that was revoked since the restored time comes back, and removed users stay
//! removed.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use aws_sdk_dynamodb::types::AttributeValue;
use chrono::{DateTime, Utc};
use futures_util::{StreamExt, TryStreamExt, stream};

use super::live::{Live, WRITES, user_key};
use super::table::{Comparison, Item, Table, identity, number, text};
use crate::failure::Failure;

/// What the operator chose.
#[derive(Clone, Copy, Debug)]
pub(super) struct Options {
    /// Whether live keys that are newer are overwritten.
    pub(super) overwrite: bool,
    /// Whether keys that were deleted or changed since are written.
    pub(super) revive: bool,
    /// Whether the audit trail need not reach back to the restored time.
    pub(super) without_trail: bool,
    pub(super) restored_at: DateTime<Utc>,
}

/// Why an item is not written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kept {
    Same,
    Newer,
    ChangedSince,
    OfRemovedUser,
    WithoutKey,
    Expired,
    /// Records that must work once, and notes of scheduled functions.
    LeftOut,
}

/// What is done with an item.
#[derive(Debug)]
pub(super) enum Verdict {
    Write(Write),
    /// It is not written, with a line for the operator where a credential is concerned.
    Keep(Kept, Option<String>),
}

/// An item to write.
#[derive(Debug)]
pub(super) struct Write {
    pub(super) item: Item,
    /// An attribute of the live item as it was read; none if there is no live item.
    pub(super) live: Option<(&'static str, AttributeValue)>,
}

impl Write {
    pub(super) fn is_missing(&self) -> bool {
        self.live.is_none()
    }
}

type Removals = Rc<HashMap<String, DateTime<Utc>>>;

/// Judges the items of a table.
#[derive(Debug)]
pub(super) struct Judge<'a> {
    live: &'a Live<'a>,
    options: Options,
    /// The removals since the restored time, by workspace.
    removals: RefCell<HashMap<String, Removals>>,
}

/// What the live tables say about the items of a page.
struct Page {
    items: HashMap<String, Item>,
    keys: HashMap<String, Item>,
    users: HashMap<String, Item>,
}

impl<'a> Judge<'a> {
    pub(super) fn new(live: &'a Live<'a>, options: Options) -> Self {
        Self { live, options, removals: RefCell::default() }
    }

    /// Judges the items of a page.
    ///
    /// # Errors
    ///
    /// An item is of another table, or the live tables cannot be read.
    pub(super) async fn judge(&self, items: Vec<Item>) -> Result<Vec<Verdict>, Failure> {
        let table = self.live.kind;
        for item in &items {
            table.check(item)?;
        }
        let ids = items.iter().filter_map(|item| key_id(table, item));
        let users = items.iter().filter_map(|item| text(item, "workspace_id").zip(text(item, "user_id")));
        let page = Page {
            items: self.live.items(&items).await?,
            keys: if table.has_credentials() || table == Table::Activity {
                HashMap::new()
            } else {
                self.live.keys(ids).await?
            },
            users: if table.has_credentials() { self.live.users(users).await? } else { HashMap::new() },
        };
        let now = Utc::now().timestamp();
        let verdicts = stream::iter(items).map(|item| self.verdict(item, &page, now));
        verdicts.buffered(WRITES).try_collect().await
    }

    async fn verdict(&self, item: Item, page: &Page, now: i64) -> Result<Verdict, Failure> {
        let table = self.live.kind;
        let live = page.items.get(&identity(&table.key_of(&item)));
        let comparison = table.compare(&item, live);
        let keep = |kept| Ok(Verdict::Keep(kept, None));
        if is_left_out(table, &item) {
            return keep(Kept::LeftOut);
        }
        if comparison == Comparison::Same {
            return keep(Kept::Same);
        }
        if item.contains_key("ttl") && number(&item, "ttl") <= now {
            return keep(Kept::Expired);
        }
        if comparison == Comparison::LiveIsNewer && !(self.options.overwrite && table.has_credentials()) {
            let told = if table.has_credentials() {
                Some(self.told(&item, "is newer in the live table"))
            } else {
                self.lost_removal(&item, live).await?
            };
            return Ok(Verdict::Keep(Kept::Newer, told));
        }
        match table {
            Table::Keys | Table::LegacyKeys => self.credential(item, live, comparison, page).await,
            Table::Workspaces => self.entry(item, page).await,
            Table::Usage => Ok(with_key(item, page)),
            Table::Tokens => self.token(item, page).await,
            Table::Activity => Ok(Verdict::Write(Write { item, live: None })),
        }
    }

    async fn credential(
        &self,
        mut item: Item,
        live: Option<&Item>,
        comparison: Comparison,
        page: &Page,
    ) -> Result<Verdict, Failure> {
        let workspace = text(&item, "workspace_id").unwrap_or_default();
        let user = text(&item, "user_id").unwrap_or_default();
        let entry = page.users.get(&identity(&user_key(workspace, user)));
        let is_marked = entry.is_some_and(|entry| entry.contains_key("removed_at"));
        if is_marked || self.removals(workspace).await?.contains_key(user) {
            return Ok(Verdict::Keep(Kept::OfRemovedUser, None));
        }
        let ends = |item: &Item| item.contains_key("disabled_at") || item.contains_key("leaked_at");
        if !self.options.overwrite && live.is_some_and(|live| ends(live) && !ends(&item)) {
            let told = self.told(&item, "is disabled in the live table");
            return Ok(Verdict::Keep(Kept::Newer, Some(told)));
        }
        if comparison != Comparison::LiveIsNewer {
            let id = text(&item, "key_id").unwrap_or_default();
            if let Some((action, at)) =
                self.live.changed_since(workspace, id, self.options.restored_at).await?
            {
                let is_missing = comparison == Comparison::Missing;
                if !(if is_missing { self.options.revive } else { self.options.overwrite }) {
                    let told = self.told(&item, &format!("{action} at {at}"));
                    return Ok(Verdict::Keep(Kept::ChangedSince, Some(told)));
                }
                // The tokens and sessions of the key ended, and stay ended.
                if self.live.kind == Table::Keys {
                    let generation = number(&item, "token_generation") + 1;
                    set(&mut item, "token_generation", generation);
                }
            }
        }
        let Some(live) = live else { return Ok(Verdict::Write(Write { item, live: None })) };
        // Every write of an item changes this attribute, or at least every one that matters.
        let read = if self.live.kind == Table::Keys { "revision" } else { "key_id" };
        let Some(value) = live.get(read).cloned() else {
            return Ok(Verdict::Keep(
                Kept::Newer,
                Some(self.told(&item, "cannot be read in the live table")),
            ));
        };
        if self.live.kind == Table::Keys {
            let revision = number(live, "revision").max(number(&item, "revision"));
            if comparison == Comparison::LiveIsNewer {
                set(&mut item, "revision", revision + 1);
            }
            let generation = number(live, "token_generation").max(number(&item, "token_generation"));
            if generation > 0 {
                set(&mut item, "token_generation", generation);
            }
        }
        Ok(Verdict::Write(Write { item, live: Some((read, value)) }))
    }

    /// What to say of a user's entry that was lost and made anew, without the mark of the user's removal.
    async fn lost_removal(&self, item: &Item, live: Option<&Item>) -> Result<Option<String>, Failure> {
        let workspace = text(item, "workspace_id").unwrap_or_default();
        let user = text(item, "entry").and_then(|entry| entry.strip_prefix("USER#"));
        let (Some(user), Some(live)) = (user.filter(|_| self.live.kind == Table::Workspaces), live) else {
            return Ok(None);
        };
        let since = self.removals(workspace).await?.get(user).map(DateTime::timestamp_millis);
        let before = item.contains_key("removed_at").then(|| number(item, "removed_at"));
        let is_lost = since.or(before).is_some_and(|removed_at| {
            !live.contains_key("removed_at") && number(live, "reinstated_at") < removed_at
        });
        Ok(is_lost.then(|| {
            format!(
                "user {user} of workspace {workspace} was removed, and the live entry does not say so: look at the audit trail, \
                 and remove the user again"
            )
        }))
    }

    /// An entry of a workspace that is missing.
    async fn entry(&self, mut item: Item, page: &Page) -> Result<Verdict, Failure> {
        let workspace = text(&item, "workspace_id").unwrap_or_default();
        let entry = text(&item, "entry").unwrap_or_default();
        if let Some(name) = entry.strip_prefix("NAME#") {
            let key = key_of(page, text(&item, "key_id"));
            let fits = key.is_some_and(|key| {
                text(key, "workspace_id") == Some(workspace) && text(key, "name_folded") == Some(name)
            });
            return Ok(if fits { missing(item) } else { Verdict::Keep(Kept::WithoutKey, None) });
        }
        if let Some(member) = entry.strip_prefix("MEMBER#") {
            let (user, id) = member.rsplit_once('#').unwrap_or((member, ""));
            let fits = key_of(page, Some(id)).is_some_and(|key| {
                text(key, "workspace_id") == Some(workspace) && text(key, "user_id") == Some(user)
            });
            return Ok(if fits { missing(item) } else { Verdict::Keep(Kept::WithoutKey, None) });
        }
        if let Some(user) = entry.strip_prefix("USER#") {
            // A user who was removed since is written as removed.
            if let Some(at) = self.removals(workspace).await?.get(user) {
                let at = at.timestamp_millis();
                set(&mut item, "removed_at", at);
            }
        }
        Ok(missing(item))
    }

    /// A token or session that is missing: it may have been revoked or used.
    async fn token(&self, item: Item, page: &Page) -> Result<Verdict, Failure> {
        let Some(key) = key_of(page, text(&item, "key_id")) else {
            return Ok(Verdict::Keep(Kept::WithoutKey, None));
        };
        let is_of_another_generation = item.contains_key("token_generation")
            && number(&item, "token_generation") != number(key, "token_generation");
        let workspace = text(key, "workspace_id").unwrap_or_default();
        let id = text(key, "key_id").unwrap_or_default();
        self.removals(workspace).await?;
        if is_of_another_generation
            || self.live.changed_since(workspace, id, self.options.restored_at).await?.is_some()
        {
            return Ok(Verdict::Keep(Kept::ChangedSince, None));
        }
        Ok(missing(item))
    }

    /// The removals in a workspace, which are read once.
    ///
    /// # Errors
    ///
    /// The audit trail of the workspace does not reach back to the restored time, or cannot be read.
    async fn removals(&self, workspace: &str) -> Result<Removals, Failure> {
        if let Some(known) = self.removals.borrow().get(workspace) {
            return Ok(Rc::clone(known));
        }
        let restored_at = self.options.restored_at;
        if !self.options.without_trail && !self.live.has_events_until(workspace, restored_at).await? {
            let message =
                format!("the audit trail of workspace {workspace} has no event up to the restored time");
            return Err(Failure::usage(format!("{message}: it does not say what was revoked since"))
                .advise("with --without-trail deleted keys work again"));
        }
        let removals = Rc::new(self.live.removals(workspace, self.options.restored_at).await?);
        self.removals.borrow_mut().insert(workspace.to_owned(), Rc::clone(&removals));
        Ok(removals)
    }

    fn told(&self, item: &Item, what: &str) -> String {
        let kind = if self.live.kind == Table::LegacyKeys { "legacy key" } else { "key" };
        let text = |name| text(item, name).unwrap_or("?");
        format!("not written: {kind} {} of workspace {}: {what}", text("key_id"), text("workspace_id"))
    }
}

/// The id of the key that an item belongs to.
fn key_id(table: Table, item: &Item) -> Option<&str> {
    match text(item, "entry") {
        Some(entry) if table == Table::Workspaces && entry.starts_with("MEMBER#") => {
            entry.rsplit_once('#').map(|(_, id)| id)
        }
        _ => text(item, "key_id"),
    }
}

fn key_of<'a>(page: &'a Page, id: Option<&str>) -> Option<&'a Item> {
    let key = Item::from([("key_id".to_owned(), AttributeValue::S(id?.to_owned()))]);
    page.keys.get(&identity(&key))
}

fn with_key(item: Item, page: &Page) -> Verdict {
    match key_of(page, text(&item, "key_id")) {
        Some(_) => missing(item),
        None => Verdict::Keep(Kept::WithoutKey, None),
    }
}

fn missing(item: Item) -> Verdict {
    Verdict::Write(Write { item, live: None })
}

fn set(item: &mut Item, name: &str, number: i64) {
    item.insert(name.to_owned(), AttributeValue::N(number.to_string()));
}

/// Records of idempotent requests and page codes work once: restored ones would work again. Scheduled functions note their
/// progress themselves.
fn is_left_out(table: Table, item: &Item) -> bool {
    match table {
        Table::Workspaces => text(item, "workspace_id").is_none_or(|workspace| workspace.starts_with('#')),
        Table::Tokens => text(item, "entry").is_some_and(|entry| entry.starts_with("CODE#")),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(attributes: &[(&str, &str)]) -> Item {
        let attributes = attributes.iter();
        attributes.map(|(name, text)| ((*name).to_owned(), AttributeValue::S((*text).to_owned()))).collect()
    }

    #[test]
    fn what_works_once_is_never_restored() {
        for (table, workspace, entry, expected) in [
            (Table::Workspaces, "#idempotency#acme", "digest", true),
            (Table::Workspaces, "#keygate", "RECOUNTED", true),
            (Table::Workspaces, "acme", "USER#bob", false),
            (Table::Tokens, "", "CODE#1", true),
            (Table::Tokens, "", "TOKEN#1", false),
        ] {
            let item = item(&[("workspace_id", workspace), ("entry", entry)]);
            assert_eq!(is_left_out(table, &item), expected, "{entry}");
        }
    }

    #[test]
    fn an_item_belongs_to_the_key_of_its_id() {
        let member = item(&[("entry", "MEMBER#svc:a#b#01M8")]);
        assert_eq!(key_id(Table::Workspaces, &member), Some("01M8"), "a user id may have a #");
        let name = item(&[("entry", "NAME#x#y"), ("key_id", "01M9")]);
        assert_eq!(key_id(Table::Workspaces, &name), Some("01M9"));
        let page = Page {
            items: HashMap::new(),
            keys: HashMap::from([(identity(&item(&[("key_id", "01M9")])), item(&[("user_id", "bob")]))]),
            users: HashMap::new(),
        };
        assert!(key_of(&page, Some("01M9")).is_some());
        assert!(key_of(&page, Some("01M8")).is_none() && key_of(&page, None).is_none());
    }
}
