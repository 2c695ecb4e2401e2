//! What stood in a request where placeholders stand now, for whoever puts it back into the answer.
//!
//! It is part of the request's own records and of nothing else: who makes another record of a request (a copy, a question, a row) leaves it
//! out.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// Originals by placeholder.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Originals(pub BTreeMap<String, String>);

impl Originals {
    /// Whether there is nothing to put back.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Hides the values, which a derived form would print.
impl fmt::Debug for Originals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} originals", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_original_is_printed() {
        let originals = Originals(BTreeMap::from([("[EMAIL_ADDRESS_1]".to_owned(), "a@b.com".to_owned())]));
        assert_eq!((format!("{originals:?}"), format!("{originals:#?}")), ("1 originals".into(), "1 originals".into()));
    }
}
