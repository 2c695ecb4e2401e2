//! Providers' keys that stand in files of their own, which are read again when they change.

use super::Provider;
use crate::Secret;
use std::{collections::BTreeMap, path::PathBuf};

/// A provider's key that is written `${file:PATH}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyFile {
    provider: String,
    /// Which of `api_keys`; `None`: `api_key`.
    index: Option<usize>,
    file: PathBuf,
}

impl KeyFile {
    /// That of the value at a path of the configuration, if it is one.
    pub(super) fn of(path: &str, text: &str) -> Option<Self> {
        let file = text.strip_prefix("${file:")?.strip_suffix('}').filter(|file| !file.contains('}'))?;
        let (provider, field) = path.strip_prefix("providers.")?.rsplit_once('.')?;
        let index = match field.strip_prefix("api_keys[") {
            Some(index) => Some(index.strip_suffix(']')?.parse().ok()?),
            None => (field == "api_key").then_some(None)?,
        };
        Some(Self { provider: provider.to_owned(), index, file: file.into() })
    }

    /// The key as the file has it now. The error says which file; an empty one is an error, as a file is that is being written.
    pub(crate) fn read(&self) -> Result<Secret, String> {
        let key = read(&self.file)?;
        if key.is_empty() { Err(format!("file {} is empty", self.file.display())) } else { Ok(Secret::new(key)) }
    }

    /// Puts the key where it belongs.
    pub(crate) fn put(&self, providers: &mut BTreeMap<String, Provider>, key: Secret) {
        let Some(provider) = providers.get_mut(&self.provider) else { return };
        match self.index {
            None => provider.api_key = Some(key),
            Some(index) => {
                if let Some(place) = provider.api_keys.get_mut(index) {
                    *place = key;
                }
            }
        }
    }
}

/// What `${file:PATH}` stands for: the file's content without a newline at its end.
pub(super) fn read(path: &std::path::Path) -> Result<String, String> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("file {} cannot be read: {e}", path.display()))?;
    Ok(text.strip_suffix('\n').unwrap_or(&text).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_providers_key_that_is_a_file_and_nothing_else_is_read_again() {
        let of = |path, text| KeyFile::of(path, text).map(|found| (found.provider, found.index, found.file));
        assert_eq!(of("providers.a.api_key", "${file:/k}"), Some(("a".to_owned(), None, "/k".into())));
        assert_eq!(of("providers.a.b.api_keys[1]", "${file:k}"), Some(("a.b".to_owned(), Some(1), "k".into())));
        for (path, text) in [
            ("providers.a.api_key", "${K}"),
            ("providers.a.api_key", "sk-${file:/k}"),
            ("providers.a.api_key", "${file:/k}${file:/l}"),
            ("providers.a.base_url", "${file:/k}"),
            ("admission.store", "${file:/k}"),
        ] {
            assert_eq!(of(path, text), None, "{path} {text}");
        }
    }
}
