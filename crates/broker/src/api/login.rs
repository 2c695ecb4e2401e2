//! Logging in with SASL/PLAIN. Deliberately absent: other mechanisms, and TLS: see [`crate::Config::listen`].

use super::{Session, words};
use crate::{
    access::{Grants, User},
    node::Node,
    wire::{Answer, Refused, Request},
};
use kafka_protocol::{
    ResponseError,
    messages::{SaslAuthenticateRequest, SaslAuthenticateResponse, SaslHandshakeRequest, SaslHandshakeResponse},
    protocol::StrBytes,
};
use std::{
    hint::black_box,
    rc::Rc,
    time::{Duration, Instant},
};

const MECHANISM: &str = "PLAIN";
/// So that guessing is slow and a misconfigured client does not spin; as Kafka's
/// `connection.failed.authentication.delay.ms`.
const REFUSAL_DELAY: Duration = Duration::from_millis(100);

/// SaslHandshake, version 1: the login follows as SaslAuthenticate requests (KIP-152).
pub(super) fn handshake(request: &Request) -> Result<Answer, Refused> {
    let asked: SaslHandshakeRequest = request.decode()?;
    let mut response = SaslHandshakeResponse::default().with_mechanisms(vec![StrBytes::from_static_str(MECHANISM)]);
    if asked.mechanism.as_str() != MECHANISM {
        response.error_code = ResponseError::UnsupportedSaslMechanism.code();
    }
    Ok(Answer::Now(request.reply(&response)?))
}

/// SaslAuthenticate: from here on the session may do what its user may; after a wrong password, nothing at all.
pub(super) fn authenticate(node: &Rc<Node>, session: &Rc<Session>, request: &Request) -> Result<Answer, Refused> {
    let asked: SaslAuthenticateRequest = request.decode()?;
    let grants = session.grants();
    let reason = match find(&grants, &asked.auth_bytes, |user| may_try(node, session, user)) {
        Ok(user) => {
            session.logged_in(user);
            return Ok(Answer::Now(request.reply(&SaslAuthenticateResponse::default())?));
        }
        Err(failure) => refuse(node, session, failure),
    };
    session.rejected.set(true);
    let refused = SaslAuthenticateResponse::default()
        .with_error_code(ResponseError::SaslAuthenticationFailed.code())
        .with_error_message(words(reason));
    let reply = request.reply(&refused)?;
    Ok(Answer::Later(Box::pin(async move {
        tokio::time::sleep(REFUSAL_DELAY).await;
        Ok(reply)
    })))
}

/// Whoever may do everything is never kept out by others' guesses; such a password must be beyond guessing.
fn may_try(node: &Node, session: &Session, user: &User) -> bool {
    user.access.administers() || node.attempts.borrow().may_try(session.peer, &user.name, Instant::now())
}

/// Counts and logs a login that failed; gives what the client is told. Names are logged only if they are a user's: what else was sent
/// may be a password in the wrong place.
fn refuse(node: &Node, session: &Session, failure: Failure<'_>) -> &'static str {
    let (user, reason) = match failure {
        Failure::Unknown => (None, "wrong user name or password"),
        Failure::Password(user) => {
            node.attempts.borrow_mut().failed(session.peer, &user.name, Instant::now());
            (Some(&user.name), "wrong user name or password")
        }
        Failure::TooMany(user) => (Some(&user.name), "too many wrong passwords; try again in a while"),
    };
    if let Some(more) = node.wrong_passwords.pass() {
        tracing::warn!(client = %session.peer, user, more, "a Kafka client could not log in: {reason}");
    }
    reason
}

/// Why a login failed.
#[derive(Debug, PartialEq, Eq)]
enum Failure<'a> {
    /// There is no such user.
    Unknown,
    /// The user's password is another one.
    Password(&'a User),
    /// It was not looked at.
    TooMany(&'a User),
}

/// The user of a PLAIN message: authorisation id, name and password, each but the last ended by a zero byte (RFC 4616). Acting as
/// somebody else is not possible.
fn find<'a>(grants: &'a Grants, message: &[u8], may_try: impl FnOnce(&User) -> bool) -> Result<&'a User, Failure<'a>> {
    let mut parts = message.splitn(3, |byte| *byte == 0);
    let (Some(act_as), Some(name), Some(password)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(Failure::Unknown);
    };
    let user = grants.user(name);
    // Compared for unknown names too, so that time does not tell which are known.
    let same = same(user.map_or(b"", |user| user.password.as_bytes()), password);
    match user {
        None => Err(Failure::Unknown),
        Some(user) if !may_try(user) => Err(Failure::TooMany(user)),
        Some(user) if same && (act_as.is_empty() || act_as == name) => Ok(user),
        Some(user) => Err(Failure::Password(user)),
    }
}

/// Compares in a time that depends on the length of `given` alone.
fn same(secret: &[u8], given: &[u8]) -> bool {
    let mut differs = u8::from(secret.len() != given.len());
    for (at, byte) in given.iter().enumerate() {
        let expected = if secret.is_empty() { 0 } else { secret[at % secret.len()] };
        // So that the loop is not left early.
        differs = black_box(differs | (expected ^ byte));
    }
    differs == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Access;

    #[test]
    fn secrets_are_compared_whole() {
        assert!(same(b"secret", b"secret") && same(b"", b""));
        for wrong in [&b"Secret"[..], b"secreT", b"secre", b"secretsecret", b"secretX", b"", b"\0"] {
            assert!(!same(b"secret", wrong) && !same(wrong, b"secret"), "{wrong:?}");
        }
        assert!(!same(b"", b"\0"));
    }

    #[test]
    fn a_right_password_does_not_help_who_guessed_too_often() {
        let access = Access::Only { read: Vec::new(), write: Vec::new(), groups: Vec::new() };
        let user = User { name: "a".to_owned(), password: "one".to_owned(), access };
        let grants = Grants { users: vec![user.clone()], anonymous: Access::Nothing };
        assert_eq!(find(&grants, b"\0a\0one", |_| true), Ok(&user));
        assert_eq!(find(&grants, b"\0a\0one", |_| false), Err(Failure::TooMany(&user)));
        assert_eq!(find(&grants, b"\0a\0two", |_| true), Err(Failure::Password(&user)));
    }

    #[test]
    fn only_the_right_password_of_the_named_user_logs_in() {
        let user = |name: &str, password: &str| User {
            name: name.to_owned(),
            password: password.to_owned(),
            access: Access::All,
        };
        let grants = Grants { users: vec![user("a", "one"), user("b", "two")], anonymous: Access::Nothing };
        let name = |message: &[u8]| find(&grants, message, |_| true).ok().map(|user| user.name.as_str());
        assert_eq!(name(b"\0a\0one"), Some("a"));
        assert_eq!(name(b"b\0b\0two"), Some("b"));
        for wrong in [&b"\0a\0two"[..], b"b\0a\0one", b"\0a\0one\0", b"\0a", b"", b"\0c\0", b"\0a\0"] {
            assert_eq!(name(wrong), None, "{wrong:?}");
        }
    }
}
