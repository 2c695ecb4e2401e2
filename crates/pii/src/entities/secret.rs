//! `SECRET`: keys and tokens that are recognised by their issuer's prefix, JSON web tokens, private key blocks, and
//! passwords in connection strings. Random text without a known form is not taken for a secret.

use super::{Report, pattern};
use regex::Regex;
use std::sync::LazyLock;

/// Tokens by issuer, as the issuers document their prefixes.
static TOKEN: LazyLock<Regex> = LazyLock::new(|| {
    pattern(concat!(
        r"(?-u:\b)(?:",
        r"A(?:KIA|SIA)[0-9A-Z]{16}",                                 // AWS access key ids
        r"|gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{22,}", // GitHub
        r"|glpat-[A-Za-z0-9_-]{20,}",                                // GitLab
        r"|xox[abceoprs]-[A-Za-z0-9-]{10,}|xapp-[0-9]-[A-Za-z0-9-]{10,}", // Slack
        r"|AIza[A-Za-z0-9_-]{35}|ya29\.[A-Za-z0-9_-]{20,}",          // Google
        r"|[rsp]k_(?:live|test)_[A-Za-z0-9]{16,}|whsec_[A-Za-z0-9+/=]{16,}", // Stripe
        r"|SG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}",              // SendGrid
        r"|npm_[A-Za-z0-9]{36,}|pypi-[A-Za-z0-9_-]{16,}",            // package registries
        r"|hf_[A-Za-z0-9]{30,}|dapi[0-9a-f]{32}|gsk_[A-Za-z0-9]{32,}", // Hugging Face, Databricks, Groq
        r"|eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*){1,3}", // JSON web tokens
        r")",
    ))
});

/// `sk-` is also how class names and package names start, so what follows must look random.
static SK: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?-u:\b)sk-[A-Za-z0-9_-]{20,}"));

static PRIVATE_KEY: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----"));

/// Values that only their name gives away, and passwords in URLs.
static NAMED: LazyLock<Regex> = LazyLock::new(|| {
    pattern(concat!(
        r#"(?i-u:aws_?secret_?access_?key|secretaccesskey)["']?\s{0,4}[=:]\s{0,4}["']?([A-Za-z0-9/+]{40})"#,
        r"|(?i-u:accountkey|sharedaccesskey)=([A-Za-z0-9+/]{40,}={0,2})",
        r#"|(?-u:\b)[A-Za-z][A-Za-z0-9+]{1,20}://[^\s:/@"'<>]{0,100}:([^\s:/@"'<>]{3,200})@"#,
    ))
});

pub(super) fn find(text: &str, report: Report<'_>) {
    TOKEN.find_iter(text).for_each(|m| report(m.range(), true));
    SK.find_iter(text).filter(|m| random(m.as_str())).for_each(|m| report(m.range(), true));
    PRIVATE_KEY.find_iter(text).for_each(|m| report(m.start()..block_end(text, m.end()), true));
    for found in NAMED.captures_iter(text) {
        if let Some(value) = found.iter().skip(1).flatten().next() {
            report(value.range(), true);
        }
    }
}

fn random(token: &str) -> bool {
    let digits = token.bytes().filter(u8::is_ascii_digit).count();
    digits >= 3 || (digits >= 1 && token.bytes().any(|b| b.is_ascii_uppercase()))
}

/// The end of a key block whose header ends at `from`: its footer, or as far as key material goes.
fn block_end(text: &str, from: usize) -> usize {
    // the next dashes are the footer or another header, so all blocks together are read once
    let Some(dashes) = text[from..].find("-----").map(|i| from + i) else {
        let material = |c: char| c.is_ascii_alphanumeric() || c.is_whitespace() || "+/=:,-\\".contains(c);
        let length = text[from..].find(|c| !material(c)).unwrap_or(text.len() - from);
        return from + text[from..from + length].trim_end().len();
    };
    const FOOTER_MAX_BYTES: usize = 80;
    let rest = &text[dashes + 5..];
    if !rest.starts_with("END ") {
        return dashes;
    }
    let footer = &rest[..rest.floor_char_boundary(FOOTER_MAX_BYTES)];
    footer.find("-----").map_or(dashes, |i| dashes + 5 + i + 5)
}

#[cfg(test)]
mod tests {
    use super::super::{Entity, tests};

    // written in two parts, so that no scanner takes this file for a leak
    fn token(prefix: &str, rest: &str) -> String {
        format!("key «{prefix}{rest}», keep it")
    }

    #[test]
    fn tokens() {
        let a40 = "aB3".repeat(14);
        let made = [
            token("AKIA", "IOSFODNN7EXAMPLE"),
            token("ghp_", &a40[..36]),
            token("github_pat_", &a40[..30]),
            token("glpat-", "aB3dE6gH9jK2mN5pQ8sT"),
            token("sk-", "proj-aB3dE6gH9jK2mN5pQ8sT"),
            token("sk-", "ant-api03-aB3dE6gH9jK2mN5pQ8sT_x"),
            token("xoxb-", "123456789012-abcdefghij"),
            token("AIza", &a40[..35]),
            token("sk_live_", "aB3dE6gH9jK2mN5p"),
            token("hf_", &a40[..34]),
            token("dapi", "0123456789abcdef0123456789abcdef"),
            token("eyJhbGciOiJIUzI1NiJ9.", "eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJl"),
        ];
        let others = [
            "AWS_SECRET_ACCESS_KEY=«wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY»",
            "AccountName=x;AccountKey=«c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2Vj==»;",
            "postgres://app:«hunter22»@db.example.com/main",
        ];
        let positives = made.iter().map(String::as_str).chain(others).collect::<Vec<_>>();
        let negatives = [
            "sk-estimator-toggleable-label-arrow",
            "AKIA is a prefix",
            "ghp_short",
            "https://example.com:8080/a@b",
            "eyJ is base64 of a brace",
            "d41d8cd98f00b204e9800998ecf8427e",
            "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
            "task-aB3dE6gH9jK2mN5pQ8sT",
            "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
            "-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----",
            "0192f3a4-7c1e-7b2a-9d3e-4455667788aa",
        ];
        tests::table(Entity::Secret, &positives, &negatives);
    }

    #[test]
    fn private_keys_whole_and_cut_off() {
        let begin = format!("-----BEGIN {}PRIVATE KEY-----", "RSA ");
        let end = format!("-----END {}PRIVATE KEY-----", "RSA ");
        let whole = format!("{begin}\nMIIEow+/=\n{end}");
        assert_eq!(tests::found(Entity::Secret, &format!("x {whole} y")), [whole.as_str()]);
        let cut = format!("{begin}\nMIIEow+/=");
        assert_eq!(tests::found(Entity::Secret, &format!("{cut}\n\"")), [cut.as_str()]);
        let twice = format!("{begin}\nAAAA\n{begin}\nBBBB\n{end}");
        assert_eq!(tests::found(Entity::Secret, &twice).concat(), twice);
    }
}
