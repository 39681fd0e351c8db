//! Addresses as records have them.

/// IP addresses in CBOR: 4 or 16 bytes.
pub mod ip {
    use std::net::IpAddr;

    use minicbor::decode::{Decoder, Error as DecodeError};
    use minicbor::encode::{Encoder, Error as EncodeError, Write};

    /// Encodes an address as 4 or 16 bytes.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn encode<C, W: Write>(
        ip: &IpAddr,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), EncodeError<W::Error>> {
        match ip {
            IpAddr::V4(v4) => e.bytes(&v4.octets())?.ok(),
            IpAddr::V6(v6) => e.bytes(&v6.octets())?.ok(),
        }
    }

    /// Decodes 4 or 16 bytes.
    ///
    /// # Errors
    /// Any other length.
    pub fn decode<C>(d: &mut Decoder<'_>, _: &mut C) -> Result<IpAddr, DecodeError> {
        let bytes = d.bytes()?;
        if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
            return Ok(IpAddr::from(v4));
        }
        <[u8; 16]>::try_from(bytes)
            .map(IpAddr::from)
            .map_err(|_len| DecodeError::message("an IP address has 4 or 16 bytes"))
    }
}

/// Socket addresses in CBOR: `[ip, port]`.
pub mod socket_address {
    use super::ip;
    use std::net::SocketAddr;

    use minicbor::decode::{Decoder, Error as DecodeError};
    use minicbor::encode::{Encoder, Error as EncodeError, Write};

    /// Encodes `[ip, port]`.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn encode<C, W: Write>(
        a: &SocketAddr,
        e: &mut Encoder<W>,
        c: &mut C,
    ) -> Result<(), EncodeError<W::Error>> {
        e.array(2)?;
        ip::encode(&a.ip(), e, c)?;
        e.u16(a.port())?.ok()
    }

    /// Decodes `[ip, port]`.
    ///
    /// # Errors
    /// Anything else.
    pub fn decode<C>(d: &mut Decoder<'_>, c: &mut C) -> Result<SocketAddr, DecodeError> {
        if d.array()? != Some(2) {
            return Err(DecodeError::message("a socket address is [ip, port]"));
        }
        let ip = ip::decode(d, c)?;
        Ok(SocketAddr::new(ip, d.u16()?))
    }
}

/// An optional socket address: null or `[ip, port]`.
pub mod maybe_socket_address {
    use super::socket_address;
    use std::net::SocketAddr;

    use minicbor::data::Type;
    use minicbor::decode::{Decoder, Error as DecodeError};
    use minicbor::encode::{Encoder, Error as EncodeError, Write};

    /// Encodes null or `[ip, port]`.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn encode<C, W: Write>(
        a: &Option<SocketAddr>,
        e: &mut Encoder<W>,
        c: &mut C,
    ) -> Result<(), EncodeError<W::Error>> {
        match a {
            Some(a) => socket_address::encode(a, e, c),
            None => e.null()?.ok(),
        }
    }

    /// Decodes null or `[ip, port]`.
    ///
    /// # Errors
    /// Anything else.
    pub fn decode<C>(d: &mut Decoder<'_>, c: &mut C) -> Result<Option<SocketAddr>, DecodeError> {
        if d.datatype()? == Type::Null {
            d.null()?;
            return Ok(None);
        }
        socket_address::decode(d, c).map(Some)
    }
}
