//! `SECRET`: keys and tokens that are recognised by their issuer's prefix, JSON web tokens, private key blocks, passwords in
//! connection strings, and random values that are named as keys. Random text without a known form or name is not taken for a secret.

use super::score::{CHECKED, FORMAT};
use super::{Report, Text, pattern, tokens};
use crate::fold::Folded;
use regex::Regex;
use std::ops::Range;
use std::sync::LazyLock;

pub(super) const CONTEXT: &[&str] = &[];

/// Tokens of several parts with dots between them: JSON web tokens and SendGrid's. They can fail late, so they are searched apart.
static DOTTED: LazyLock<Regex> = LazyLock::new(|| {
    pattern(concat!(
        r"(?-u:\b)(?:eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*){1,3}",
        r"|SG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,})",
    ))
});

/// `sk-` is also how class names and package names start, so what follows must look random.
static SK: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?-u:\b)sk-[A-Za-z0-9_-]{20,}"));

/// No token of [`tokens`], [`DOTTED`] or [`SK`] is shorter.
pub(super) const TOKEN_MIN_BYTES: usize = 15;

static PRIVATE_KEY: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----"));

/// Values that only their name gives away, and a token without a prefix. What is merely called a key must also look random.
/// Where the value begins in a match says [`value`].
static NAMED: LazyLock<Regex> = LazyLock::new(|| {
    pattern(concat!(
        r#"(?i-u:aws_?secret_?access_?key|secretaccesskey)["']?\s{0,4}[=:]\s{0,4}["']?[A-Za-z0-9/+]{40}"#,
        r"|(?i-u:accountkey|sharedaccesskey)=[A-Za-z0-9+/]{40,}={0,2}",
        r"|(?i-u:authorization)\S{0,2}\s{0,2}(?i-u:bearer|basic)\s{1,2}[A-Za-z0-9_.~+/=-]{16,}",
        r"|(?i-u:api[_-]?key|api[_-]?token|access[_-]?token|auth[_-]?token|refresh[_-]?token|client[_-]?secret|secret[_-]?key|",
        r#"private[_-]?token|app[_-]?secret|x-api-key)["']?\s{0,4}(?:=|:|=>|:=)\s{0,4}["']?[A-Za-z0-9_+/=.-]{16,}"#,
        r"|(?-u:\b)[0-9]{8,10}:AA[A-Za-z0-9_-]{33}", // Telegram's bots
    ))
});
/// How the names of [`NAMED`] begin whose values need not look random.
const NAMES_ENOUGH: &[&str] = &["aws", "secretaccesskey", "accountkey", "sharedaccesskey", AUTHORIZATION];
const AUTHORIZATION: &str = "authorization";

const SCHEME_MAX_BYTES: usize = 20;
const USER_MAX_BYTES: usize = 100;
const PASSWORD_BYTES: Range<usize> = 3..201;

pub(super) fn find(text: &Text<'_>, report: Report<'_>) {
    let text = text.as_str();
    for run in runs(text) {
        let mut report = |found: Range<usize>| report(run.start + found.start..run.start + found.end, CHECKED);
        let run = &text[run.clone()];
        let others = tokens::find(run.as_bytes(), &mut report);
        if others.dotted {
            DOTTED.find_iter(run).for_each(|found| report(found.range()));
        }
        if others.sk {
            SK.find_iter(run).filter(|found| random(found.as_str())).for_each(|found| report(found.range()));
        }
    }
    PRIVATE_KEY.find_iter(text).for_each(|m| report(m.start()..block_end(text, m.end()), CHECKED));
    for found in NAMED.find_iter(text) {
        let (value, must_vary) = value(found.as_str());
        if !must_vary || varied(&found.as_str()[value..]) {
            report(found.start() + value..found.end(), FORMAT);
        }
    }
    for (at, _) in text.match_indices("://") {
        if let Some(password) = password(text, at) {
            report(password, FORMAT);
        }
    }
}

/// Runs of what tokens are written with that are long enough for one; what stands beside a run is no part of a word.
fn runs(text: &str) -> impl Iterator<Item = Range<usize>> {
    let bytes = text.as_bytes();
    let is_part = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b'+' | b'/' | b'=');
    let mut at = 0;
    std::iter::from_fn(move || {
        loop {
            let start = at + bytes[at..].iter().position(is_part)?;
            at = start + bytes[start..].iter().take_while(|b| is_part(b)).count();
            if at - start >= TOKEN_MIN_BYTES {
                return Some(start..at);
            }
        }
    })
}

/// Where the value begins in a match of [`NAMED`], whose end it is, and whether it must look random.
fn value(written: &str) -> (usize, bool) {
    if written.starts_with(|c: char| c.is_ascii_digit()) {
        return (0, false);
    }
    let named = |name: &&str| written.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name));
    // no value has any of these, and no name the signs below
    let apart = written.rfind(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '>')).map_or(0, |at| at + 1);
    let sign = if named(&AUTHORIZATION) { None } else { written.find(['=', ':']) };
    (sign.map_or(apart, |sign| apart.max(sign + 1)), !NAMES_ENOUGH.iter().any(named))
}

/// The password of `scheme://user:password@host`, whose `://` is at `at`.
fn password(text: &str, at: usize) -> Option<Range<usize>> {
    let bytes = text.as_bytes();
    let scheme = bytes[..at].iter().rev().take(SCHEME_MAX_BYTES).take_while(|b| b.is_ascii_alphanumeric()).count();
    if scheme < 2 {
        return None;
    }
    let user = at + "://".len();
    let part = |from: usize, most: usize| {
        let inside =
            |b: &&u8| !b.is_ascii_whitespace() && !matches!(b, b':' | b'/' | b'@' | b'"' | b'\'' | b'<' | b'>');
        from + bytes[from..].iter().take(most).take_while(inside).count()
    };
    let colon = part(user, USER_MAX_BYTES);
    if bytes.get(colon) != Some(&b':') {
        return None;
    }
    let end = part(colon + 1, PASSWORD_BYTES.end);
    let secret = bytes.get(end) == Some(&b'@') && PASSWORD_BYTES.contains(&(end - colon - 1));
    // `${PASSWORD}` and the like are names, not values
    (secret && !matches!(bytes[colon + 1], b'$' | b'{' | b'[' | b'*')).then_some(colon + 1..end)
}

fn random(token: &str) -> bool {
    let digits = token.bytes().filter(u8::is_ascii_digit).count();
    digits >= 3 || (digits >= 1 && token.bytes().any(|b| b.is_ascii_uppercase()))
}

/// Letters and digits mixed, and no few of either: names and paths are not.
fn varied(value: &str) -> bool {
    let digits = value.bytes().filter(u8::is_ascii_digit).count();
    let letters = value.bytes().filter(u8::is_ascii_alphabetic).count();
    digits >= 3 && letters >= 3 && value.bytes().filter(|b| matches!(b, b'.' | b'/')).count() <= 2
}

/// Where the last key block begins, if it has not ended.
pub(crate) fn open_block(text: &str) -> Option<usize> {
    let open = |folded: Folded<'_>| {
        let header = PRIVATE_KEY.find_iter(folded.text()).last()?;
        let is_open = !folded.text()[header.end()..].contains("-----");
        is_open.then(|| folded.span(header.range()).start)
    };
    [Some(Folded::new(text)), Folded::deeper(text)].into_iter().flatten().filter_map(open).min()
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
            "redis://:«hunter22»@cache:6379",
            "Authorization: Bearer «abcdefghijklmnop1234»",
            "api_key = \"«8f14e45fceea167a5a36dedd4bea2543»\"",
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
            "postgres://app:${DB_PASSWORD}@db/main",
            "api_key = os.environ.get_the_key_from_somewhere",
            "access_token: string_of_the_caller",
            "std::net://a:b",
        ];
        tests::table(Entity::Secret, &positives, &negatives);
    }

    #[test]
    fn no_token_is_shorter_than_a_run_or_has_what_none_has() {
        for pattern in [&super::DOTTED, &super::SK] {
            let parsed = regex_syntax::ParserBuilder::new().utf8(false).build().parse(pattern.as_str()).expect("fine");
            assert!(parsed.properties().minimum_len() >= Some(super::TOKEN_MIN_BYTES), "{}", pattern.as_str());
        }
        for apart in [" ", "\n", "@", ":", ",", "é", "~", "$", "\"", "%"] {
            let token = format!("ghp_{}{apart}{}", "aB3".repeat(5), "aB3".repeat(12));
            assert_eq!(tests::found(Entity::Secret, &token), Vec::<&str>::new(), "{token}");
        }
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
