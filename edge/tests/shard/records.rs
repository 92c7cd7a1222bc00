//! Makes TLS records with a client's keys after a real handshake, so that tests can cut and combine messages where no library
//! does.

use rustls::crypto::cipher::{
    InboundOpaqueMessage, MessageDecrypter, MessageEncrypter, OutboundChunks, OutboundPlainMessage,
};
use rustls::{
    ClientConnection, ConnectionTrafficSecrets, ContentType, ProtocolVersion, SupportedCipherSuite,
};

/// A key update that requests none of the peer.
pub(crate) const KEY_UPDATE: [u8; 5] = [24, 0, 0, 1, 0];
/// The alert `close_notify`.
pub(crate) const CLOSE_NOTIFY: [u8; 2] = [1, 0];

/// The record layer of a client, for both directions.
pub(crate) struct Records {
    seal: Box<dyn MessageEncrypter>,
    sealed: u64,
    open: Box<dyn MessageDecrypter>,
    opened: u64,
    /// The bytes of an incomplete record.
    came: Vec<u8>,
}

impl Records {
    /// Takes over the keys of a connection after its handshake, when no bytes are pending in either direction.
    pub(crate) fn of(client: ClientConnection) -> Self {
        let Some(SupportedCipherSuite::Tls13(suite)) = client.negotiated_cipher_suite() else {
            panic!("TLS 1.3");
        };
        let keys = client.dangerous_extract_secrets().expect("switched on");
        let parts = |secrets| match secrets {
            ConnectionTrafficSecrets::Aes128Gcm { key, iv }
            | ConnectionTrafficSecrets::Aes256Gcm { key, iv }
            | ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => (key, iv),
            _ => panic!("a suite of TLS 1.3"),
        };
        let ((sealed, seal), (opened, open)) = (keys.tx, keys.rx);
        let ((key, iv), (open_key, open_iv)) = (parts(seal), parts(open));
        Self {
            seal: suite.aead_alg.encrypter(key, iv),
            sealed,
            open: suite.aead_alg.decrypter(open_key, open_iv),
            opened,
            came: Vec::new(),
        }
    }

    /// Encrypts the next record.
    pub(crate) fn seal(&mut self, typ: ContentType, payload: &[u8]) -> Vec<u8> {
        let message = OutboundPlainMessage {
            typ,
            version: ProtocolVersion::TLSv1_2,
            payload: OutboundChunks::Single(payload),
        };
        let record = self.seal.encrypt(message, self.sealed).expect("short");
        self.sealed += 1;
        record.encode()
    }

    /// Decrypts received bytes; returns the complete records, or an error when one was encrypted with other keys.
    pub(crate) fn open(
        &mut self,
        bytes: &[u8],
    ) -> Result<Vec<(ContentType, Vec<u8>)>, rustls::Error> {
        self.came.extend_from_slice(bytes);
        let mut records = Vec::new();
        while let Some(header) = self.came.first_chunk::<5>().copied() {
            let end = 5 + usize::from(u16::from_be_bytes([header[3], header[4]]));
            if self.came.len() < end {
                break;
            }
            let mut record: Vec<u8> = self.came.drain(..end).collect();
            let version = ProtocolVersion::TLSv1_2;
            let typ = ContentType::ApplicationData;
            let message = InboundOpaqueMessage::new(typ, version, &mut record[5..]);
            let plain = self.open.decrypt(message, self.opened)?;
            self.opened += 1;
            records.push((plain.typ, plain.payload.to_vec()));
        }
        Ok(records)
    }
}
