//! The channel from the broker: one packet is one message.
//!
//! What arrives is held, what does not parse is said, and when the channel ends every credential is without a value.

use std::io;
use std::os::fd::OwnedFd;

use rustix::net::{RecvFlags, recv};
use wardroom_model::supply::Supply;
use zeroize::Zeroize;

use super::Credentials;
use crate::watched::watched;

impl Credentials {
    /// Takes what the broker says until it is gone.
    ///
    /// # Errors
    /// When the channel cannot be watched; then there is no value, either.
    pub(crate) async fn supplied(&self, channel: OwnedFd) -> io::Result<()> {
        let channel = watched(channel)?;
        let mut packet = vec![0_u8; Supply::LONGEST];
        let ended = loop {
            let mut ready = channel.readable().await?;
            match recv(&channel, packet.as_mut_slice(), RecvFlags::DONTWAIT) {
                Ok((0, _)) => break "the broker is gone",
                Ok((length, _)) => {
                    let supply = Supply::from_packet(packet.get(..length).unwrap_or_default());
                    packet.zeroize();
                    packet.resize(Supply::LONGEST, 0);
                    match supply {
                        Ok(supply) => self.take(supply),
                        Err(error) => {
                            self.shared.recorder.note(format!("the broker's message is refused: {error}"));
                        }
                    }
                }
                Err(e) if e == rustix::io::Errno::AGAIN => ready.clear_ready(),
                Err(e) if e == rustix::io::Errno::INTR => {}
                Err(_gone) => break "the channel to the broker failed",
            }
        };
        self.orphan(ended);
        Ok(())
    }
}
