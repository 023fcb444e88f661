//! `If-Match`: a change for one state of a key (RFC 9110, section 13.1.1).

use crate::error::Error;

/// Which states of a key a change is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IfMatch {
    /// Whichever the change finds.
    Absent,
    /// Any, as long as there is one.
    Any,
    /// One of these revisions.
    Revisions(Vec<u64>),
}

impl IfMatch {
    /// Reads the value of the header. An entity tag that is none of ours, or a weak one, is that of no state.
    ///
    /// ```
    /// use keygate::keys::precondition::IfMatch;
    ///
    /// assert_eq!(IfMatch::parse(Some("\"7\", W/\"8\"")), IfMatch::Revisions(vec![7]));
    /// ```
    #[must_use]
    pub fn parse(header: Option<&str>) -> Self {
        match header.map(str::trim) {
            None => Self::Absent,
            Some("*") => Self::Any,
            Some(tags) => Self::Revisions(tags.split(',').filter_map(|tag| revision(tag.trim())).collect()),
        }
    }

    /// Demands that the change is for a key of that revision.
    ///
    /// # Errors
    ///
    /// - [`Error::PreconditionFailed`]: it is for another one.
    pub fn check(&self, revision: u64) -> Result<(), Error> {
        match self {
            Self::Revisions(revisions) if !revisions.contains(&revision) => Err(Error::PreconditionFailed),
            _ => Ok(()),
        }
    }

    /// What a change that came too late is answered: whoever said which state it was for hears that this is over.
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

fn revision(tag: &str) -> Option<u64> {
    let revision = tag.strip_prefix('"')?.strip_suffix('"')?.parse().ok()?;
    (entity_tag(revision) == tag).then_some(revision)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_for_the_revisions_it_names() {
        for (header, passes) in [
            (None, true),
            (Some("*"), true),
            (Some("\"7\""), true),
            (Some("\"6\", \"7\""), true),
            (Some("\"6\""), false),
            (Some("W/\"7\""), false),
            (Some("7"), false),
            (Some("\"07\""), false),
            (Some("\"+7\""), false),
            (Some(""), false),
            (Some("\"99999999999999999999\""), false),
        ] {
            assert_eq!(IfMatch::parse(header).check(7).is_ok(), passes, "{header:?}");
        }
    }

    #[test]
    fn a_change_that_came_too_late_hears_so_in_its_own_words() {
        assert!(matches!(IfMatch::Absent.lost(Error::Conflict), Error::Conflict));
        assert!(matches!(IfMatch::Any.lost(Error::Conflict), Error::Conflict));
        assert!(matches!(IfMatch::Revisions(vec![7]).lost(Error::Conflict), Error::PreconditionFailed));
        let taken = IfMatch::Revisions(vec![7]).lost(Error::NameTaken(None));
        assert!(matches!(taken, Error::NameTaken(None)));
    }
}
