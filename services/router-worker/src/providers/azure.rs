//! Azure OpenAI: OpenAI's format at a resource of one's own, with a deployment where OpenAI has a model.
//!
//! Sources: <https://learn.microsoft.com/azure/ai-foundry/openai/api-version-lifecycle> (the v1 API),
//! <https://learn.microsoft.com/azure/ai-foundry/openai/reference> (dated versions, both ways to authenticate), `…/concepts/content-filter`
//! and `…/concepts/content-streaming` (what filters add to answers, streams and errors), and
//! <https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow>.
//!
//! A credential is a key, or `TENANT:CLIENT_ID:CLIENT_SECRET` of a Microsoft Entra application. Prices are looked up under the
//! deployment's name: one that is not called like its model needs a price of its own.

use super::{
    Answer, Asked, Decoded, Encoded, Fields, Frame, Grant, Leaving, StreamDecoder, Wire,
    beside::Side,
    completions::{self, Quirks},
    embeddings, path,
};
use crate::failure::Failure;
use serde::Deserialize;
use serde_json::Value;

/// What a token is asked for.
const SCOPE: &str = "https://cognitiveservices.azure.com/.default";

/// The first dated version with `stream_options` (<https://learn.microsoft.com/azure/ai-foundry/openai/api-version-deprecation>).
const STREAM_OPTIONS_SINCE: &str = "2024-09-01";

/// The leaf.
#[derive(Debug)]
pub(super) struct Azure {
    /// A dated version; `None`: the v1 API.
    version: Option<String>,
    /// Which header a key is shown in.
    key_header: &'static str,
}

impl Azure {
    /// For that version of the API; `None`: v1.
    pub(super) fn new(version: Option<&str>) -> Self {
        Self { version: version.map(str::to_owned), key_header: "api-key" }
    }

    /// For the other services of a resource, such as Content Safety.
    pub(super) fn services() -> Self {
        Self { version: None, key_header: "ocp-apim-subscription-key" }
    }

    fn quirks(&self) -> Quirks {
        let is_old = self.version.as_deref().is_some_and(|version| version < STREAM_OPTIONS_SINCE);
        Quirks { no_stream_options: is_old, ..Quirks::default() }
    }

    /// Where a deployment does something. v1 has its name in the body.
    fn place(&self, deployment: &str, operation: &str) -> String {
        match &self.version {
            None => format!("/openai/v1/{operation}"),
            Some(version) => {
                let (deployment, version) = (path::segment(deployment), path::segment(version));
                format!("/openai/deployments/{deployment}/{operation}?api-version={version}")
            }
        }
    }
}

/// The parts of an application's credential. `None`: it is a key. Errors if it is neither.
fn application(key: &str) -> Result<Option<(&str, &str, &str)>, String> {
    let mut parts = key.splitn(3, ':');
    let is_tenant = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.'));
    match (parts.next(), parts.next(), parts.next()) {
        (_, None, _) => Ok(None),
        (Some(tenant), Some(id), Some(secret))
            if !tenant.is_empty() && is_tenant(tenant) && !id.is_empty() && !secret.is_empty() =>
        {
            Ok(Some((tenant, id, secret)))
        }
        _ => Err("the configured key is neither a key nor TENANT:CLIENT_ID:CLIENT_SECRET".to_owned()),
    }
}

impl Wire for Azure {
    fn otel_name(&self) -> &'static str {
        "azure.ai.openai"
    }

    fn encode(&self, asked: &Asked<'_>) -> Result<Encoded, Failure> {
        let body = completions::encode(asked, self.quirks())?.to_json();
        Ok(Encoded::new(self.place(asked.upstream_model, "chat/completions"), body))
    }

    fn decode(&self, asked: &Asked<'_>, body: &[u8]) -> Result<Answer, Failure> {
        completions::decode(asked, body)
    }

    fn decoder(&self, asked: &Asked<'_>) -> Box<dyn StreamDecoder> {
        Box::new(Decoder::new(completions::Decoder::new(asked, self.quirks()), "chat.completion.chunk"))
    }

    fn classify(&self, status: u16, body: &[u8]) -> Failure {
        #[derive(Deserialize)]
        struct Gateway {
            #[serde(rename = "statusCode")]
            _status: u16,
            message: String,
        }
        // Azure's own gateway, which answers before the service is reached, has a shape of its own.
        match serde_json::from_slice::<Gateway>(body) {
            Ok(gateway) => Failure::of_status(status, gateway.message),
            Err(_) => completions::classify(status, body),
        }
    }

    fn grant(&self, key: Option<&str>, _: i64) -> Result<Option<Grant>, String> {
        let Some((tenant, id, secret)) = key.map(application).transpose()?.flatten() else { return Ok(None) };
        let url = format!("https://login.microsoftonline.com/{tenant}/oauth2/v2.0/token");
        Ok(Some(Grant::client_credentials(url, id, secret, SCOPE)))
    }

    fn headers(&self, key: Option<&str>, leaving: &Leaving<'_>) -> Result<Vec<(&'static str, String)>, String> {
        let header = key.map(|key| match leaving.is_token {
            true => ("authorization", format!("Bearer {key}")),
            false => (self.key_header, key.to_owned()),
        });
        Ok(header.into_iter().collect())
    }

    fn request_id_header(&self) -> &'static str {
        "apim-request-id"
    }
}

/// The side for embeddings, at the same resource.
#[derive(Debug)]
pub(super) struct Embeddings(pub(super) Azure);

impl Side for Embeddings {
    fn encode(&self, asked: &Asked<'_>) -> Result<Encoded, Failure> {
        let body = completions::encode(asked, Quirks::default())?.to_json();
        Ok(Encoded::new(self.0.place(asked.upstream_model, "embeddings"), body))
    }

    fn decode(&self, asked: &Asked<'_>, body: &[u8]) -> Result<Answer, Failure> {
        embeddings::decode(asked, body)
    }
}

/// Text completions of the same resource.
#[derive(Debug)]
pub(super) struct TextCompletions(pub(super) Azure);

impl Side for TextCompletions {
    fn encode(&self, asked: &Asked<'_>) -> Result<Encoded, Failure> {
        let body = completions::encode(asked, self.0.quirks())?.to_json();
        Ok(Encoded::new(self.0.place(asked.upstream_model, "completions"), body))
    }

    fn decode(&self, asked: &Asked<'_>, body: &[u8]) -> Result<Answer, Failure> {
        completions::decode(asked, body)
    }

    fn decoder(&self, asked: &Asked<'_>) -> Box<dyn StreamDecoder> {
        let inner = completions::Decoder::of_texts(asked, self.0.quirks());
        Box::new(Decoder::new(inner, completions::TEXT_COMPLETION))
    }
}

/// A stream with what filters say in it: a first chunk about the prompt, with neither id nor choices, and, where the filter runs
/// beside the answer, others without an id. To callers each chunk looks like OpenAI's: such a chunk takes the answer's head, and
/// what is said of the prompt comes with the first choice.
struct Decoder {
    inner: completions::Decoder,
    /// What a chunk is called.
    object: &'static str,
    /// `id` and `created` of the answer.
    head: Option<(Value, Value)>,
    /// `prompt_filter_results`, until there is a choice to send them with.
    prompt: Option<Value>,
}

impl Decoder {
    fn new(inner: completions::Decoder, object: &'static str) -> Self {
        Self { inner, object, head: None, prompt: None }
    }

    fn chunk(&mut self, mut fields: Fields) -> Result<Decoded, Failure> {
        let value = |name: &str, fields: &Fields| fields.read::<Value>(name).ok().flatten().unwrap_or_default();
        let (id, choices) = (value("id", &fields), value("choices", &fields));
        if let Some(prompt) = fields.read::<Value>("prompt_filter_results").ok().flatten() {
            self.inner.set("prompt_filter_results", prompt.clone());
            self.prompt = Some(prompt);
        }
        let has_id = id.as_str().is_some_and(|id| !id.is_empty());
        if has_id {
            self.head.get_or_insert_with(|| (id, value("created", &fields)));
        } else if choices.as_array().is_none_or(Vec::is_empty) && fields.get("usage").is_none() {
            return Ok(Decoded::default());
        } else if let Some((id, created)) = &self.head {
            fields.put("id", id);
            fields.put("created", created);
        }
        if fields.read::<String>("object").ok().flatten().is_none_or(|object| object.is_empty()) {
            fields.put("object", self.object);
        }
        if choices.as_array().is_some_and(|choices| !choices.is_empty()) {
            match self.prompt.take() {
                Some(prompt) => fields.put("prompt_filter_results", &prompt),
                None => fields.remove("prompt_filter_results"),
            }
        }
        self.inner.chunk(fields)
    }
}

impl StreamDecoder for Decoder {
    fn frame(&mut self, frame: &Frame) -> Result<Decoded, Failure> {
        match Fields::parse(&frame.data) {
            Ok(fields) if fields.get("error").is_none() => self.chunk(fields),
            _ => self.inner.frame(frame),
        }
    }

    fn is_complete(&self) -> bool {
        self.inner.is_complete()
    }

    fn is_done(&self) -> bool {
        self.inner.is_done()
    }

    fn answer(self: Box<Self>) -> Answer {
        Box::new(self.inner).answer()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_applications_credential_is_exchanged_and_a_key_is_shown() {
        let azure = Azure::new(None);
        let grant = azure.grant(Some("contoso.onmicrosoft.com:app-1:s~:x&"), 0).expect("well formed").expect("a grant");
        assert_eq!(grant.url, "https://login.microsoftonline.com/contoso.onmicrosoft.com/oauth2/v2.0/token");
        let form = "grant_type=client_credentials&client_id=app-1&client_secret=s%7E%3Ax%26\
                    &scope=https%3A%2F%2Fcognitiveservices.azure.com%2F.default";
        assert_eq!((grant.form.as_deref(), grant.headers.len()), (Some(form), 0));
        assert!(
            azure.grant(Some("0123abcd"), 0).expect("a key").is_none() && azure.grant(None, 0).expect("none").is_none()
        );
        for bad in ["a:sk-secret", ":a:sk-secret", "a:b:", "a::sk-secret", "a/../b:c:sk-secret"] {
            assert!(!azure.grant(Some(bad), 0).expect_err("neither").contains("secret"), "{bad}");
        }
        let headers =
            |is_token| azure.headers(Some("x"), &Leaving { is_token, ..Leaving::default() }).expect("headers");
        assert_eq!(headers(false), [("api-key", "x".to_owned())]);
        assert_eq!(headers(true), [("authorization", "Bearer x".to_owned())]);
    }

    #[test]
    fn the_version_decides_the_path_and_whether_usage_is_asked_for() {
        let chat = Fields::parse(r#"{"messages":[],"stream":true}"#).expect("object");
        let asked = Asked { upstream_model: "gpt 4o/eu", stream: true, ..Asked::of(&chat) };
        for (version, path, asks) in [
            (None, "/openai/v1/chat/completions", true),
            (Some("2024-10-21"), "/openai/deployments/gpt%204o%2Feu/chat/completions?api-version=2024-10-21", true),
            (Some("2024-06-01"), "/openai/deployments/gpt%204o%2Feu/chat/completions?api-version=2024-06-01", false),
        ] {
            let encoded = Azure::new(version).encode(&asked).expect("expressible");
            assert_eq!((encoded.path.as_str(), encoded.body.contains("include_usage")), (path, asks));
        }
    }
}
