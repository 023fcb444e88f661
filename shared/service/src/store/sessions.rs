//! Sessions and page codes in the table `tokens`, in the partition of the key that opened them.
//!
//! | entry | content |
//! | --- | --- |
//! | `SESSION#<id>` | a session with the hashes of its secrets |
//! | `CODE#<session id>` | a page code with its hash, until it is used |

use aws_sdk_dynamodb::types::TransactWriteItem;
use keygate_core::credential::{KeyId, SessionId};
use keygate_core::error::Error;
use keygate_core::pepper::SecretHash;
use keygate_core::session::{HashedPageCode, HashedSession, Session, page_code_entry, session_entry};

use crate::store::expression::{self, Condition, UpdateExpression};
use crate::store::item::{broken, bytes, number, seconds};
use crate::store::tokens::{TokensTable, item_key, only};

/// The attributes of a session without its hashes, for roles that may not read a hash.
const UNHASHED_SESSION: &str = "key_id, entry, workspace_id, user_id, opened_by, scopes, rotation, token_generation, created_at, expires_at";

impl TokensTable {
    /// Reads a session without its hashes, strongly consistent; `None` if it does not exist.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: the database did not respond.
    /// - [`Error::Broken`]: the item is not a valid session.
    pub async fn session(&self, key_id: KeyId, session_id: SessionId) -> Result<Option<Session>, Error> {
        let response = self
            .client
            .get_item()
            .table_name(&self.table)
            .set_key(Some(item_key(key_id, &session_entry::text(session_id))))
            .projection_expression(UNHASHED_SESSION)
            .consistent_read(true)
            .send()
            .await
            .map_err(|failure| Error::unavailable("DynamoDB", &failure))?;
        only(response.item.into_iter().collect(), "session")
    }

    /// Reads the page code of a session with its hash, strongly consistent; `None` if it does not exist or was used.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: the database did not respond.
    /// - [`Error::Broken`]: the item is not a valid page code.
    pub async fn page_code(
        &self,
        key_id: KeyId,
        session_id: SessionId,
    ) -> Result<Option<HashedPageCode>, Error> {
        let response = self
            .client
            .get_item()
            .table_name(&self.table)
            .set_key(Some(item_key(key_id, &page_code_entry::text(session_id))))
            .projection_expression("key_id, entry, #hash, pepper_version, expires_at")
            .expression_attribute_names("#hash", "hash")
            .consistent_read(true)
            .send()
            .await
            .map_err(|failure| Error::unavailable("DynamoDB", &failure))?;
        only(response.item.into_iter().collect(), "page code")
    }

    /// Writes a new session.
    ///
    /// # Errors
    ///
    /// - [`Error::Broken`]: the session cannot be written as an item.
    pub(super) fn put_session(&self, session: &HashedSession) -> Result<TransactWriteItem, Error> {
        let item = serde_dynamo::to_item(session).map_err(|_| broken("session"))?;
        Ok(self.put_new(item, session.session.expires_at))
    }

    /// Writes a new page code.
    ///
    /// # Errors
    ///
    /// - [`Error::Broken`]: the code cannot be written as an item.
    pub(super) fn put_page_code(&self, code: &HashedPageCode) -> Result<TransactWriteItem, Error> {
        let item = serde_dynamo::to_item(code).map_err(|_| broken("page code"))?;
        Ok(self.put_new(item, code.expires_at))
    }

    /// Deletes a page code, if it is still the one that was read. Of several exchanges of a code one succeeds.
    pub(super) fn use_page_code(&self, code: &HashedPageCode) -> TransactWriteItem {
        let key = item_key(code.key_id, &page_code_entry::text(code.session_id));
        expression::delete(&self.table, key, Condition::equal("hash", bytes(code.hash.as_bytes())))
    }

    /// Deletes the page code of a session, if there is one.
    pub(super) fn delete_page_code(&self, key_id: KeyId, session_id: SessionId) -> TransactWriteItem {
        let key = item_key(key_id, &page_code_entry::text(session_id));
        expression::delete(&self.table, key, Condition::none())
    }

    /// Gives a session a second secret, that of its page. The session exists and has none yet.
    pub(super) fn set_page_hash(&self, session: &Session, hash: &SecretHash) -> TransactWriteItem {
        let update = UpdateExpression::new()
            .set("page_hash", bytes(hash.as_bytes()))
            .set("page_pepper_version", number(&hash.pepper_version()));
        let condition = Condition::equal("expires_at", seconds(session.expires_at))
            .and("attribute_not_exists(#page_hash)")
            .name("page_hash");
        let key = item_key(session.key_id, &session_entry::text(session.session_id));
        expression::update(&self.table, key, update, condition)
    }

    /// Deletes a session.
    pub(super) fn delete_session(&self, key_id: KeyId, session_id: SessionId) -> TransactWriteItem {
        let key = item_key(key_id, &session_entry::text(session_id));
        expression::delete(&self.table, key, Condition::new("attribute_exists(entry)"))
    }
}
