//! What the broker tells an agent's gate: values of credentials, and that there are none. One packet each, over a
//! pair of sockets that no other process holds.
//!
//! A value that could not stand in a request does not come out of a packet at all.

use minicbor::{Decode, Encode};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::credential::AgeStep;
use crate::name::HostName;
use crate::secret::{Secret, Unsendable};

/// One message. When the channel ends, every credential is without a value until another broker supplies it.
#[derive(Debug, Encode, Decode)]
pub enum Supply {
    /// This is the value from now on; the one of before may be used by requests that have begun.
    #[n(0)]
    Value {
        /// The credential, by its name in the policy.
        #[n(0)]
        name: String,
        /// Counts the values of this credential, from 1, over restarts.
        #[n(1)]
        version: u64,
        /// What is put in.
        #[n(2)]
        material: Material,
        /// When it was set, in seconds since the epoch: its age counts from there.
        #[n(3)]
        set_at: u64,
        /// When it ends by itself, in seconds since the epoch.
        #[n(4)]
        expires: Option<u64>,
        /// Where it came from, in words for the record: the store, a command, a server's name.
        #[n(5)]
        source: String,
        /// The only host that it goes to, by the policy that the broker had when it got it. A gate whose policy binds the
        /// credential to another host by now does not use it.
        #[n(6)]
        host: HostName,
    },
    /// There is no value at present.
    #[n(1)]
    Unavailable {
        /// The credential.
        #[n(0)]
        name: String,
        /// Why, without a word of the value.
        #[n(1)]
        why: String,
    },
    /// The operator revoked it: nothing may use it any more, and what uses it now ends.
    #[n(2)]
    Revoked {
        /// The credential.
        #[n(0)]
        name: String,
    },
    /// Its age reached a step. Said once for each value and step, and again to a new gate.
    #[n(3)]
    Age {
        /// The credential.
        #[n(0)]
        name: String,
        /// Which.
        #[n(1)]
        step: AgeStep,
        /// Seconds since it was set.
        #[n(2)]
        seconds: u64,
    },
}

/// What is put into a request, by the credential's kind.
#[derive(Debug, Encode, Decode)]
pub enum Material {
    /// The value of a header, or the token after `Bearer`.
    #[n(0)]
    Plain(#[cbor(n(0), with = "sendable")] Secret),
    /// HTTP's basic authentication (RFC 7617).
    #[n(1)]
    Basic {
        /// Who; has no colon.
        #[n(0)]
        user: String,
        /// And proof of it.
        #[cbor(n(1), with = "sendable")]
        password: Secret,
    },
    /// AWS Signature Version 4.
    #[n(2)]
    Aws {
        /// Names the key; no secret, but known to nobody who need not.
        #[n(0)]
        access_key_id: String,
        /// The key.
        #[cbor(n(1), with = "sendable")]
        secret_access_key: Secret,
        /// Of a temporary key.
        #[cbor(n(2), with = "sendable::optional")]
        session_token: Option<Secret>,
    },
}

/// Why a packet is none of ours.
#[derive(Debug, Error)]
pub enum SupplyError {
    /// It is no message that we know, or a value in it cannot stand in a request.
    #[error("not a message of a broker")]
    Packet(#[source] minicbor::decode::Error),
    /// It does not fit into a packet.
    #[error("a message of a broker has at most {max} bytes", max = Supply::LONGEST)]
    TooLong,
}

impl Supply {
    /// The longest packet: three secrets of the greatest length, and room for names.
    pub const LONGEST: usize = 64 * 1024;

    /// The packet to send. It is overwritten when dropped, and no other copy is made of what is in it.
    ///
    /// # Errors
    /// When it is longer than [`Self::LONGEST`].
    pub fn to_packet(&self) -> Result<Zeroizing<Vec<u8>>, SupplyError> {
        let mut packet = Zeroizing::new(vec![0; Self::LONGEST]);
        let mut cursor = minicbor::encode::write::Cursor::new(&mut packet[..]);
        minicbor::encode(self, &mut cursor).map_err(|_no_room| SupplyError::TooLong)?;
        let length = cursor.position();
        packet.truncate(length);
        Ok(packet)
    }

    /// Reads a packet; overwriting it is the caller's.
    ///
    /// # Errors
    /// When it is no message of a broker.
    pub fn from_packet(packet: &[u8]) -> Result<Self, SupplyError> {
        let supply = minicbor::decode(packet).map_err(SupplyError::Packet)?;
        if let Self::Value { material, .. } = &supply {
            let wrong = minicbor::decode::Error::message;
            material.sendable().map_err(|why| SupplyError::Packet(wrong(why)))?;
        }
        Ok(supply)
    }

    /// The credential that it is about.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Value { name, .. }
            | Self::Unavailable { name, .. }
            | Self::Revoked { name }
            | Self::Age { name, .. } => name,
        }
    }
}

impl Material {
    /// Whether every part of it can stand in a request.
    ///
    /// # Errors
    /// Says why not.
    pub fn sendable(&self) -> Result<(), Unsendable> {
        match self {
            Self::Plain(secret) => secret.sendable(),
            Self::Basic { user, password } => {
                let wrong = user.contains(':') || user.chars().any(char::is_control);
                if wrong { Err(Unsendable::Control) } else { password.sendable() }
            }
            Self::Aws { access_key_id, secret_access_key, session_token } => {
                Secret::new(access_key_id.clone().into_bytes()).sendable()?;
                secret_access_key.sendable()?;
                session_token.as_ref().map_or(Ok(()), Secret::sendable)
            }
        }
    }
}

/// A secret in a packet: bytes, and only such as can be sent.
mod sendable {
    use minicbor::decode::Error;
    use minicbor::encode::Write;
    use minicbor::{Decoder, Encoder};

    use crate::secret::Secret;

    pub(super) fn encode<C, W: Write>(
        secret: &Secret,
        e: &mut Encoder<W>,
        _context: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.bytes(secret.expose())?;
        Ok(())
    }

    pub(super) fn decode<C>(d: &mut Decoder<'_>, _context: &mut C) -> Result<Secret, Error> {
        let secret = Secret::new(d.bytes()?.to_vec());
        secret.sendable().map_err(Error::message)?;
        Ok(secret)
    }

    /// And where there may be none.
    pub(super) mod optional {
        use super::{Decoder, Encoder, Error, Secret, Write};

        #[expect(clippy::ref_option, reason = "the derived code passes a reference to the field")]
        pub(in crate::supply) fn encode<C, W: Write>(
            secret: &Option<Secret>,
            e: &mut Encoder<W>,
            context: &mut C,
        ) -> Result<(), minicbor::encode::Error<W::Error>> {
            match secret {
                Some(secret) => super::encode(secret, e, context),
                None => e.null().map(|_encoder| ()),
            }
        }

        pub(in crate::supply) fn decode<C>(
            d: &mut Decoder<'_>,
            context: &mut C,
        ) -> Result<Option<Secret>, Error> {
            if d.datatype()? == minicbor::data::Type::Null {
                d.null()?;
                return Ok(None);
            }
            super::decode(d, context).map(Some)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Secret {
        Secret::new(text.as_bytes().to_vec())
    }

    fn value(material: Material) -> Supply {
        let (name, source) = ("anthropic".to_owned(), "the store".to_owned());
        let host = HostName::parse("api.example.com").unwrap();
        Supply::Value { name, version: 3, material, set_at: 1_700_000_000, expires: None, source, host }
    }

    fn arrived(supply: &Supply) -> Supply {
        Supply::from_packet(&supply.to_packet().unwrap()).unwrap()
    }

    #[test]
    fn every_material_arrives_as_it_was_sent() {
        let Supply::Value { name, version: 3, material: Material::Plain(key), set_at: 1_700_000_000, .. } =
            arrived(&value(Material::Plain(secret("sk-1"))))
        else {
            panic!("a value");
        };
        assert!(name == "anthropic" && key.eq_ct(b"sk-1"));
        let basic = Material::Basic { user: "scout".to_owned(), password: secret("pa:ss") };
        let Supply::Value { material: Material::Basic { user, password }, .. } = arrived(&value(basic))
        else {
            panic!("a value");
        };
        assert!(user == "scout" && password.eq_ct(b"pa:ss"));
        for token in [None, Some(secret("token"))] {
            let sent = token.is_some();
            let aws = Material::Aws {
                access_key_id: "AKIA1".to_owned(),
                secret_access_key: secret("key"),
                session_token: token,
            };
            let Supply::Value { material: Material::Aws { session_token, .. }, .. } = arrived(&value(aws))
            else {
                panic!("a value");
            };
            assert_eq!(session_token.is_some_and(|token| token.eq_ct(b"token")), sent);
        }
    }

    #[test]
    fn every_other_message_arrives_as_it_was_sent() {
        let unavailable = Supply::Unavailable { name: "a".to_owned(), why: "the store is locked".to_owned() };
        let age = Supply::Age { name: "a".to_owned(), step: AgeStep::Due, seconds: 7 };
        for message in [unavailable, Supply::Revoked { name: "a".to_owned() }, age] {
            assert_eq!(format!("{:?}", arrived(&message)), format!("{message:?}"));
        }
    }

    #[test]
    fn a_value_that_would_break_a_header_never_arrives() {
        for bad in ["", "a\r\nb", "a\0b"] {
            let packet = value(Material::Plain(secret(bad))).to_packet().unwrap();
            assert!(Supply::from_packet(&packet).is_err(), "{bad:?}");
        }
        let basic = Material::Basic { user: "a:b".to_owned(), password: secret("x") };
        assert!(Supply::from_packet(&value(basic).to_packet().unwrap()).is_err());
    }

    #[test]
    fn nothing_of_a_value_is_shown_and_garbage_is_none() {
        assert!(!format!("{:?}", value(Material::Plain(secret("hunter2")))).contains("hunter2"));
        for garbage in [&b""[..], b"\xff\xff", b"\x82\x18\x63\x80", &[0x82; 100]] {
            assert!(Supply::from_packet(garbage).is_err());
        }
        assert!(value(Material::Plain(Secret::new(vec![b'a'; 70_000]))).to_packet().is_err());
    }
}
