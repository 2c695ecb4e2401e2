//! Calls to the administrators' own systems: notices and judges, signed as
//! <https://github.com/standard-webhooks/standard-webhooks> says.
//!
//! A webhook's host must be public unless its configuration allows otherwise: what an administrator may write must not reach the
//! instance metadata of a cloud, or a service that trusts its own machine. The addresses that were judged are the ones that are
//! connected to. Redirects are not followed, proxies of the environment are not used, answers are bounded.
//!
//! Deliberately absent: retries, which are the caller's business.

use crate::Secret;
use base64::{Engine, engine::general_purpose::STANDARD};
use chrono::Utc;
use reqwest::{
    Client, Url,
    dns::{Addrs, Name, Resolve, Resolving},
    redirect::Policy,
};
use ring::hmac;
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

/// The largest answer.
const ANSWER_MAX_BYTES: usize = 1 << 20;
/// How long making a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Somebody who is called, and how.
pub struct Target {
    client: Client,
    url: Url,
    signing: Signing,
}

enum Signing {
    None,
    /// `None`: the secret is none, or is not known to this service.
    Key(Option<Vec<u8>>),
}

impl Target {
    /// A webhook. Errors with what is wrong with it; a bad secret is told at each call, because not every service knows it.
    pub fn webhook(url: &str, secret: &Secret, allow_private: bool) -> Result<Self, String> {
        let secret = secret.expose();
        let key = STANDARD.decode(secret.strip_prefix("whsec_").unwrap_or(secret)).ok().filter(|key| !key.is_empty());
        Self::new(url, Signing::Key(key), allow_private)
    }

    /// A service of one's own, wherever it is. Nothing is signed. Errors with what is wrong with it.
    pub fn own(url: &str) -> Result<Self, String> {
        Self::new(url, Signing::None, true)
    }

    fn new(url: &str, signing: Signing, allow_private: bool) -> Result<Self, String> {
        let url: Url = url.parse().map_err(|_| "its url is no address".to_owned())?;
        let host = url.host_str().ok_or("its url has no host")?;
        let literal = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        if !allow_private && literal.is_ok_and(|address| !is_public(address)) {
            return Err(NOT_PUBLIC.to_owned());
        }
        let mut client = Client::builder()
            .tls_backend_native()
            .redirect(Policy::none())
            .referer(false)
            .no_proxy()
            .connect_timeout(CONNECT_TIMEOUT);
        if !allow_private {
            client = client.dns_resolver(Arc::new(Public));
        }
        let client = client.build().map_err(|_| "its client cannot be made".to_owned())?;
        Ok(Self { client, url, signing })
    }

    /// Posts a JSON document, named `id` to the receiver, and gives the body of an answer with a status of 2xx. An error says what
    /// happened, without a word of the document, the answer or the address.
    pub async fn post(
        &self,
        id: &str,
        body: String,
        headers: &[(&'static str, String)],
        timeout: Duration,
    ) -> Result<Vec<u8>, String> {
        let mut request = self.client.post(self.url.clone()).header("content-type", "application/json");
        if let Signing::Key(key) = &self.signing {
            let key = key.as_ref().ok_or("its secret is not whsec_ and base64")?;
            let at = Utc::now().timestamp();
            request = request
                .header("webhook-id", id)
                .header("webhook-timestamp", at)
                .header("webhook-signature", signature(key, id, at, &body));
        }
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, value));
        let response = request.timeout(timeout).body(body).send().await;
        let mut response = response.map_err(|error| why(&error).to_owned())?;
        let status = response.status();
        if !status.is_success() {
            return Err(format!("it answered {status}"));
        }
        let mut answer = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(|_| "its answer broke off".to_owned())? {
            if answer.len() + piece.len() > ANSWER_MAX_BYTES {
                return Err("its answer is too large".to_owned());
            }
            answer.extend_from_slice(&piece);
        }
        Ok(answer)
    }
}

fn why(error: &reqwest::Error) -> &'static str {
    let causes = std::iter::successors(Some(error as &dyn std::error::Error), |error| error.source());
    if causes.map(ToString::to_string).any(|cause| cause == NOT_PUBLIC) {
        NOT_PUBLIC
    } else if error.is_timeout() {
        "it does not answer in time"
    } else {
        "it does not answer"
    }
}

/// Hides the key.
impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Target").finish_non_exhaustive()
    }
}

const NOT_PUBLIC: &str = "its host is not public; set allow_private if that is meant";

/// Looks names up, and gives public addresses alone.
struct Public;

impl Resolve for Public {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let public: Vec<SocketAddr> = found.filter(|address| is_public(address.ip())).collect();
            if public.is_empty() {
                return Err(NOT_PUBLIC.into());
            }
            let addresses: Addrs = Box::new(public.into_iter());
            Ok(addresses)
        })
    }
}

fn signature(key: &[u8], id: &str, at: i64, body: &str) -> String {
    let signed = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), format!("{id}.{at}.{body}").as_bytes());
    format!("v1,{}", STANDARD.encode(signed))
}

/// Whether an address is somewhere in the Internet, rather than this machine, its network or a cloud's metadata
/// (<https://www.iana.org/assignments/iana-ipv4-special-registry>, and of IPv6).
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

fn is_public_v4(v4: Ipv4Addr) -> bool {
    let [a, b, c, _] = v4.octets();
    !(v4.is_private()
        || v4.is_loopback()
        || v4.is_link_local()
        || v4.is_documentation()
        || v4.is_multicast()
        || a == 0
        || a >= 240
        || (a == 100 && (64..128).contains(&b))
        || (a == 192 && b == 0 && c == 0)
        || (a == 198 && (b == 18 || b == 19)))
}

fn is_public_v6(v6: Ipv6Addr) -> bool {
    if let Some(v4) = v6.to_ipv4_mapped() {
        return is_public_v4(v4);
    }
    let parts = v6.segments();
    // NAT64: the address behind it counts.
    if parts[..6] == [0x64, 0xff9b, 0, 0, 0, 0] {
        let [a, b] = parts[6].to_be_bytes();
        let [c, d] = parts[7].to_be_bytes();
        return is_public_v4(Ipv4Addr::new(a, b, c, d));
    }
    // Only 2000::/3 is given out; in it 2001:db8::/32 is for documents, 2002::/16 carries IPv4 addresses.
    (parts[0] & 0xe000) == 0x2000 && !(parts[0] == 0x2001 && parts[1] == 0xdb8) && parts[0] != 0x2002
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_the_internet_are_public() {
        for public in ["1.1.1.1", "93.184.216.34", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"] {
            assert!(is_public(public.parse().expect(public)), "{public}");
        }
        for private in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "0.0.0.0",
            "100.64.0.1",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::1",
            "::",
            "fe80::1",
            "fc00::1",
            "fd00:ec2::254",
            "ff02::1",
            "2001:db8::1",
            "::ffff:127.0.0.1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "::127.0.0.1",
        ] {
            assert!(!is_public(private.parse().expect(private)), "{private}");
        }
    }

    #[test]
    fn a_private_address_is_refused_unless_it_is_meant() {
        let secret = Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        for url in ["http://127.0.0.1:9/x", "https://[::1]/", "http://169.254.169.254/latest"] {
            assert_eq!(Target::webhook(url, &secret, false).err().as_deref(), Some(NOT_PUBLIC), "{url}");
            assert!(Target::webhook(url, &secret, true).is_ok() && Target::own(url).is_ok());
        }
        assert!(Target::webhook("https://hooks.example.com/x", &secret, false).is_ok());
        assert!(Target::own("no address").is_err());
    }

    /// Whatever the resolver of the machine says, a name that stands for this machine is none of the Internet's.
    #[tokio::test]
    async fn a_name_of_this_machine_is_not_called() {
        let secret = Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        let target = Target::webhook("http://localhost:9/x", &secret, false).expect("a name");
        let refused = target.post("msg_1", "{}".to_owned(), &[], Duration::from_secs(5)).await;
        assert_eq!(refused, Err(NOT_PUBLIC.to_owned()));
    }

    /// The example of the specification's own libraries.
    #[test]
    fn signatures_are_as_the_specification_says() {
        let key = STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").expect("base64");
        let signed = signature(&key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, r#"{"test": 2432232314}"#);
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }
}
