//! Compiles what `keywords` of the configuration asks for.

use super::fatal;
use crate::checks::keywords::Keywords;
use std::collections::HashMap;
use tollgate_runtime::config::{self, Problem};

/// A word or phrase, in bytes.
const WORD_MAX_BYTES: usize = 256;
/// All of them together, in bytes: what they take compiled grows with it.
const WORDS_MAX_BYTES: usize = 2 * 1024 * 1024;

pub(super) fn compile(keywords: &config::Keywords, path: &str, problems: &mut Vec<Problem>) -> Option<Keywords> {
    let before = problems.len();
    let fit = check(&keywords.words, &format!("{path}.words"), problems);
    if !check(&keywords.allow, &format!("{path}.allow"), problems) || !fit {
        return None;
    }
    let words = Keywords::new(&keywords.words).map_err(|_| problems.push(too_many(format!("{path}.words")))).ok()?;
    for (at, phrase) in keywords.allow.iter().enumerate() {
        let mut found = Vec::new();
        words.scan(phrase, &mut found);
        if found.is_empty() {
            let why = "has none of the words in it, and so allows nothing; remove it";
            problems.push(fatal(format!("{path}.allow[{at}]"), why));
        }
    }
    let words = words.allowing(&keywords.allow);
    let words = words.map_err(|_| problems.push(too_many(format!("{path}.allow")))).ok()?;
    (problems.len() == before).then_some(words)
}

/// Names what is wrong with each word. Whether they are few enough to be compiled.
fn check(words: &[String], path: &str, problems: &mut Vec<Problem>) -> bool {
    let mut known: HashMap<String, usize> = HashMap::with_capacity(words.len());
    for (at, word) in words.iter().enumerate() {
        let normalised = Keywords::normalised(word);
        let problem = match known.get(&normalised) {
            _ if normalised.is_empty() => Some("is empty; remove it".to_owned()),
            _ if word.len() > WORD_MAX_BYTES => Some(format!("is longer than {WORD_MAX_BYTES} bytes; shorten it")),
            Some(first) => Some(format!("is the same as [{first}] but for case and white space; remove one")),
            None => None,
        };
        problems.extend(problem.map(|why| fatal(format!("{path}[{at}]"), &why)));
        known.entry(normalised).or_insert(at);
    }
    let fit = words.iter().map(String::len).sum::<usize>() <= WORDS_MAX_BYTES;
    if !fit {
        problems.push(too_many(path.to_owned()));
    }
    fit
}

fn too_many(path: String) -> Problem {
    fatal(path, &format!("are too many or too long: at most {WORDS_MAX_BYTES} bytes together; shorten the list"))
}
