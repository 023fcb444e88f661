//! Expressions of writes, and the transaction operations with these expressions.
//!
//! Builders that take the name of an attribute use the placeholder `#name` for it, and `:name` for its value. Expressions in
//! plain text use placeholders of the same form, which `name` and `value` define.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::{
    AttributeValue, ConditionCheck, Delete, Put, ReturnValuesOnConditionCheckFailure, TransactWriteItem,
    Update,
};

use crate::store::item::Item;

/// The names and values of placeholders.
#[derive(Clone, Debug, Default, PartialEq)]
struct Placeholders {
    names: HashMap<String, String>,
    values: HashMap<String, AttributeValue>,
}

impl Placeholders {
    fn name(&mut self, placeholder: String, attribute: &str) {
        let before = self.names.get(&placeholder);
        debug_assert!(before.is_none_or(|before| before == attribute), "a placeholder of two attributes");
        self.names.insert(placeholder, attribute.to_owned());
    }

    fn value(&mut self, placeholder: String, value: AttributeValue) {
        let before = self.values.get(&placeholder);
        debug_assert!(before.is_none_or(|before| *before == value), "a placeholder of two values");
        self.values.insert(placeholder, value);
    }

    fn extend(&mut self, others: Self) {
        for (placeholder, attribute) in others.names {
            self.name(placeholder, &attribute);
        }
        for (placeholder, value) in others.values {
            self.value(placeholder, value);
        }
    }

    /// The maps that the SDK takes. `DynamoDB` rejects empty maps, so they become `None`.
    fn into_maps(self) -> (Option<HashMap<String, String>>, Option<Item>) {
        let Self { names, values } = self;
        (Some(names).filter(|names| !names.is_empty()), Some(values).filter(|values| !values.is_empty()))
    }
}

/// A condition on an item: terms that are combined with AND.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Condition {
    terms: Vec<String>,
    placeholders: Placeholders,
    returns_item: bool,
}

impl Condition {
    /// An empty condition.
    pub(super) fn none() -> Self {
        Self::default()
    }

    /// A condition of one term.
    pub(super) fn new(term: impl Into<String>) -> Self {
        Self::none().and(term)
    }

    /// The condition that an attribute has a value. The placeholder of the value is `:is_name`, so that the same update can
    /// set the attribute to another value.
    pub(super) fn equal(attribute: &str, value: AttributeValue) -> Self {
        Self::none().and_equal(attribute, value)
    }

    /// Adds a term. A term with OR needs no parentheses.
    pub(super) fn and(mut self, term: impl Into<String>) -> Self {
        self.terms.push(term.into());
        self
    }

    /// Adds the term that an attribute has a value, as in [`Self::equal`].
    pub(super) fn and_equal(self, attribute: &str, value: AttributeValue) -> Self {
        let placeholder = format!(":is_{attribute}");
        self.and(format!("#{attribute} = {placeholder}")).name(attribute).value(&placeholder, value)
    }

    /// Defines the placeholder `#name` for the attribute of that name.
    pub(super) fn name(self, attribute: &str) -> Self {
        self.alias(&format!("#{attribute}"), attribute)
    }

    /// Defines a placeholder for an attribute.
    pub(super) fn alias(mut self, placeholder: &str, attribute: &str) -> Self {
        self.placeholders.name(placeholder.to_owned(), attribute);
        self
    }

    /// Defines a placeholder for a value.
    pub(super) fn value(mut self, placeholder: &str, value: AttributeValue) -> Self {
        self.placeholders.value(placeholder.to_owned(), value);
        self
    }

    /// Requests the stored item if the condition fails.
    pub(super) fn returning_item(mut self) -> Self {
        self.returns_item = true;
        self
    }

    fn text(&self) -> Option<String> {
        let is_one_of_several = self.terms.len() > 1;
        let term = |term: &String| {
            if is_one_of_several && term.contains(" OR ") { format!("({term})") } else { term.clone() }
        };
        let terms: Vec<_> = self.terms.iter().map(term).collect();
        (!terms.is_empty()).then(|| terms.join(" AND "))
    }

    fn returned_item(&self) -> Option<ReturnValuesOnConditionCheckFailure> {
        self.returns_item.then_some(ReturnValuesOnConditionCheckFailure::AllOld)
    }
}

/// The changes of an item's attributes.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct UpdateExpression {
    set: Vec<String>,
    remove: Vec<String>,
    add: Vec<String>,
    placeholders: Placeholders,
}

impl UpdateExpression {
    /// An empty update.
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// Sets an attribute.
    pub(super) fn set(mut self, attribute: &str, value: AttributeValue) -> Self {
        self.set.push(format!("#{attribute} = :{attribute}"));
        self.name(attribute).value(&format!(":{attribute}"), value)
    }

    /// Sets an attribute, or removes it if there is no value.
    pub(super) fn set_or_remove(self, attribute: &str, value: Option<AttributeValue>) -> Self {
        match value {
            Some(value) => self.set(attribute, value),
            None => self.remove(attribute),
        }
    }

    /// Sets an attribute to the value that another one had before the update.
    pub(super) fn copy(mut self, attribute: &str, source: &str) -> Self {
        self.set.push(format!("#{attribute} = #{source}"));
        self.name(attribute).name(source)
    }

    /// Adds an assignment in plain text.
    pub(super) fn assign(mut self, assignment: impl Into<String>) -> Self {
        self.set.push(assignment.into());
        self
    }

    /// Removes an attribute.
    pub(super) fn remove(self, attribute: &str) -> Self {
        self.remove_path(format!("#{attribute}")).name(attribute)
    }

    /// Removes the attribute at a document path in plain text.
    pub(super) fn remove_path(mut self, path: impl Into<String>) -> Self {
        self.remove.push(path.into());
        self
    }

    /// Adds a number to an attribute. A missing attribute counts as 0.
    pub(super) fn add(mut self, attribute: &str, value: i64) -> Self {
        self.add.push(format!("#{attribute} :{attribute}"));
        self.name(attribute).value(&format!(":{attribute}"), AttributeValue::N(value.to_string()))
    }

    /// Defines a placeholder for an attribute.
    pub(super) fn alias(mut self, placeholder: &str, attribute: &str) -> Self {
        self.placeholders.name(placeholder.to_owned(), attribute);
        self
    }

    /// Defines a placeholder for a value.
    pub(super) fn value(mut self, placeholder: &str, value: AttributeValue) -> Self {
        self.placeholders.value(placeholder.to_owned(), value);
        self
    }

    fn name(self, attribute: &str) -> Self {
        self.alias(&format!("#{attribute}"), attribute)
    }

    fn text(&self) -> String {
        let clauses = [("SET", &self.set), ("REMOVE", &self.remove), ("ADD", &self.add)];
        let clauses: Vec<_> = clauses
            .into_iter()
            .filter(|(_, parts)| !parts.is_empty())
            .map(|(word, parts)| format!("{word} {}", parts.join(", ")))
            .collect();
        clauses.join(" ")
    }
}

/// Gives the SDK's builder of an operation its condition, and `placeholders` beside those of the condition.
macro_rules! on_condition {
    ($builder:expr, $condition:expr, $placeholders:expr) => {{
        let (condition, mut placeholders): (Condition, Placeholders) = ($condition, $placeholders);
        let (text, returned) = (condition.text(), condition.returned_item());
        placeholders.extend(condition.placeholders);
        let (names, values) = placeholders.into_maps();
        $builder
            .set_condition_expression(text)
            .set_expression_attribute_names(names)
            .set_expression_attribute_values(values)
            .set_return_values_on_condition_check_failure(returned)
            .build()
    }};
}

/// The operation that puts an item.
pub(super) fn put(table: &str, item: Item, condition: Condition) -> TransactWriteItem {
    let put = Put::builder().table_name(table).set_item(Some(item));
    let put = on_condition!(put, condition, Placeholders::default());
    TransactWriteItem::builder().put(put.expect("a table and an item")).build()
}

/// The operation that updates the item with this key.
pub(super) fn update(
    table: &str,
    key: Item,
    expression: UpdateExpression,
    condition: Condition,
) -> TransactWriteItem {
    let update = Update::builder().table_name(table).set_key(Some(key)).update_expression(expression.text());
    let update = on_condition!(update, condition, expression.placeholders);
    TransactWriteItem::builder().update(update.expect("a table, a key and an update")).build()
}

/// The operation that deletes the item with this key.
pub(super) fn delete(table: &str, key: Item, condition: Condition) -> TransactWriteItem {
    let delete = Delete::builder().table_name(table).set_key(Some(key));
    let delete = on_condition!(delete, condition, Placeholders::default());
    TransactWriteItem::builder().delete(delete.expect("a table and a key")).build()
}

/// The operation that writes nothing, and fails unless the item with this key meets the condition.
pub(super) fn check(table: &str, key: Item, condition: Condition) -> TransactWriteItem {
    let check = ConditionCheck::builder().table_name(table).set_key(Some(key));
    let check = on_condition!(check, condition, Placeholders::default());
    TransactWriteItem::builder().condition_check(check.expect("a table, a key and a condition")).build()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::item::{number, text};

    fn key() -> Item {
        HashMap::from([("key_id".to_owned(), text("one"))])
    }

    #[test]
    fn an_update_has_each_clause_once_and_no_empty_clauses() {
        let expression = UpdateExpression::new()
            .set("name", text("ci"))
            .set_or_remove("ttl", None)
            .set_or_remove("due_at", Some(number(&7)))
            .copy("previous_hash", "hash")
            .assign("#name = :name")
            .add("token_generation", 1);
        assert_eq!(
            expression.text(),
            "SET #name = :name, #due_at = :due_at, #previous_hash = #hash, #name = :name \
             REMOVE #ttl ADD #token_generation :token_generation"
        );
        assert_eq!(UpdateExpression::new().remove("ttl").text(), "REMOVE #ttl");
    }

    #[test]
    fn an_update_and_its_condition_can_name_the_same_attribute_with_different_values() {
        let expression = UpdateExpression::new().set("revision", number(&2));
        let item = update("keys", key(), expression, Condition::equal("revision", number(&1)));
        let update = item.update.expect("an update");
        assert_eq!(update.update_expression, "SET #revision = :revision");
        assert_eq!(update.condition_expression.as_deref(), Some("#revision = :is_revision"));
        let values = update.expression_attribute_values.expect("values");
        assert_eq!((&values[":revision"], &values[":is_revision"]), (&number(&2), &number(&1)));
        assert_eq!(update.expression_attribute_names.expect("names").len(), 1);
    }

    #[test]
    fn terms_with_or_get_parentheses_only_beside_other_terms() {
        let either = "attribute_not_exists(entry) OR key_id = :key";
        assert_eq!(Condition::new(either).text().as_deref(), Some(either));
        let both = Condition::new("attribute_exists(ttl)").and(either).text();
        assert_eq!(both, Some(format!("attribute_exists(ttl) AND ({either})")));
        assert_eq!(Condition::none().text(), None);
    }

    #[test]
    fn an_operation_without_placeholders_has_no_empty_maps() {
        let put = put("keys", key(), Condition::new("attribute_not_exists(key_id)")).put.expect("a put");
        assert_eq!((put.expression_attribute_names, put.expression_attribute_values), (None, None));
        let delete = delete("keys", key(), Condition::none().returning_item()).delete.expect("a delete");
        assert_eq!(delete.condition_expression, None);
        assert_eq!(
            delete.return_values_on_condition_check_failure,
            Some(ReturnValuesOnConditionCheckFailure::AllOld)
        );
    }
}
