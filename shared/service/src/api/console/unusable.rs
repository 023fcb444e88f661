//! The reasons for which the keys page cannot be served.

use std::io;
use std::path::PathBuf;

use keygate_core::environment::InvalidVariable;
use lambda_http::http::header::InvalidHeaderValue;
use thiserror::Error;

/// Why the keys page cannot be served.
#[derive(Debug, Error)]
pub enum UnusableConsole {
    /// A setting is missing or invalid.
    #[error(transparent)]
    Setting(#[from] InvalidVariable),
    /// The folder of the page cannot be read, or lacks a file.
    #[error("{0} of the keys page cannot be read ({1}): `make console` builds it")]
    Unreadable(PathBuf, #[source] io::Error),
    /// A file of the page is of a type that is not served.
    #[error("{0} is no file of a page: it has to end with .css, .html, .js or .txt")]
    UnknownType(String),
    /// The page does not have one place for its configuration.
    #[error("index.html of the keys page must have __KEYGATE_CONFIG__ once")]
    Placeholder,
    /// The settings do not make a header.
    #[error("the Content-Security-Policy of the keys page is not a header: {0}")]
    Policy(#[from] InvalidHeaderValue),
}
