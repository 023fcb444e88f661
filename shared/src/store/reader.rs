//! The authorizer's read of the table `keys`: as [`Keys`](super::keys::Keys) does it, without the SDK's client.

use serde::{Deserialize, Serialize};
use serde_dynamo::Item;

use crate::aws::direct::Direct;
use crate::credential::KeyId;
use crate::error::Error;
use crate::record::HashedKey;
use crate::store::broken;

/// The table, for reading one key after the other.
#[derive(Debug)]
pub struct Reader {
    direct: Direct,
    table: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct GetItem<'a> {
    table_name: &'a str,
    key: PrimaryKey<'a>,
    consistent_read: bool,
}

#[derive(Serialize)]
struct PrimaryKey<'a> {
    key_id: Text<'a>,
}

#[derive(Serialize)]
struct Text<'a> {
    #[serde(rename = "S")]
    text: &'a str,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct GetItemAnswer {
    item: Option<Item>,
}

impl Reader {
    /// Takes the table's name.
    #[must_use]
    pub fn new(direct: Direct, table: String) -> Self {
        Self { direct, table }
    }

    /// Opens a connection to the table, so that the first read need not wait for one. It reads an item that cannot
    /// exist, because reading items is all that the authorizer's role may do.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: the database did not answer.
    pub async fn connect(&self) -> Result<(), Error> {
        self.read("connect", false).await?;
        Ok(())
    }

    /// Reads a key with its hash: one item, strongly consistent, so that a deleted key is refused at once.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: the database did not answer.
    /// - [`Error::Broken`]: the item is not a key.
    pub async fn hashed(&self, id: KeyId) -> Result<Option<HashedKey>, Error> {
        let item = self.read(&id.to_string(), true).await?;
        item.map(serde_dynamo::from_item).transpose().map_err(|_| broken("key"))
    }

    async fn read(&self, id: &str, consistent_read: bool) -> Result<Option<Item>, Error> {
        let key = PrimaryKey { key_id: Text { text: id } };
        let request = GetItem { table_name: &self.table, key, consistent_read };
        let answer: GetItemAnswer = self.direct.call("GetItem", &request).await?;
        Ok(answer.item)
    }
}
