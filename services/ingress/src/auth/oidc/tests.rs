//! Tokens of every algorithm, right and wrong, against keys at hand. Fetching is tried end to end.

use super::*;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use openssl::{
    bn::BigNumContext,
    ec::{EcGroup, EcKey},
    ecdsa::EcdsaSig,
    hash::MessageDigest,
    nid::Nid,
    pkey::{PKey, Private},
    rsa::{Padding, Rsa},
    sign::{RsaPssSaltlen, Signer},
};
use serde_json::{Value, json};
use std::sync::LazyLock;
use tollgate_schemas::ErrorCode;

fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

struct Keys {
    rsa: PKey<Private>,
    ec: PKey<Private>,
    ed: PKey<Private>,
}

static KEYS: LazyLock<Keys> = LazyLock::new(|| Keys {
    rsa: PKey::from_rsa(Rsa::generate(2048).expect("a key")).expect("a key"),
    ec: PKey::from_ec_key(
        EcKey::generate(&EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).expect("a curve")).expect("a key"),
    )
    .expect("a key"),
    ed: PKey::generate_ed25519().expect("a key"),
});

fn jwks() -> Value {
    let rsa = KEYS.rsa.rsa().expect("RSA");
    let ec = KEYS.ec.ec_key().expect("EC");
    let (mut x, mut y) = (openssl::bn::BigNum::new().expect("a number"), openssl::bn::BigNum::new().expect("a number"));
    let mut context = BigNumContext::new().expect("a context");
    ec.public_key().affine_coordinates(ec.group(), &mut x, &mut y, &mut context).expect("a point");
    let padded = |number: &openssl::bn::BigNum| b64(number.to_vec_padded(32).expect("32 bytes"));
    json!({ "keys": [
        { "kty": "RSA", "kid": "r", "use": "sig", "n": b64(rsa.n().to_vec()), "e": b64(rsa.e().to_vec()) },
        { "kty": "EC", "kid": "e", "crv": "P-256", "x": padded(&x), "y": padded(&y) },
        { "kty": "OKP", "kid": "d", "crv": "Ed25519", "x": b64(KEYS.ed.raw_public_key().expect("raw")) },
        { "kty": "RSA", "kid": "enc", "use": "enc", "n": b64(rsa.n().to_vec()), "e": b64(rsa.e().to_vec()) },
        { "kty": "oct", "kid": "o", "k": b64("a secret that is not one") },
        { "kty": "NEW", "kid": "n", "z": 1 },
    ] })
}

fn issuers() -> Issuers {
    let config: Vec<Oidc> = serde_json::from_value(json!([
        { "issuer": "https://issuer", "audience": "other" },
        { "issuer": "https://issuer", "audience": "tollgate" },
    ]))
    .expect("a configuration");
    let issuers = Issuers::of(&config, None);
    for issuer in &issuers.0 {
        issuer.jwks.hold(serde_json::from_value(jwks()).expect("keys"));
    }
    issuers
}

fn sign(alg: &str, message: &str) -> Vec<u8> {
    let message = message.as_bytes();
    match alg {
        "EdDSA" => {
            Signer::new_without_digest(&KEYS.ed).expect("a signer").sign_oneshot_to_vec(message).expect("a signature")
        }
        "ES256" => {
            let mut signer = Signer::new(MessageDigest::sha256(), &KEYS.ec).expect("a signer");
            let der = signer.sign_oneshot_to_vec(message).expect("a signature");
            let numbers = EcdsaSig::from_der(&der).expect("two numbers");
            let both = [numbers.r(), numbers.s()].map(|number| number.to_vec_padded(32).expect("32 bytes"));
            both.concat()
        }
        _ => {
            let mut signer = Signer::new(MessageDigest::sha256(), &KEYS.rsa).expect("a signer");
            if alg == "PS256" {
                signer.set_rsa_padding(Padding::PKCS1_PSS).expect("a padding");
                signer.set_rsa_pss_saltlen(RsaPssSaltlen::DIGEST_LENGTH).expect("a length");
            }
            signer.sign_oneshot_to_vec(message).expect("a signature")
        }
    }
}

fn claims() -> Value {
    let now = chrono::Utc::now().timestamp();
    json!({ "iss": "https://issuer", "aud": "tollgate", "sub": "u", "groups": ["t"], "exp": now + 600, "nbf": now - 1 })
}

fn token(header: Value, claims: &Value, signature: impl Fn(&str) -> Vec<u8>) -> String {
    let message = format!("{}.{}", b64(header.to_string()), b64(claims.to_string()));
    let signature = b64(signature(&message));
    format!("{message}.{signature}")
}

async fn verified(token: &str) -> Result<Claims, ApiError> {
    issuers().verify(token.as_bytes()).await
}

#[tokio::test]
async fn four_algorithms_are_taken() {
    for (alg, kid) in [("RS256", "r"), ("PS256", "r"), ("ES256", "e"), ("EdDSA", "d")] {
        for header in [json!({ "alg": alg, "kid": kid }), json!({ "alg": alg })] {
            let token = token(header, &claims(), |message| sign(alg, message));
            assert!(issuers().could_have_made(token.as_bytes()));
            let said = verified(&token).await.unwrap_or_else(|error| panic!("{alg}: {error}"));
            assert_eq!((said.user.as_str(), said.teams), ("u", vec!["t".to_owned()]));
        }
    }
}

#[tokio::test]
async fn no_other_signature_is() {
    let hmac = |secret: &[u8]| {
        let key = PKey::hmac(secret).expect("a key");
        move |message: &str| {
            Signer::new(MessageDigest::sha256(), &key)
                .and_then(|mut signer| signer.sign_oneshot_to_vec(message.as_bytes()))
                .expect("a signature")
        }
    };
    let public = KEYS.rsa.public_key_to_pem().expect("PEM");
    let rs256 = |message: &str| sign("RS256", message);
    let mut broken = [("nothing", Vec::new()), ("another", vec![7; 256]), ("half", vec![7; 128])].into_iter();
    let forged = [
        ("none", token(json!({ "alg": "none" }), &claims(), |_| Vec::new())),
        ("the public key as a secret", token(json!({ "alg": "HS256", "kid": "r" }), &claims(), hmac(&public))),
        (
            "a secret of the set",
            token(json!({ "alg": "HS256", "kid": "o" }), &claims(), hmac(b"a secret that is not one")),
        ),
        ("an algorithm that is not taken", token(json!({ "alg": "RS512", "kid": "r" }), &claims(), rs256)),
        ("another algorithm's key", token(json!({ "alg": "RS256", "kid": "e" }), &claims(), rs256)),
        ("a key for encryption", token(json!({ "alg": "RS256", "kid": "enc" }), &claims(), rs256)),
        ("a key that is not there", token(json!({ "alg": "RS256", "kid": "x" }), &claims(), rs256)),
        ("PSS for PKCS1", token(json!({ "alg": "PS256", "kid": "r" }), &claims(), rs256)),
        ("a critical extension", token(json!({ "alg": "RS256", "crit": ["x"], "x": 1 }), &claims(), rs256)),
        ("a key of its own", token(json!({ "alg": "RS256", "kid": "x", "jwk": jwks()["keys"][0] }), &claims(), rs256)),
        (
            "DER for two numbers",
            token(json!({ "alg": "ES256", "kid": "e" }), &claims(), |message| {
                Signer::new(MessageDigest::sha256(), &KEYS.ec)
                    .and_then(|mut signer| signer.sign_oneshot_to_vec(message.as_bytes()))
                    .expect("a signature")
            }),
        ),
        ("zeroes", token(json!({ "alg": "ES256", "kid": "e" }), &claims(), |_| vec![0; 64])),
    ];
    for (what, token) in &forged {
        let error = verified(token).await.expect_err(what);
        assert_eq!(error.code, ErrorCode::InvalidApiKey, "{what}: {error}");
    }
    for (what, signature) in broken.by_ref() {
        let token = token(json!({ "alg": "RS256", "kid": "r" }), &claims(), |_| signature.clone());
        assert_eq!(verified(&token).await.expect_err(what).code, ErrorCode::InvalidApiKey, "{what}");
    }
}

#[tokio::test]
async fn every_claim_counts() {
    let with = |name: &str, value: Value| {
        let mut changed = claims();
        changed[name] = value;
        token(json!({ "alg": "EdDSA", "kid": "d" }), &changed, |message| sign("EdDSA", message))
    };
    let now = chrono::Utc::now().timestamp();
    for (name, value) in [
        ("aud", json!("somebody else")),
        ("aud", json!(["somebody", "else"])),
        ("aud", json!(null)),
        ("iss", json!("https://issuer.example")),
        ("iss", json!(7)),
        ("exp", json!(now - 600)),
        ("exp", json!("never")),
        ("exp", json!(null)),
        ("nbf", json!(now + 600)),
        ("sub", json!(null)),
    ] {
        let error = verified(&with(name, value.clone())).await.expect_err("refused");
        assert_eq!(error.code, ErrorCode::InvalidApiKey, "{name} {value}: {error}");
    }
    for (name, value) in [("aud", json!(["x", "tollgate"])), ("nbf", json!(null)), ("exp", json!(now - 2))] {
        assert!(verified(&with(name, value.clone())).await.is_ok(), "{name} {value}");
    }
}

#[tokio::test]
async fn an_issuer_that_was_never_reached_is_no_reason_to_doubt_a_token() {
    let config: Vec<Oidc> = serde_json::from_value(json!([
        { "issuer": "https://issuer", "audience": "tollgate", "jwks_url": "http://127.0.0.1:9/jwks" },
    ]))
    .expect("a configuration");
    let token = token(json!({ "alg": "EdDSA", "kid": "d" }), &claims(), |message| sign("EdDSA", message));
    let error = Issuers::of(&config, None).verify(token.as_bytes()).await.expect_err("no keys");
    assert_eq!(error.code, ErrorCode::IdentityUnavailable, "{error}");
}

#[test]
fn only_what_looks_like_a_token_is_taken_for_one() {
    let issuers = issuers();
    for secret in ["tg-secret", "eyJ", "eyJ.a", "a.b.c", "eyJ.a.b.c"] {
        assert!(!issuers.could_have_made(secret.as_bytes()), "{secret}");
    }
    assert!(issuers.could_have_made(b"eyJhbGciOiJub25lIn0.e30."));
    assert!(!Issuers::of(&[], None).could_have_made(b"eyJhbGciOiJub25lIn0.e30."));
}
