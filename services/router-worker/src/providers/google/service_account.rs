//! What a service account's credential becomes on Vertex AI: a signed assertion, for which Google gives a token.
//!
//! Sources: RFC 7523, 2.1 and 3; <https://developers.google.com/identity/protocols/oauth2/service-account> (the assertion's claims);
//! <https://cloud.google.com/compute/docs/access/authenticate-workloads> (the metadata server). Pure: the time is told. Deliberately
//! absent: other kinds of credential files, and the environment variables that Google's libraries read.

use super::super::{Grant, token::form};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use ring::{
    rand::SystemRandom,
    signature::{RSA_PKCS1_SHA256, RsaKeyPair},
};
use serde::Deserialize;
use serde_json::{Value, json};

const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";
const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
/// The longest that Google lets an assertion last, in seconds.
const LASTS_S: i64 = 3600;
const METADATA_URL: &str = "http://metadata.google.internal/computeMetadata/v1/instance/service-accounts/default/token";

const NO_KEY_FILE: &str = "the configured credential is not the key file of a service account";

/// What is read of a key file.
#[derive(Deserialize)]
struct KeyFile {
    #[serde(rename = "type")]
    kind: String,
    client_email: String,
    private_key_id: Option<String>,
    /// PKCS #8 in PEM.
    private_key: String,
    token_uri: String,
}

/// Asks the machine's metadata server, which needs no credential.
pub(super) fn of_the_machine() -> Grant {
    Grant { url: METADATA_URL.to_owned(), headers: vec![("metadata-flavor", "Google".to_owned())], form: None }
}

/// Shows the token server an assertion that the key file's key has signed. `Err` says what is wrong with the file.
pub(super) fn of_a_key_file(file: &str, now_s: i64) -> Result<Grant, String> {
    // The parser's own words would quote the file.
    let file: KeyFile = serde_json::from_str(file).map_err(|_| NO_KEY_FILE)?;
    let is_url = file.token_uri.starts_with("https://") || file.token_uri.starts_with("http://");
    if file.kind != "service_account" || !is_url {
        return Err(NO_KEY_FILE.to_owned());
    }
    let assertion = assertion(&file, now_s)?;
    let form = form(&[("grant_type", GRANT_TYPE), ("assertion", &assertion)]);
    Ok(Grant { url: file.token_uri, headers: Vec::new(), form: Some(form) })
}

/// A JSON Web Token, signed by RSASSA-PKCS1-v1_5 with SHA-256 (RFC 7518, 3.3).
fn assertion(file: &KeyFile, now_s: i64) -> Result<String, String> {
    let mut header = json!({ "alg": "RS256", "typ": "JWT" });
    if let Some(id) = &file.private_key_id {
        header["kid"] = id.as_str().into();
    }
    let claims = json!({
        "iss": file.client_email,
        "scope": SCOPE,
        "aud": file.token_uri,
        "iat": now_s,
        "exp": now_s + LASTS_S,
    });
    let encode = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
    let message = format!("{}.{}", encode(&header), encode(&claims));
    let key = der(&file.private_key).and_then(|der| RsaKeyPair::from_pkcs8(&der).ok());
    let key = key.ok_or("the configured key file's private key is no RSA key of 2048 bits or more in PKCS #8")?;
    let mut signature = vec![0; key.public().modulus_len()];
    // The randomness blinds the computation; the signature does not depend on it.
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message.as_bytes(), &mut signature)
        .map_err(|_| "the configured key file's private key signs nothing")?;
    Ok(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

/// The bytes of a PEM block (RFC 7468).
fn der(pem: &str) -> Option<Vec<u8>> {
    let (_, rest) = pem.split_once("-----BEGIN PRIVATE KEY-----")?;
    let (body, _) = rest.split_once("-----END PRIVATE KEY-----")?;
    STANDARD.decode(body.split_ascii_whitespace().collect::<String>()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use openssl::{
        hash::MessageDigest,
        pkey::{PKey, Private},
        rsa::Rsa,
        sign::Verifier,
    };

    const NOW_S: i64 = 1_795_400_000;

    fn key_file(key: &PKey<Private>) -> Value {
        let pem = String::from_utf8(key.private_key_to_pem_pkcs8().expect("PEM")).expect("ASCII");
        json!({
            "type": "service_account", "project_id": "p", "private_key_id": "k-1", "private_key": pem,
            "client_email": "gate@p.iam.gserviceaccount.com", "token_uri": "https://oauth2.googleapis.com/token",
        })
    }

    #[test]
    fn an_assertion_holds_what_google_asks_for_and_its_signature_is_good() {
        let key = PKey::from_rsa(Rsa::generate(2048).expect("a key")).expect("a key");
        let grant = of_a_key_file(&key_file(&key).to_string(), NOW_S).expect("a grant");
        assert_eq!((grant.url.as_str(), grant.headers.len()), ("https://oauth2.googleapis.com/token", 0));
        let form = grant.form.expect("a form");
        let pairs: Vec<_> = url::form_urlencoded::parse(form.as_bytes()).into_owned().collect();
        assert_eq!(pairs[0], ("grant_type".to_owned(), GRANT_TYPE.to_owned()));
        let (message, signature) = pairs[1].1.rsplit_once('.').expect("three parts");
        let mut verifier = Verifier::new(MessageDigest::sha256(), &key).expect("a verifier");
        verifier.update(message.as_bytes()).expect("takes it");
        assert!(verifier.verify(&URL_SAFE_NO_PAD.decode(signature).expect("base64")).expect("verifies"));
        let part = |at: usize| -> Value {
            let part = message.split('.').nth(at).expect("a part");
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).expect("base64")).expect("JSON")
        };
        assert_eq!(part(0), json!({ "alg": "RS256", "typ": "JWT", "kid": "k-1" }));
        let claims = json!({
            "iss": "gate@p.iam.gserviceaccount.com", "scope": SCOPE, "aud": "https://oauth2.googleapis.com/token",
            "iat": NOW_S, "exp": NOW_S + 3600,
        });
        assert_eq!(part(1), claims);
    }

    #[test]
    fn the_machines_own_account_is_asked_for_at_its_metadata_server() {
        let Grant { url, headers, form } = of_the_machine();
        let expected = "http://metadata.google.internal/computeMetadata/v1/instance/service-accounts/default/token";
        assert_eq!((url.as_str(), form), (expected, None));
        // Without it the server refuses, so that no page in a browser gets a token.
        assert_eq!(headers, [("metadata-flavor", "Google".to_owned())]);
    }

    #[test]
    fn what_is_no_key_file_is_refused_without_a_word_of_it() {
        let key = PKey::from_rsa(Rsa::generate(2048).expect("a key")).expect("a key");
        let changed = |name: &str, value: &str| {
            let mut file = key_file(&key);
            file[name] = value.into();
            file.to_string()
        };
        let bad = [
            "AIza-secret".to_owned(),
            "{}".to_owned(),
            changed("type", "authorized_user"),
            changed("token_uri", "file:///secret"),
            changed("private_key", "secret"),
            changed("private_key", "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n"),
        ];
        for file in bad {
            let reason = of_a_key_file(&file, NOW_S).expect_err("refused");
            assert!(reason.starts_with("the configured") && !reason.contains("secret"), "{reason}");
        }
    }
}
