//! Tokens that are recognised by their issuer's prefix. They are looked for only where a word begins, by hand: a text may be full of what
//! nearly begins one, which keeps an expression of all issuers busy.

use std::ops::Range;
use std::sync::LazyLock;

/// What a part of a token is written with.
type Signs = fn(u8) -> bool;

/// So many signs of a kind, from the least to the most.
type Part = (Signs, usize, usize);

const ANY: usize = usize::MAX;

/// How tokens of an issuer are written: one of the beginnings, then parts with `-` between them. No part that another one follows has a `-`
/// of its own, and no beginning is that of another one, so there is one way to read a token.
type Form = (&'static [&'static str], &'static [Part]);

/// A beginning, and what follows it.
type Start = (&'static [u8], &'static [Part]);

/// By issuer, as the issuers document them.
const FORMS: &[Form] = &[
    // AWS access key ids
    (&["AKIA", "ASIA"], &[(upper, 16, 16)]),
    // GitHub
    (&["ghp_", "gho_", "ghu_", "ghs_", "ghr_"], &[(alnum, 36, ANY)]),
    (&["github_pat_"], &[(word, 22, ANY)]),
    // GitLab
    (
        &["glpat-", "gldt-", "glrt-", "glptt-", "glcbt-", "glagent-", "glsoat-", "glft-", "glimt-"],
        &[(url_safe, 20, ANY)],
    ),
    // Slack
    (&["xoxa-", "xoxb-", "xoxc-", "xoxe-", "xoxo-", "xoxp-", "xoxr-", "xoxs-"], &[(dashed, 10, ANY)]),
    (&["xapp-"], &[(digit, 1, 1), (dashed, 10, ANY)]),
    // Google
    (&["AIza"], &[(url_safe, 35, 35)]),
    (&["ya29."], &[(url_safe, 20, ANY)]),
    (&["GOCSPX-"], &[(url_safe, 28, 28)]),
    // Stripe
    (&["rk_live_", "rk_test_", "sk_live_", "sk_test_", "pk_live_", "pk_test_"], &[(alnum, 16, ANY)]),
    (&["whsec_"], &[(base64, 16, ANY)]),
    // registries
    (&["npm_"], &[(alnum, 36, ANY)]),
    (&["pypi-"], &[(url_safe, 16, ANY)]),
    (&["dckr_pat_"], &[(url_safe, 20, ANY)]),
    (&["rubygems_"], &[(hex, 48, 48)]),
    // models
    (&["hf_"], &[(alnum, 30, ANY)]),
    (&["dapi"], &[(hex, 32, 32)]),
    (&["gsk_", "pplx-"], &[(alnum, 32, ANY)]),
    (&["xai-"], &[(alnum, 40, ANY)]),
    (&["r8_"], &[(alnum, 36, ANY)]),
    (&["lsv2_pt_", "lsv2_sk_"], &[(word, 32, ANY)]),
    // Vault, Doppler
    (&["hvs.", "hvb.", "hvr."], &[(url_safe, 24, ANY)]),
    (&["dp.pt.", "dp.st.", "dp.ct."], &[(alnum, 40, ANY)]),
    // DigitalOcean, Shopify, New Relic
    (&["doo_v1_", "dop_v1_", "dor_v1_"], &[(hex, 64, 64)]),
    (&["shpat_", "shpca_", "shppa_", "shpss_"], &[(any_hex, 32, 32)]),
    (&["NRAK-"], &[(upper, 27, 27)]),
    // Grafana, Linear, Notion
    (&["glc_", "glsa_"], &[(base64_word, 32, ANY)]),
    (&["lin_api_", "ntn_"], &[(alnum, 40, ANY)]),
    // Supabase, Tailscale, Postman
    (&["sbp_"], &[(hex, 40, 40)]),
    (&["tskey-"], &[(lower, 1, 12), (dashed, 20, ANY)]),
    (&["PMAK-"], &[(hex, 24, 24), (hex, 34, 34)]),
    // Atlassian, age, Mailgun
    (&["ATATT3"], &[(padded, 60, ANY)]),
    (&["AGE-SECRET-KEY-1"], &[(upper, 58, 58)]),
    (&["key-"], &[(hex, 32, 32)]),
];

fn upper(b: u8) -> bool {
    b.is_ascii_uppercase() || b.is_ascii_digit()
}

fn lower(b: u8) -> bool {
    b.is_ascii_lowercase()
}

fn digit(b: u8) -> bool {
    b.is_ascii_digit()
}

fn hex(b: u8) -> bool {
    matches!(b, b'0'..=b'9' | b'a'..=b'f')
}

fn any_hex(b: u8) -> bool {
    b.is_ascii_hexdigit()
}

fn alnum(b: u8) -> bool {
    b.is_ascii_alphanumeric()
}

fn dashed(b: u8) -> bool {
    alnum(b) || b == b'-'
}

fn word(b: u8) -> bool {
    alnum(b) || b == b'_'
}

fn url_safe(b: u8) -> bool {
    word(b) || b == b'-'
}

fn padded(b: u8) -> bool {
    url_safe(b) || b == b'='
}

fn base64(b: u8) -> bool {
    alnum(b) || matches!(b, b'+' | b'/' | b'=')
}

fn base64_word(b: u8) -> bool {
    base64(b) || b == b'_'
}

/// By the first two bytes of a word (see [`start`]): the beginnings that may follow, each with its parts.
static FORMS_BY_START: LazyLock<Vec<Vec<Start>>> = LazyLock::new(|| {
    let mut by_start = vec![Vec::new(); 32 * 32];
    for (beginnings, parts) in FORMS {
        for beginning in beginnings.iter().map(|beginning| beginning.as_bytes()) {
            by_start[start(beginning)].push((beginning, *parts));
        }
    }
    by_start
});

/// What the first two bytes have in common with few others.
fn start(word: &[u8]) -> usize {
    word.iter().take(2).fold(0, |start, byte| 32 * start + usize::from(byte & 31))
}

/// Shows the tokens of a run of what tokens are written with, which no word begins in front of; and says which words begin in it that
/// other secrets begin with.
pub(super) fn find(run: &[u8], mut show: impl FnMut(Range<usize>)) -> Others {
    let forms = &*FORMS_BY_START;
    let (mut others, mut done, mut is_in_word) = (Others::default(), 0, false);
    for (at, byte) in run.iter().enumerate() {
        let begins = !is_in_word;
        is_in_word = word(*byte);
        if !begins || !is_in_word {
            continue;
        }
        let rest = &run[at..];
        others.dotted |= rest.starts_with(b"eyJ") || rest.starts_with(b"SG.");
        others.sk |= rest.starts_with(b"sk-");
        if at >= done
            && let Some(length) = forms[start(rest)].iter().find_map(|form| length(rest, form))
        {
            done = at + length;
            show(at..done);
        }
    }
    others
}

/// What else may begin in a run.
#[derive(Debug, Default)]
pub(super) struct Others {
    /// A token of several parts with dots between them.
    pub(super) dotted: bool,
    /// One behind `sk-`.
    pub(super) sk: bool,
}

/// How long the token is that begins here, if one of this form does.
fn length(rest: &[u8], (beginning, parts): &(&[u8], &[Part])) -> Option<usize> {
    let mut at = beginning.len();
    if !rest.starts_with(beginning) {
        return None;
    }
    for (nth, (signs, least, most)) in parts.iter().enumerate() {
        if nth > 0 {
            rest.get(at).filter(|byte| **byte == b'-')?;
            at += 1;
        }
        let count = rest[at..].iter().take(*most).take_while(|byte| signs(**byte)).count();
        if count < *least {
            return None;
        }
        at += count;
    }
    Some(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use regex::Regex;

    /// All forms as one expression.
    fn expression() -> Regex {
        let signs = |signs: &Signs| {
            let kind = (0..=127_u8).filter(|byte| signs(*byte)).map(|byte| format!("\\x{byte:02x}"));
            format!("[{}]", kind.collect::<String>())
        };
        let part = |(kind, least, most): &Part| match *most {
            ANY => format!("{}{{{least},}}", signs(kind)),
            most => format!("{}{{{least},{most}}}", signs(kind)),
        };
        let form = |(beginnings, parts): &Form| {
            let beginnings = beginnings.iter().map(|beginning| regex::escape(beginning)).collect::<Vec<_>>();
            format!("(?:{}){}", beginnings.join("|"), parts.iter().map(part).collect::<Vec<_>>().join("-"))
        };
        let forms = FORMS.iter().map(form).collect::<Vec<_>>();
        Regex::new(&format!(r"(?-u:\b)(?:{})", forms.join("|"))).expect("fine")
    }

    #[test]
    fn there_is_one_way_to_read_a_token_and_none_is_shorter_than_a_run() {
        let beginnings = || FORMS.iter().flat_map(|(beginnings, _)| beginnings.iter());
        for one in beginnings() {
            assert_eq!(beginnings().filter(|other| other.starts_with(*one)).count(), 1, "{one}");
            assert!(word(one.as_bytes()[0]) && one.len() >= 2, "{one}");
        }
        for (beginnings, parts) in FORMS {
            let least = parts.iter().map(|(_, least, _)| least).sum::<usize>() + parts.len() - 1;
            let shortest = beginnings.iter().map(|beginning| beginning.len()).min().expect("some");
            assert!(shortest + least >= super::super::secret::TOKEN_MIN_BYTES, "{beginnings:?}");
            assert!(parts[..parts.len() - 1].iter().all(|(signs, ..)| !signs(b'-')), "{beginnings:?}");
        }
    }

    /// Runs of beginnings, and of what follows them in just the length or nearly.
    fn runs() -> impl Strategy<Value = String> {
        let beginnings = FORMS.iter().flat_map(|(beginnings, _)| beginnings.iter().map(|it| (*it).to_owned()));
        let lengths = [1, 10, 12, 16, 20, 22, 24, 27, 28, 30, 32, 34, 35, 36, 40, 48, 58, 60, 64];
        let near = lengths.into_iter().flat_map(|length| [length - 1, length, length + 1]);
        let rest = near.flat_map(|length| ["a", "1", "A", "a1", "g", "-", "Z_"].map(|sign| sign.repeat(length)));
        let signs = ["-", ".", "_", "/", "=", "+", "a", "0", "eyJ", "SG.", "sk-"].map(str::to_owned);
        let part = prop_oneof![
            prop::sample::select(beginnings.collect::<Vec<_>>()),
            prop::sample::select(rest.collect::<Vec<_>>()),
            prop::sample::select(signs.to_vec()),
        ];
        proptest::collection::vec(part, 1..8).prop_map(|parts| parts.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn it_finds_what_an_expression_finds(run in runs()) {
            static EXPRESSION: LazyLock<Regex> = LazyLock::new(expression);
            let mut found = Vec::new();
            let others = find(run.as_bytes(), |token| found.push(token));
            prop_assert_eq!(found, EXPRESSION.find_iter(&run).map(|token| token.range()).collect::<Vec<_>>());
            let is_there = |beginning: &str| Regex::new(beginning).expect("fine").is_match(&run);
            prop_assert_eq!(others.dotted, is_there(r"(?-u:\b)(?:eyJ|SG\.)"));
            prop_assert_eq!(others.sk, is_there(r"(?-u:\b)sk-"));
        }
    }
}
