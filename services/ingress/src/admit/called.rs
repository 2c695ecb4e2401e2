//! Model and method of a call that names both in its path, as Google's API does: `/v1beta/models/MODEL:generateContent`.
//!
//! Source: <https://ai.google.dev/api/generate-content>. A model's name may hold slashes and colons, and may be percent-encoded.

/// Where Google's models are, and where they are in the stable version of its API; lists of OpenAI's and Anthropic's are there too.
pub(crate) const MODELS: &str = "/v1beta/models";
pub(crate) const STABLE_MODELS: &str = "/v1/models";

/// What a path says of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Called {
    /// What the caller calls the model.
    pub model: String,
    /// The caller wants a stream.
    pub stream: bool,
}

impl Called {
    /// Of the rest of a path below [`MODELS`] or [`STABLE_MODELS`], decoded: `MODEL:METHOD`. `None` if that method is not served.
    pub(crate) fn of_rest(rest: &str) -> Option<Self> {
        let (model, method) = rest.rsplit_once(':')?;
        let stream = match method {
            "generateContent" => false,
            "streamGenerateContent" => true,
            _ => return None,
        };
        Some(Self { model: model.to_owned(), stream })
    }

    /// Of a whole path.
    pub(super) fn of_path(path: &str) -> Option<Self> {
        let below = path.strip_prefix(MODELS).or_else(|| path.strip_prefix(STABLE_MODELS))?;
        Self::of_rest(&decoded(below.strip_prefix('/')?)?)
    }
}

/// Without percent-encoding (RFC 3986, 2.1). `None` if it is none, or no text.
pub(super) fn decoded(text: &str) -> Option<String> {
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let [first, after @ ..] = rest {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let [high, low, after @ ..] = rest else { return None };
        let digit = |byte: u8| char::from(byte).to_digit(16);
        bytes.push(u8::try_from(digit(*high)? * 16 + digit(*low)?).ok()?);
        rest = after;
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_model_and_method() {
        let found = |path: &str| Called::of_path(path).map(|called| (called.model, called.stream));
        let is = |model: &str, stream: bool| Some((model.to_owned(), stream));
        assert_eq!(found("/v1beta/models/gemini-3.5-flash:generateContent"), is("gemini-3.5-flash", false));
        assert_eq!(found("/v1beta/models/openai/gpt:streamGenerateContent"), is("openai/gpt", true));
        assert_eq!(found("/v1beta/models/openai%2Fg%C3%A9%3A8b:generateContent"), is("openai/gé:8b", false));
        assert_eq!(found("/v1beta/models/llama3:8b:generateContent"), is("llama3:8b", false));
        assert_eq!(found("/v1/models/m:generateContent"), is("m", false));
        for other in [
            "/v1beta/models/m:embedContent",
            "/v1beta/models/m",
            "/v1beta/models",
            "/v1beta/modelsm:generateContent",
            "/v2/models/m:generateContent",
            "/v1beta/models/m%:generateContent",
            "/v1beta/models/%ff:generateContent",
            "/v1beta/models/%+1:generateContent",
        ] {
            assert_eq!(found(other), None, "{other}");
        }
    }
}
