//! W3C trace context as it travels in record headers and HTTP headers.
//!
//! Source: <https://www.w3.org/TR/trace-context/>, version 00.

use std::fmt;

/// One hop's context. It exists for every request, exported or not, because logs carry the trace id too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceContext {
    /// 16 bytes, never zero.
    pub trace_id: u128,
    /// 8 bytes, never zero.
    pub span_id: u64,
    /// Bit 0: sampled.
    pub flags: u8,
    /// `tracestate`, passed on unread; at most 512 bytes.
    pub state: Option<String>,
}

const STATE_MAX_BYTES: usize = 512;

impl TraceContext {
    /// A new trace, sampled.
    pub fn new() -> Self {
        let (hi, lo) = uuid::Uuid::new_v4().as_u64_pair();
        Self { trace_id: (u128::from(hi) << 64) | u128::from(lo), span_id: random_span_id(), flags: 1, state: None }
    }

    /// The same trace with a new span id: what a hop puts on what it sends.
    pub fn child(&self) -> Self {
        Self { span_id: random_span_id(), ..self.clone() }
    }

    /// Parses `traceparent` (and takes `tracestate` along); `None` if it is malformed, as the recommendation says.
    pub fn parse(traceparent: &str, tracestate: Option<&str>) -> Option<Self> {
        let mut parts = traceparent.trim().split('-');
        let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        if version.len() != 2 || version == "ff" || trace.len() != 32 || span.len() != 16 || flags.len() != 2 {
            return None;
        }
        // A later version may have more parts. `from_str_radix` would take a sign too.
        let is_hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if (version == "00" && parts.next().is_some()) || ![version, trace, span, flags].into_iter().all(is_hex) {
            return None;
        }
        let trace_id = u128::from_str_radix(trace, 16).ok().filter(|id| *id != 0)?;
        let span_id = u64::from_str_radix(span, 16).ok().filter(|id| *id != 0)?;
        let flags = u8::from_str_radix(flags, 16).ok()?;
        let state = tracestate.filter(|s| !s.is_empty() && s.len() <= STATE_MAX_BYTES).map(str::to_owned);
        Some(Self { trace_id, span_id, flags, state })
    }

    /// The trace id as 32 hex digits.
    pub fn trace_id_hex(&self) -> String {
        format!("{:032x}", self.trace_id)
    }
}

impl Default for TraceContext {
    fn default() -> Self {
        Self::new()
    }
}

/// Writes the `traceparent` form.
impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace_id, self.span_id, self.flags)
    }
}

fn random_span_id() -> u64 {
    uuid::Uuid::new_v4().as_u64_pair().0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_and_refusals() {
        let text = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let context = TraceContext::parse(text, Some("a=b")).expect("valid");
        assert_eq!(context.to_string(), text);
        assert_eq!(context.child().trace_id, context.trace_id);
        for bad in [
            "",
            "00-0-0-0",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-a=b",
            "00-+af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ] {
            assert_eq!(TraceContext::parse(bad, None), None, "{bad}");
        }
    }
}
