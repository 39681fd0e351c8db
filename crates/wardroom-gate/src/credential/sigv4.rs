//! AWS Signature Version 4: the agent signs with a placeholder, the gate signs again with the real key.
//!
//! What the agent said is kept: which headers are signed, the time, region and service, and the digest of the body where
//! it gives one. Signed chunks (`STREAMING-AWS4-HMAC-SHA256-*`) are refused, since every chunk would have to be signed
//! again, and so are signatures in a query, which are credentials that can be handed on.

use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningParams, SigningSettings,
    UriPathNormalizationMode, sign,
};
use aws_sigv4::sign::v4;
use http::header::{AUTHORIZATION, HOST};
use http::{HeaderMap, HeaderName, HeaderValue, request};

/// What stands in `Authorization`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Signed {
    pub(crate) key_id: String,
    date: String,
    region: String,
    service: String,
    headers: Vec<String>,
}

/// The real key.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Key<'a> {
    pub(crate) id: &'a str,
    pub(crate) secret: &'a [u8],
    pub(crate) token: Option<&'a [u8]>,
}

impl Signed {
    /// Reads the header's value. None for anything but Signature Version 4.
    pub(crate) fn parse(value: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(value).ok()?;
        let parts = text.strip_prefix("AWS4-HMAC-SHA256 ")?;
        let part = |name: &str| {
            let mut found =
                parts.split(',').filter_map(|part| part.trim().strip_prefix(name)?.strip_prefix('='));
            found.next().filter(|_| found.next().is_none())
        };
        let mut scope = part("Credential")?.split('/').map(str::to_owned);
        let (key_id, date, region) = (scope.next()?, scope.next()?, scope.next()?);
        let service = scope.next()?;
        let headers: Vec<_> = part("SignedHeaders")?.split(';').map(str::to_owned).collect();
        part("Signature")?;
        let whole = scope.next()? == "aws4_request" && scope.next().is_none();
        let named = headers.iter().all(|name| HeaderName::from_bytes(name.as_bytes()).is_ok());
        (whole && named).then_some(Self { key_id, date, region, service, headers })
    }

    /// Whether it is for this region and this service, where they are given.
    pub(crate) fn is_within(&self, region: Option<&str>, service: Option<&str>) -> bool {
        region.is_none_or(|region| region == self.region)
            && service.is_none_or(|service| service == self.service)
    }

    /// Signs again. `digest` is that of the body, for requests that do not say it themselves.
    ///
    /// # Errors
    /// Why it cannot be signed, in words without anything of the key.
    pub(crate) fn sign_again(
        &self,
        head: &mut request::Parts,
        key: Key<'_>,
        digest: Option<&str>,
    ) -> Result<(), &'static str> {
        for name in ["authorization", TOKEN] {
            head.headers.remove(name);
        }
        let body = body(&head.headers, digest)?;
        let time = self.time(&head.headers)?;
        let host = head.headers.get(HOST).and_then(|host| host.to_str().ok());
        let authority = head.uri.authority().map(http::uri::Authority::as_str);
        let host = authority.or(host).ok_or("the request names no host")?;
        let target = head.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
        let signed = self.signed_headers(&head.headers)?;
        let headers = signed.iter().map(|(name, value)| (*name, *value));
        let request =
            SignableRequest::new(head.method.as_str(), format!("https://{host}{target}"), headers, body)
                .map_err(|_cause| "the request cannot be signed")?;
        // The copies are overwritten when the identity is dropped.
        let text = |secret: &[u8]| std::str::from_utf8(secret).map(str::to_owned);
        let secret = text(key.secret).map_err(|_cause| "the key is no text")?;
        let token = key.token.map(text).transpose().map_err(|_cause| "the session token is no text")?;
        let identity = Credentials::new(key.id, secret, token, None, "wardroom").into();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.region)
            .name(&self.service)
            .time(time)
            .settings(self.settings(head.headers.contains_key(DIGEST)))
            .build()
            .map_err(|_cause| "the request cannot be signed")?;
        let params = SigningParams::V4(params);
        let signing = sign(request, &params).map_err(|_cause| "the request cannot be signed")?;
        let (instructions, _signature) = signing.into_parts();
        let (headers, _query) = instructions.into_parts();
        for header in headers {
            let mut value =
                HeaderValue::from_str(header.value()).map_err(|_cause| "a value is no header's")?;
            value.set_sensitive(header.sensitive() || header.name() == AUTHORIZATION.as_str());
            head.headers.insert(HeaderName::from_static(header.name()), value);
        }
        Ok(())
    }

    /// The time that the agent gave, which the server checks. The cell has the host's clock.
    fn time(&self, headers: &HeaderMap) -> Result<SystemTime, &'static str> {
        let date = headers.get(DATE).and_then(|date| date.to_str().ok()).ok_or("without x-amz-date")?;
        let seconds = seconds(date).ok_or("x-amz-date is no date")?;
        let same_day = date.get(..8) == Some(self.date.as_str());
        if same_day {
            Ok(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
        } else {
            Err("signed for another day")
        }
    }

    /// The headers that the agent signed, but for those that signing adds.
    fn signed_headers<'a>(&self, headers: &'a HeaderMap) -> Result<Vec<(&'a str, &'a str)>, &'static str> {
        let mut signed = Vec::new();
        for (name, value) in headers {
            let name = name.as_str();
            if self.headers.iter().any(|signed| signed == name) && ![DATE, DIGEST, TOKEN].contains(&name) {
                signed.push((name, value.to_str().map_err(|_cause| "a signed header is no text")?));
            }
        }
        Ok(signed)
    }

    fn settings(&self, digest: bool) -> SigningSettings {
        let mut settings = SigningSettings::default();
        // S3 keeps a path as it is; every other service escapes and normalises it once more.
        if self.service.starts_with("s3") {
            settings.percent_encoding_mode = PercentEncodingMode::Single;
            settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        }
        if digest {
            settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        }
        // What the agent signed is signed, and nothing else is given.
        settings.excluded_headers = None;
        settings
    }
}

/// Whether the digest of the whole body is needed before the head can be signed.
pub(crate) fn needs_digest(headers: &HeaderMap) -> bool {
    !headers.contains_key(DIGEST)
}

/// What stands for the body in the signature.
fn body(headers: &HeaderMap, digest: Option<&str>) -> Result<SignableBody<'static>, &'static str> {
    let given = match headers.get(DIGEST) {
        Some(given) => given.to_str().map_err(|_cause| "x-amz-content-sha256 is no text")?,
        None => digest.ok_or("the body's digest is not known")?,
    };
    match given {
        "UNSIGNED-PAYLOAD" => Ok(SignableBody::UnsignedPayload),
        "STREAMING-UNSIGNED-PAYLOAD-TRAILER" => Ok(SignableBody::StreamingUnsignedPayloadTrailer),
        hash if hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
            Ok(SignableBody::Precomputed(hash.to_owned()))
        }
        chunks if chunks.starts_with("STREAMING-") => {
            Err("signed chunks cannot be signed again; use UNSIGNED-PAYLOAD or the whole body's digest")
        }
        _ => Err("x-amz-content-sha256 is neither a digest nor a word that is known"),
    }
}

/// Seconds since the epoch of `YYYYMMDDTHHMMSSZ`.
fn seconds(text: &str) -> Option<u64> {
    let number = |range: std::ops::Range<usize>| {
        let digits = text.get(range)?;
        digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse::<u64>().ok())?
    };
    let (year, month, day) = (number(0..4)?, number(4..6)?, number(6..8)?);
    let (hour, minute, second) = (number(9..11)?, number(11..13)?, number(13..15)?);
    let marks = text.len() == 16 && text.get(8..9) == Some("T") && text.get(15..16) == Some("Z");
    let fits = (1970..=9999).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
    if !marks || !fits || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    // Days from civil: years begin in March, so that a leap day is the last of its year.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1;
    // 719,468 days lie between the first of March of the year 0 and the first of January 1970.
    Some((days.checked_sub(719_468)?) * 86_400 + hour * 3_600 + minute * 60 + second)
}

const DATE: &str = "x-amz-date";
const DIGEST: &str = "x-amz-content-sha256";
const TOKEN: &str = "x-amz-security-token";

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    /// The request of AWS's own documentation of S3 ("Authenticating Requests: Using the Authorization Header", GET
    /// Object), its key and its signature.
    fn documented(authorization: &str, digest: &str) -> request::Parts {
        let request = Request::get("/test.txt")
            .header("host", "examplebucket.s3.amazonaws.com")
            .header("range", "bytes=0-9")
            .header("x-amz-content-sha256", digest)
            .header("x-amz-date", "20130524T000000Z")
            .header("user-agent", "not signed")
            .header("authorization", authorization);
        request.body(()).unwrap().into_parts().0
    }

    fn authorization(key: &str, signature: &str) -> String {
        format!(
            "AWS4-HMAC-SHA256 Credential={key}/20130524/us-east-1/s3/aws4_request,\
             SignedHeaders=host;range;x-amz-content-sha256;x-amz-date,Signature={signature}"
        )
    }

    fn again(digest: &str, token: Option<&[u8]>) -> Result<request::Parts, &'static str> {
        let given = authorization("AKIAPLACEHOLDER", &"0".repeat(64));
        let mut head = documented(&given, digest);
        let secret = b"wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
        let key = Key { id: "AKIAIOSFODNN7EXAMPLE", secret, token };
        Signed::parse(given.as_bytes()).unwrap().sign_again(&mut head, key, None)?;
        Ok(head)
    }

    #[test]
    fn a_request_is_signed_again_as_aws_documents_it() {
        let head = again(EMPTY, None).unwrap();
        let value = head.headers.get("authorization").unwrap();
        let signature = "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41";
        let expected = authorization("AKIAIOSFODNN7EXAMPLE", signature).replace(',', ", ");
        assert_eq!(value.to_str().unwrap(), expected);
        assert!(value.is_sensitive());
    }

    #[test]
    fn a_session_token_is_put_in_and_signed() {
        let head = again("UNSIGNED-PAYLOAD", Some(b"token")).unwrap();
        assert_eq!(head.headers.get("x-amz-security-token").unwrap(), "token");
        let authorization = head.headers.get("authorization").unwrap().to_str().unwrap();
        assert!(authorization.contains("x-amz-security-token"), "{authorization}");
    }

    #[test]
    fn signed_chunks_and_odd_digests_are_refused() {
        for digest in
            ["STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER", "abc"]
        {
            assert!(again(digest, None).is_err(), "{digest}");
        }
        assert!(again("STREAMING-UNSIGNED-PAYLOAD-TRAILER", None).is_ok());
    }

    #[test]
    fn what_is_no_signature_is_not_read_as_one() {
        let whole = authorization("AKIA", "00");
        let signed = Signed::parse(whole.as_bytes()).unwrap();
        assert!(signed.key_id == "AKIA" && signed.is_within(Some("us-east-1"), None));
        assert!(!signed.is_within(Some("us-east-2"), None) && !signed.is_within(None, Some("iam")));
        for wrong in [
            "Bearer x",
            "AWS4-HMAC-SHA256 Credential=AKIA",
            &whole.replace("aws4_request", "aws5_request"),
            &whole.replace("host;", "ho st;"),
            &format!("{whole},Credential=AKIB/20130524/us-east-1/s3/aws4_request"),
        ] {
            assert_eq!(Signed::parse(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn dates_are_read_as_the_calendar_has_them() {
        assert_eq!(seconds("19700101T000000Z"), Some(0));
        assert_eq!(seconds("20130524T000000Z"), Some(1_369_353_600));
        assert_eq!(seconds("20240229T235959Z"), Some(1_709_251_199));
        for wrong in ["20130524", "20131324T000000Z", "20130524T250000Z", "2013052\u{e9}T00000Z", ""] {
            assert_eq!(seconds(wrong), None, "{wrong}");
        }
    }
}
