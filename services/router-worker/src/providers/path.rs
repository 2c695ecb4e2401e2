//! Names as parts of a path.

use std::fmt::Write;

/// A name as one segment: everything but RFC 3986's unreserved characters is percent-encoded.
pub(super) fn segment(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            // Writing into a string cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_segment() {
        assert_eq!(segment("gpt-4o_1.5~x"), "gpt-4o_1.5~x");
        assert_eq!(segment("a/b?c=d é"), "a%2Fb%3Fc%3Dd%20%C3%A9");
    }
}
