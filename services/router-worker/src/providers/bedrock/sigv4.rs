//! AWS Signature Version 4 of one POST without a query.
//!
//! Source: <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>. Written here because the
//! `aws-sigv4` crate brings some twenty crates that nothing else in the workspace needs (`aws-smithy-*`, `time`, a second HMAC);
//! what is left of the procedure for this one shape of request is short. Tested against vectors of AWS's published suite
//! (`aws-sig-v4-test-suite`; <https://github.com/awslabs/aws-c-auth>, `tests/aws-signing-test-suite/v4`).

use super::super::Leaving;
use chrono::DateTime;
use ring::{digest, hmac};
use std::fmt::Write;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// Who signs, and for what.
#[derive(Clone, Copy)]
pub(super) struct Signer<'a> {
    /// The public half of the credential.
    pub access_key_id: &'a str,
    /// The secret half.
    pub secret_access_key: &'a str,
    /// What a temporary credential has besides.
    pub session_token: Option<&'a str>,
    /// Such as `us-east-1`.
    pub region: &'a str,
    /// The service's name in signatures.
    pub service: &'a str,
}

impl Signer<'_> {
    /// The headers that sign the call: `x-amz-date`, `x-amz-security-token` if there is one, and `authorization`. `content_type`
    /// is signed too, as AWS asks of whoever sends one. Errors if the URL or the time is none.
    pub(super) fn sign(
        &self,
        leaving: &Leaving<'_>,
        content_type: Option<&str>,
    ) -> Result<Vec<(&'static str, String)>, String> {
        let url = url::Url::parse(leaving.url).map_err(|_| "its base_url is not a URL".to_owned())?;
        let host = url.host_str().ok_or("its base_url names no host")?;
        let host = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        let now = DateTime::from_timestamp(leaving.now_s, 0).ok_or("the clock is wrong")?;
        let (date, time) = (now.format("%Y%m%d").to_string(), now.format("%Y%m%dT%H%M%SZ").to_string());
        // In the order of their names, as the canonical request wants them.
        let signed = [
            content_type.map(|content_type| ("content-type", content_type)),
            Some(("host", host.as_str())),
            Some(("x-amz-date", time.as_str())),
            self.session_token.map(|token| ("x-amz-security-token", token)),
        ];
        let signed: Vec<(&str, &str)> = signed.into_iter().flatten().collect();
        let names: Vec<&str> = signed.iter().map(|(name, _)| *name).collect();
        let names = names.join(";");
        let request = canonical(&url, &signed, &names, leaving.body);
        let scope = format!("{date}/{}/{}/aws4_request", self.region, self.service);
        let text = format!("{ALGORITHM}\n{time}\n{scope}\n{}", sha256(&request));
        let signature = hex(hmac_sha256(&self.key(&date), &text).as_ref());
        let credential = format!("{}/{scope}", self.access_key_id);
        let authorization =
            format!("{ALGORITHM} Credential={credential}, SignedHeaders={names}, Signature={signature}");
        let token = self.session_token.map(|token| ("x-amz-security-token", token.to_owned()));
        let headers = [Some(("x-amz-date", time)), token, Some(("authorization", authorization))];
        Ok(headers.into_iter().flatten().collect())
    }

    /// The key of a day: it is good for one region and one service.
    fn key(&self, date: &str) -> Vec<u8> {
        let secret = format!("AWS4{}", self.secret_access_key).into_bytes();
        let parts = [date, self.region, self.service, "aws4_request"];
        parts.iter().fold(secret, |key, part| hmac_sha256(&key, part).as_ref().to_vec())
    }
}

/// The canonical request. The path is encoded once more than it is sent, as every service but S3 wants it.
fn canonical(url: &url::Url, signed: &[(&str, &str)], names: &str, body: &str) -> String {
    let path = encode(url.path(), b"/");
    let mut headers = String::new();
    for (name, value) in signed {
        // Writing into memory cannot fail.
        let _ = writeln!(headers, "{name}:{}", value.trim());
    }
    format!("POST\n{path}\n\n{headers}\n{names}\n{}", sha256(body))
}

/// Percent-encodes everything but RFC 3986's unreserved characters and those of `keep`.
pub(super) fn encode(text: &str, keep: &[u8]) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || keep.contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

fn sha256(text: &str) -> String {
    hex(digest::digest(&digest::SHA256, text.as_bytes()).as_ref())
}

fn hmac_sha256(key: &[u8], text: &str) -> hmac::Tag {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2015-08-30T12:36:00Z, and all other values of the suite.
    const NOW_S: i64 = 1_440_938_160;
    const SUITE: Signer<'_> = Signer {
        access_key_id: "AKIDEXAMPLE",
        secret_access_key: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
        session_token: None,
        region: "us-east-1",
        service: "service",
    };
    const TOKEN: &str = "AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPfIeoIYRqTflfKD8YUuwthAx7mSEI/qkPpKPi/kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT7WZ0wq5VSXDvp75YU9HFvlRd8Tx6q6fE8YQcHNVXAkiY9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz+scqKmlzm8FDrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR/oLxBA==";

    fn authorization(signer: Signer<'_>, url: &str, content_type: Option<&str>, body: &str) -> String {
        let headers = signer.sign(&Leaving { url, body, now_s: NOW_S, is_token: false }, content_type).expect("signs");
        assert_eq!(headers[0], ("x-amz-date", "20150830T123600Z".to_owned()));
        let token = headers.iter().find(|(name, _)| *name == "x-amz-security-token");
        assert_eq!(token.map(|(_, token)| token.as_str()), signer.session_token);
        headers.into_iter().find(|(name, _)| *name == "authorization").expect("a signature").1
    }

    #[test]
    fn requests_are_signed_as_in_the_published_suite() {
        let root = "https://example.amazonaws.com/";
        let form = Some("application/x-www-form-urlencoded");
        let with_token = Signer { session_token: Some(TOKEN), ..SUITE };
        let post_vanilla = authorization(SUITE, root, None, "");
        let post_form = authorization(SUITE, root, form, "Param1=value1");
        let post_sts_header_before = authorization(with_token, root, None, "");
        let expected = |names: &str, signature: &str| {
            format!(
                "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders={names}, Signature={signature}"
            )
        };
        assert_eq!(
            post_vanilla,
            expected("host;x-amz-date", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b")
        );
        assert_eq!(
            post_form,
            expected(
                "content-type;host;x-amz-date",
                "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a"
            )
        );
        assert_eq!(
            post_sts_header_before,
            expected(
                "host;x-amz-date;x-amz-security-token",
                "85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead"
            )
        );
    }

    /// The suite has no path that is sent encoded; these signatures are those of botocore 1.44's `SigV4Auth`.
    #[test]
    fn a_path_is_encoded_twice_and_a_port_belongs_to_the_host() {
        let bedrock = Signer { service: "bedrock", ..SUITE };
        let (json, body) = (Some("application/json"), r#"{"messages":[]}"#);
        let url = "https://bedrock-runtime.us-east-1.amazonaws.com/model/anthropic.claude-sonnet-4-5-20250929-v1%3A0/converse";
        let signed = authorization(bedrock, url, json, body);
        assert!(signed.ends_with("=b103ed8afc3664d93d04d6a557c1a620a6e218225be2abad17ceda3e1569a3ec"), "{signed}");
        let bedrock = Signer { session_token: Some("TOKEN"), ..bedrock };
        let url = "http://127.0.0.1:8000/p/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A123456789012%3Ainference-profile%2Fus.x/converse-stream";
        let signed = authorization(bedrock, url, json, body);
        assert!(signed.ends_with("=988530a374b0bab192f737c0fcfb98dc48e58a8407a1e4be569939036f2bd949"), "{signed}");
    }

    #[test]
    fn what_cannot_be_signed_is_said_without_a_word_of_the_secret() {
        for url in ["", "no url", "data:x"] {
            let reason = SUITE.sign(&Leaving { url, now_s: NOW_S, ..Leaving::default() }, None).expect_err("no host");
            assert!(reason.contains("base_url") && !reason.contains("wJalr"));
        }
        assert!(SUITE.sign(&Leaving { url: "https://a/", now_s: i64::MAX, ..Leaving::default() }, None).is_err());
        assert_eq!(encode("a.b-c_d~e:f/g é", b""), "a.b-c_d~e%3Af%2Fg%20%C3%A9");
    }
}
