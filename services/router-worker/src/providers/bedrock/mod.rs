//! Amazon Bedrock's Converse and ConverseStream, with chat translated both ways.
//!
//! Sources: <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html>, `…/API_runtime_ConverseStream.html`
//! and the types they name; `…/userguide/prompt-caching.html`, `…/userguide/structured-output.html`,
//! `…/userguide/api-keys-use.html` and `…/userguide/troubleshooting-api-error-codes.html`; the machine-readable model is
//! botocore's `data/bedrock-runtime/2023-09-30/service-2.json`. What Converse cannot express is refused with the name of the
//! field, never dropped. Requests are signed with AWS's Signature Version 4 (`sigv4`), or carry a Bedrock API key.

mod embeddings;
mod guardrail;
mod messages;
mod request;
mod response;
mod sigv4;
mod stream;

use super::{Answer, Asked, Continuation, Encoded, Framing, Leaving, StreamDecoder, Wire, prefill};
use crate::failure::{Class, Failure};
use serde_json::Value;
use sigv4::Signer;

pub(super) use embeddings::Embeddings;
pub(super) use guardrail::Guardrail;

/// The service's name in signatures, not that of its host.
const SERVICE: &str = "bedrock";
/// What `http` sends.
const CONTENT_TYPE: &str = "application/json";
const CREDENTIAL: &str = "must be ACCESS_KEY_ID:SECRET_ACCESS_KEY, with :SESSION_TOKEN behind it if there is one, or an API key of Bedrock's, which has no colon";

/// The leaf.
#[derive(Debug, Clone)]
pub(super) struct Bedrock {
    /// Whose models are called, such as `us-east-1`.
    pub region: String,
}

impl Bedrock {
    /// Where a region's models are.
    pub(super) fn base_url(region: &str) -> String {
        format!("https://bedrock-runtime.{region}.amazonaws.com")
    }
}

impl Wire for Bedrock {
    fn otel_name(&self) -> &'static str {
        "aws.bedrock"
    }

    fn encode(&self, asked: &Asked<'_>) -> Result<Encoded, Failure> {
        let operation = if asked.stream { "converse-stream" } else { "converse" };
        let path = format!("/model/{}/{operation}", sigv4::encode(asked.upstream_model, b""));
        let begun = prefill::chat(asked)?;
        let asked = &Asked { chat: begun.as_ref().unwrap_or(asked.chat), ..*asked };
        Ok(Encoded::new(path, request::encode(asked)?.to_string()))
    }

    fn decode(&self, asked: &Asked<'_>, body: &[u8]) -> Result<Answer, Failure> {
        response::decode(asked, body)
    }

    fn decoder(&self, asked: &Asked<'_>) -> Box<dyn StreamDecoder> {
        Box::new(stream::Decoder::new(asked))
    }

    fn classify(&self, status: u16, body: &[u8]) -> Failure {
        let document: Value = serde_json::from_slice(body).unwrap_or_default();
        // The name is in a header as a rule; each status means one thing without it.
        failure(status, document["__type"].as_str(), &document)
    }

    fn framing(&self) -> Framing {
        Framing::EventStream
    }

    fn headers(&self, key: Option<&str>, leaving: &Leaving<'_>) -> Result<Vec<(&'static str, String)>, String> {
        let Some(key) = key else { return Ok(Vec::new()) };
        let parts: Vec<&str> = key.split(':').collect();
        let (access_key_id, secret_access_key, session_token) = match parts[..] {
            [key] => return Ok(vec![("authorization", format!("Bearer {key}"))]),
            [id, secret] if !id.is_empty() && !secret.is_empty() => (id, secret, None),
            [id, secret, token] if !id.is_empty() && !secret.is_empty() && !token.is_empty() => {
                (id, secret, Some(token))
            }
            _ => return Err(format!("the configured key {CREDENTIAL}")),
        };
        let region = self.region.as_str();
        let signer = Signer { access_key_id, secret_access_key, session_token, region, service: SERVICE };
        signer.sign(leaving, Some(CONTENT_TYPE))
    }

    fn request_id_header(&self) -> &'static str {
        "x-amzn-requestid"
    }

    fn takes_marks(&self) -> bool {
        true
    }

    fn continues(&self, model: &str) -> Option<Continuation> {
        prefill::continues(model)
    }
}

/// The failure that an error document stands for.
fn failure(status: u16, name: Option<&str>, document: &Value) -> Failure {
    let message = document["message"].as_str().or_else(|| document["Message"].as_str());
    let message = message.map_or_else(|| format!("the provider answered with status {status}"), str::to_owned);
    let mut failure = Failure::of_status(status, message);
    failure.code = name.and_then(error_name);
    // ModelErrorException and ModelStreamErrorException: the model failed, not the caller.
    if status == 424 {
        failure.class = Class::Server;
    }
    failure
}

/// An error's name as the reference writes it: `com.example#ThrottlingException:http://…` and `throttlingException` are the same.
fn error_name(name: &str) -> Option<String> {
    let name = name.rsplit('#').next()?.split(':').next()?;
    let mut letters = name.chars();
    let first = letters.next()?;
    Some(first.to_ascii_uppercase().to_string() + letters.as_str())
}

/// The status that an error has outside a stream; inside one the 200 has been sent.
fn status_of_error(name: &str) -> u16 {
    match name {
        "ValidationException" => 400,
        "AccessDeniedException" => 403,
        "ResourceNotFoundException" => 404,
        "ModelTimeoutException" => 408,
        "ModelErrorException" | "ModelStreamErrorException" => 424,
        "ThrottlingException" | "ModelNotReadyException" => 429,
        "ServiceUnavailableException" => 503,
        _ => 500,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::providers::Fields;

    #[test]
    fn a_credential_signs_or_is_a_bearer_token() {
        let (bedrock, now_s) = (Bedrock { region: "eu-west-1".to_owned() }, 1_440_938_160);
        let leaving = Leaving {
            url: "https://bedrock-runtime.eu-west-1.amazonaws.com/model/m/converse",
            body: "{}",
            now_s,
            is_token: false,
        };
        let headers = |key| bedrock.headers(key, &leaving);
        assert_eq!(headers(None), Ok(Vec::new()));
        assert_eq!(headers(Some("ABSKx=")), Ok(vec![("authorization", "Bearer ABSKx=".to_owned())]));
        let names = |key| headers(Some(key)).expect("signs").into_iter().map(|(name, _)| name).collect::<Vec<_>>();
        assert_eq!(names("AKID:secret"), ["x-amz-date", "authorization"]);
        assert_eq!(names("AKID:secret:token"), ["x-amz-date", "x-amz-security-token", "authorization"]);
        let signed = headers(Some("AKID:secret/+=")).expect("signs")[1].1.clone();
        assert!(
            signed.contains("Credential=AKID/20150830/eu-west-1/bedrock/aws4_request, ") && !signed.contains("secret")
        );
        for bad in ["AKID:", ":secret-s", "AKID:secret-s:", "AKID:secret-s:t:u", "::"] {
            let reason = headers(Some(bad)).expect_err("no credential");
            assert!(reason.contains("ACCESS_KEY_ID") && !reason.contains("secret-s") && !reason.contains("AKID:"));
        }
    }

    #[test]
    fn a_models_name_is_one_segment_of_the_path() {
        let chat = Fields::parse(r#"{"messages":[]}"#).expect("an object");
        let path = |upstream_model, stream| {
            let asked = Asked { upstream_model, stream, ..Asked::of(&chat) };
            Bedrock { region: "us-east-1".to_owned() }.encode(&asked).expect("encodes").path
        };
        assert_eq!(path("amazon.nova-lite-v1:0", false), "/model/amazon.nova-lite-v1%3A0/converse");
        let profile = "arn:aws:bedrock:us-east-1:1:inference-profile/us.x";
        let encoded = "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Ainference-profile%2Fus.x/converse-stream";
        assert_eq!(path(profile, true), encoded);
        assert_eq!(Bedrock::base_url("eu-west-1"), "https://bedrock-runtime.eu-west-1.amazonaws.com");
    }

    #[test]
    fn error_names_are_written_as_in_the_reference() {
        for name in ["com.amazon.coral#ThrottlingException", "ThrottlingException:http://x/", "throttlingException"] {
            assert_eq!(error_name(name).as_deref(), Some("ThrottlingException"));
        }
        assert_eq!(error_name(""), None);
    }
}
