//! A caller's body as one for a server of the same format: byte for byte, but for what differs there.

use super::{super::Asked, super::Fields, Quirks};
use crate::failure::Failure;

/// The body to send. Errors with the name of a field that cannot be sent.
pub(in super::super) fn encode(asked: &Asked<'_>, quirks: Quirks) -> Result<Fields, Failure> {
    let mut chat = asked.passed_on();
    if quirks.max_tokens_only
        && let Some(max) = chat.get("max_completion_tokens").map(ToOwned::to_owned)
    {
        // The newer name wins, as it does where both are known.
        chat.set("max_tokens", max);
        chat.remove("max_completion_tokens");
    }
    stream(&mut chat, asked, quirks)?;
    Ok(chat)
}

fn stream(chat: &mut Fields, asked: &Asked<'_>, quirks: Quirks) -> Result<(), Failure> {
    if asked.stream {
        chat.put("stream", &true);
        if quirks.no_stream_options {
            chat.remove("stream_options");
            return Ok(());
        }
        // Without the usage chunk a stream's cost would be a guess.
        let options = chat.read::<Fields>("stream_options");
        let options = options.map_err(|_| Failure::inexpressible("stream_options", "must be an object"))?;
        let mut options = options.unwrap_or_default();
        options.put("include_usage", &true);
        chat.put("stream_options", &options);
    } else if chat.get("stream").is_some_and(|stream| stream.get() == "true") {
        // A job that asked for a stream where none can be had, such as on a topic.
        chat.remove("stream");
        chat.remove("stream_options");
    }
    Ok(())
}
