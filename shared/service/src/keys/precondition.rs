//! `If-Match`: the condition that a key has a certain revision (RFC 9110, section 13.1.1).
//!
//! The `headers` crate is not used here, because its `IfMatch` parses `If-Match: 7` as a list of entity tags and skips
//! invalid ones. A client that forgets the quotes would get a 412 instead of a 400.

use keygate_core::error::{Error, InvalidField, Place};

/// The revisions of a key that a change requires.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IfMatch {
    /// Any revision, because the request has no condition.
    Absent,
    /// Any revision of an existing key (`*`).
    Any,
    /// One of these revisions.
    Revisions(Vec<u64>),
}

impl IfMatch {
    /// Parses the value of the header. A weak entity tag, or one that Keygate does not issue, matches no revision.
    ///
    /// # Errors
    ///
    /// - [`Error::Invalid`]: the header is neither `*` nor a list of entity tags.
    ///
    /// # Example
    ///
    /// ```
    /// use keygate::keys::precondition::IfMatch;
    ///
    /// assert_eq!(IfMatch::parse(Some(b"\"7\", W/\"8\"")).unwrap(), IfMatch::Revisions(vec![7]));
    /// assert!(IfMatch::parse(Some(b"7")).is_err());
    /// ```
    pub fn parse(header: Option<&[u8]>) -> Result<Self, Error> {
        match header.map(<[u8]>::trim_ascii) {
            None => Ok(Self::Absent),
            Some(b"*") => Ok(Self::Any),
            Some(tags) => revisions(tags).map(Self::Revisions).ok_or_else(|| {
                let detail = "must be one or more ETags in double quotes, such as \"3\", or *".to_owned();
                Error::invalid(InvalidField { place: Place::Header("If-Match".to_owned()), detail })
            }),
        }
    }

    /// Checks that the change applies to this revision.
    ///
    /// # Errors
    ///
    /// - [`Error::PreconditionFailed`]: the change requires another revision.
    pub fn check(&self, revision: u64) -> Result<(), Error> {
        match self {
            Self::Revisions(revisions) if !revisions.contains(&revision) => Err(Error::PreconditionFailed),
            _ => Ok(()),
        }
    }

    /// Converts the error of a change that lost a race: a conflict is a failed precondition if the request named revisions.
    #[must_use]
    pub fn lost(&self, error: Error) -> Error {
        match (error, self) {
            (Error::Conflict, Self::Revisions(_)) => Error::PreconditionFailed,
            (error, _) => error,
        }
    }
}

/// The entity tag of a revision.
#[must_use]
pub fn entity_tag(revision: u64) -> String {
    format!("\"{revision}\"")
}

/// Parses a list of entity tags (RFC 9110, section 8.8.3) into revisions; `None` if it is not such a list. A tag may contain
/// a comma, and list elements may be empty (section 5.6.1).
fn revisions(mut list: &[u8]) -> Option<Vec<u64>> {
    let (mut revisions, mut has_tag) = (Vec::new(), false);
    loop {
        list = list.trim_ascii_start();
        if !matches!(list.first(), None | Some(b',')) {
            let strong = list.strip_prefix(b"W/");
            let quoted = strong.unwrap_or(list).strip_prefix(b"\"")?;
            let end = quoted.iter().position(|byte| *byte == b'"')?;
            let (tag, rest) = (&quoted[..end], quoted[end + 1..].trim_ascii_start());
            if !tag.iter().all(|byte| matches!(byte, b'!'..=b'~' | 0x80..)) {
                return None;
            }
            has_tag = true;
            revisions.extend(revision(tag).filter(|_| strong.is_none()));
            list = rest;
        }
        match list.split_first() {
            None => return has_tag.then_some(revisions),
            Some((b',', rest)) => list = rest,
            Some(_) => return None,
        }
    }
}

fn revision(tag: &[u8]) -> Option<u64> {
    let tag = std::str::from_utf8(tag).ok()?;
    let revision: u64 = tag.parse().ok()?;
    (revision.to_string() == tag).then_some(revision)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_applies_to_the_revisions_it_names() {
        for (header, passes) in [
            (None, true),
            (Some("*"), true),
            (Some("\"7\""), true),
            (Some("\"6\", \"7\""), true),
            (Some("\"6\",\"7\""), true),
            (Some(", \"7\" ,,"), true),
            (Some("\"a,b\", \"7\""), true),
            (Some("\"6\""), false),
            (Some("\"6,7\""), false),
            (Some("W/\"7\""), false),
            (Some("\"\""), false),
            (Some("\"07\""), false),
            (Some("\"+7\""), false),
            (Some("\"é\""), false),
            (Some("\"99999999999999999999\""), false),
        ] {
            let read = IfMatch::parse(header.map(str::as_bytes)).unwrap();
            assert_eq!(read.check(7).is_ok(), passes, "{header:?}");
        }
    }

    #[test]
    fn an_invalid_list_of_entity_tags_is_reported() {
        for malformed in [
            "",
            " ",
            ",",
            "7",
            "'7'",
            "abc",
            "\"7",
            "7\"",
            "\"7\" \"8\"",
            "\"7\", 8",
            "*, \"7\"",
            "w/\"7\"",
            "\"7 \"",
        ] {
            let Err(Error::Invalid { fields }) = IfMatch::parse(Some(malformed.as_bytes())) else {
                panic!("{malformed:?} is a list")
            };
            assert_eq!(fields[0].place, Place::Header("If-Match".to_owned()), "{malformed:?}");
        }
    }

    #[test]
    fn a_conflict_is_a_failed_precondition_if_revisions_were_named() {
        assert!(matches!(IfMatch::Absent.lost(Error::Conflict), Error::Conflict));
        assert!(matches!(IfMatch::Any.lost(Error::Conflict), Error::Conflict));
        assert!(matches!(IfMatch::Revisions(vec![7]).lost(Error::Conflict), Error::PreconditionFailed));
        let taken = IfMatch::Revisions(vec![7]).lost(Error::NameTaken(None));
        assert!(matches!(taken, Error::NameTaken(None)));
    }
}
