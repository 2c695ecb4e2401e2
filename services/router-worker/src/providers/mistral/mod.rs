//! Mistral's chat completions: near enough to OpenAI's to be told by their differences, which are translated both ways.
//!
//! Sources: <https://docs.mistral.ai/api/endpoint/chat>, <https://docs.mistral.ai/capabilities/reasoning> and the models of
//! `mistralai/client-python`. The API refuses every field that it does not know, so what it cannot express is refused here with
//! the field's name, before a call. It takes no `stream_options`: usage comes with the last chunk that has a choice.

mod embeddings;
mod request;

use super::{
    Answer, Asked, Decoded, Encoded, Fields, Frame, Leaving, StreamDecoder, Wire, answers, chunks,
    completions::{self, Quirks, parts},
};
use crate::failure::{Class, Failure};
use serde_json::{Map, Value};

pub(super) use embeddings::Embeddings;

const QUIRKS: Quirks = Quirks { no_stream_options: true, max_tokens_only: true };

/// The leaf.
#[derive(Debug)]
pub(super) struct Mistral;

impl Wire for Mistral {
    fn otel_name(&self) -> &'static str {
        "mistral_ai"
    }

    fn encode(&self, asked: &Asked<'_>) -> Result<Encoded, Failure> {
        Ok(Encoded::new("/chat/completions", request::encode(asked)?.to_json()))
    }

    fn decode(&self, asked: &Asked<'_>, body: &[u8]) -> Result<Answer, Failure> {
        let mut answer = answers::document(body)?;
        as_openai(&mut answer, "message", parts::flatten)?;
        completions::decode(asked, answer.to_string().as_bytes())
    }

    fn decoder(&self, asked: &Asked<'_>) -> Box<dyn StreamDecoder> {
        Box::new(completions::Over(completions::Decoder::new(asked, QUIRKS), frame))
    }

    fn classify(&self, status: u16, body: &[u8]) -> Failure {
        failure(status, &serde_json::from_slice(body).unwrap_or_default())
    }

    fn headers(&self, key: Option<&str>, _: &Leaving<'_>) -> Result<Vec<(&'static str, String)>, String> {
        Ok(key.map(|key| ("authorization", format!("Bearer {key}"))).into_iter().collect())
    }

    fn request_id_header(&self) -> &'static str {
        "mistral-correlation-id"
    }
}

/// An answer or a chunk in OpenAI's words. Errors if the model broke off.
fn as_openai(answer: &mut Value, name: &str, flatten: fn(&mut Map<String, Value>) -> bool) -> Result<(), Failure> {
    for choice in answer.get_mut("choices").and_then(Value::as_array_mut).into_iter().flatten() {
        match choice.get("finish_reason").and_then(Value::as_str) {
            Some("model_length") => choice["finish_reason"] = "length".into(),
            Some("error") => {
                let code = Some("finish_reason_error".to_owned());
                return Err(Failure { code, ..Failure::new(Class::Server, "the provider broke off the answer") });
            }
            _ => {}
        }
        let Some(message) = choice.get_mut(name).and_then(Value::as_object_mut) else { continue };
        flatten(message);
        message.remove("prefix");
        message.retain(|name, value| name == "content" || !value.is_null());
        for call in message.get_mut("tool_calls").and_then(Value::as_array_mut).into_iter().flatten() {
            tool_call(call, name == "delta");
        }
        if name == "message" && message.contains_key("tool_calls") && message.get("content").is_some_and(|c| c == "") {
            message.insert("content".into(), Value::Null);
        }
    }
    Ok(())
}

/// A call may lack its type and give its arguments as an object; outside a stream an index means nothing.
fn tool_call(call: &mut Value, is_delta: bool) {
    let Some(call) = call.as_object_mut() else { return };
    call.entry("type").or_insert_with(|| "function".into());
    if !is_delta {
        call.remove("index");
    }
    if let Some(arguments) = call.get_mut("function").and_then(|function| function.get_mut("arguments"))
        && arguments.is_object()
    {
        *arguments = arguments.to_string().into();
    }
}

/// The failure that an error document stands for. A message is a text, or the list of what is wrong with a request, which also
/// comes as `detail`, by itself or below `message`; of it only where and what is read, not the value, which is the caller's.
fn failure(status: u16, document: &Value) -> Failure {
    let lists = [&document["detail"], &document["message"]["detail"], &document["message"]];
    let wrong = lists.into_iter().find_map(|list| list.as_array().and_then(|list| list.first()));
    let text = [&document["message"], &document["detail"]].into_iter().find_map(Value::as_str);
    let message = wrong.and_then(|wrong| wrong["msg"].as_str()).or(text).map(str::to_owned);
    let message = message.unwrap_or_else(|| format!("the provider answered with status {status}"));
    let mut failure = Failure::of_status(status, message);
    let kind = document["type"].as_str().map(str::to_owned);
    failure.code = kind.or_else(|| wrong.and_then(|wrong| wrong["type"].as_str()).map(str::to_owned));
    failure.param = document["param"].as_str().map(str::to_owned).or_else(|| wrong.and_then(param));
    failure.request_id = document["request_id"].as_str().map(str::to_owned);
    failure
}

/// Where a request is wrong, as in `messages[0].user.name`.
fn param(wrong: &Value) -> Option<String> {
    let mut path = String::new();
    for part in wrong["loc"].as_array()?.iter().filter(|part| *part != "body") {
        match part {
            Value::Number(index) => path.push_str(&format!("[{index}]")),
            Value::String(name) if path.is_empty() => path.push_str(name),
            Value::String(name) => path.push_str(&format!(".{name}")),
            _ => {}
        }
    }
    Some(path).filter(|path| !path.is_empty())
}

/// A frame of a stream, its chunk in OpenAI's words.
fn frame(inner: &mut completions::Decoder, frame: &Frame) -> Result<Decoded, Failure> {
    if frame.data == "[DONE]" {
        return inner.frame(frame);
    }
    let mut chunk = chunks::document(frame)?;
    if chunk["object"].as_str().is_some_and(|object| object.eq_ignore_ascii_case("error")) {
        let status = chunk["raw_status_code"].as_u64().and_then(|status| u16::try_from(status).ok());
        return Err(failure(status.unwrap_or(500), &chunk));
    }
    if chunk.get("error").is_some_and(|error| !error.is_null()) {
        return Err(completions::Decoder::error(&chunk["error"]));
    }
    as_openai(&mut chunk, "delta", parts::flatten_delta)?;
    let fields = Fields::parse(&chunk.to_string())
        .map_err(|_| Failure::malformed("a stream event that is not a JSON object"))?;
    inner.chunk(fields)
}
